//! No compression: a copy.

use std::cmp::Ordering;

use crate::{
    Error,
    codec::{Codec, Compressed},
};

/// Copies; has no state.
pub(crate) struct Raw;

impl Codec for Raw {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Compressed, Error> {
        let Some(dst) = dst.get_mut(..src.len()) else {
            return Ok(Compressed::DoesNotFit);
        };
        dst.copy_from_slice(src);
        Ok(Compressed::Fits(src.len()))
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        match src.len().cmp(&dst.len()) {
            Ordering::Less => Err(Error::Short {
                expected: dst.len(),
                actual: src.len(),
            }),
            Ordering::Greater => Err(Error::Corrupt),
            Ordering::Equal => {
                dst.copy_from_slice(src);
                Ok(())
            }
        }
    }
}
