//! No compression: a copy.

use crate::{
    Error,
    stream::{Codec, Compressed},
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
        let Some(page) = src.get(..dst.len()) else {
            return Err(Error::Short { expected: dst.len(), actual: src.len() });
        };
        if src.len() != dst.len() {
            return Err(Error::Corrupt);
        }
        dst.copy_from_slice(page);
        Ok(())
    }
}
