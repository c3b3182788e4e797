//! One block in the backing.
//!
//! ```text
//! | checksum: 4 | block: 4 | length: 4 | form: 1 | round: 2 | 0: 1 | bytes ... | unused, to the unit's end |
//! ```
//!
//! Little-endian. The checksum (CRC-32) covers the rest of the header, the bytes, and a number of
//! this use of the backing that is kept in memory alone. So a record is noticed which was damaged,
//! is another block's, or another store's. The round is that of the writeback, which the block's
//! word has too (modulo 16384): an older record of the same block in the same place,
//! because a write was lost, is noticed.

use crate::block::content::{Extent, Form, UNIT};
use crate::ids::BlockIndex;
use crate::ids::as_index;

pub(crate) const HEADER: usize = 16;

/// Rounds are numbers below this: as many bits as a block's word has left.
pub(crate) const ROUNDS: u16 = 1 << 14;

/// A record as it was read.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) form: Form,
    buffer: Vec<u8>,
    len: usize,
}

fn checksum(salt: u32, covered: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(covered);
    hasher.finalize()
}

impl Record {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[HEADER..HEADER + self.len]
    }

    /// Returns the record in `buffer`, which must be this block's; or what is wrong with it.
    pub(crate) fn parse(
        buffer: Vec<u8>,
        block: BlockIndex,
        extent: Extent,
        salt: u32,
    ) -> Result<Self, &'static str> {
        let word = |at: usize| {
            let bytes = buffer.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let header = || Some((word(0)?, word(4)?, word(8)?, word(12)?));
        let (found, owner, len, rest) = header().ok_or("its record is cut short")?;
        let end = HEADER.saturating_add(as_index(len));
        let covered = buffer.get(4..end).ok_or("its record has no such length")?;
        if checksum(salt, covered) != found {
            return Err("its record's checksum is wrong");
        }
        if owner != block.number() {
            return Err("its record is another block's");
        }
        if rest >> 8 != extent.round.into() {
            return Err("its record is an older one: the last write was lost");
        }
        let form = Form::from_code(rest as u8).ok_or("its record has no known form")?;
        Ok(Self {
            form,
            buffer,
            len: as_index(len),
        })
    }
}

/// Returns the number of units of a record with so many bytes.
pub(crate) fn units_for(len: usize) -> u16 {
    (HEADER + len).div_ceil(UNIT) as u16
}

/// Appends a record, as long as its extent.
pub(crate) fn append(
    buffer: &mut Vec<u8>,
    block: BlockIndex,
    extent: Extent,
    salt: u32,
    form: Form,
    bytes: &[u8],
) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&block.number().to_le_bytes());
    buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    let rest = u32::from(form.code()) | u32::from(extent.round) << 8;
    buffer.extend_from_slice(&rest.to_le_bytes());
    buffer.extend_from_slice(bytes);
    let checksum = checksum(salt, &buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    buffer.resize(start + usize::from(extent.units) * UNIT, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed() {
        let mut buffer = Vec::new();
        let extent = Extent {
            start: 3,
            units: units_for(10),
            round: ROUNDS - 1,
        };
        append(
            &mut buffer,
            BlockIndex::new(7),
            extent,
            9,
            Form::Compressed(1),
            b"some bytes",
        );
        assert_eq!(buffer.len(), UNIT);
        let parse = |bytes: &[u8], block, extent, salt| {
            Record::parse(bytes.to_vec(), block, extent, salt).map(|record| record.bytes().to_vec())
        };
        assert_eq!(
            parse(&buffer, BlockIndex::new(7), extent, 9).as_deref(),
            Ok(&b"some bytes"[..])
        );
        let older = Extent { round: 0, ..extent };
        assert!(parse(&buffer, BlockIndex::new(8), extent, 9).is_err());
        assert!(parse(&buffer, BlockIndex::new(7), older, 9).is_err());
        assert!(parse(&buffer, BlockIndex::new(7), extent, 8).is_err());
        for at in 0..HEADER + 10 {
            let mut changed = buffer.clone();
            changed[at] ^= 1;
            assert!(
                parse(&changed, BlockIndex::new(7), extent, 9).is_err(),
                "byte {at}"
            );
        }
        assert!(parse(&buffer[..20], BlockIndex::new(7), extent, 9).is_err());
    }
}
