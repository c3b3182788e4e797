//! One block in the backing.
//!
//! ```text
//! | checksum: 4 | block: 4 | length: 4 | form: 1 | 0: 3 | bytes ... | unused, to the unit's end |
//! ```
//!
//! Little-endian. The checksum (CRC-32) covers the rest of the header and the bytes, so that a record which was damaged,
//! or is another block's, is noticed.

use crate::content::Form;
use crate::writeback::extents::UNIT;

pub(crate) const HEADER: usize = 16;

/// A record as it was read.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) form: Form,
    buffer: Vec<u8>,
    len: usize,
}

impl Record {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[HEADER..HEADER + self.len]
    }

    /// The record in `buffer`, which must be this block's; or what is wrong with it.
    pub(crate) fn parse(buffer: Vec<u8>, block: u32) -> Result<Self, &'static str> {
        let word = |at: usize| {
            let bytes = buffer.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let header = || Some((word(0)?, word(4)?, word(8)?, *buffer.get(12)?));
        let (checksum, owner, len, form) = header().ok_or("its record is cut short")?;
        let end = HEADER.saturating_add(len as usize);
        let covered = buffer.get(4..end).ok_or("its record has no such length")?;
        if crc32fast::hash(covered) != checksum {
            return Err("its record's checksum is wrong");
        }
        if owner != block {
            return Err("its record is another block's");
        }
        let form = Form::from_code(form).ok_or("its record has no known form")?;
        Ok(Self {
            form,
            buffer,
            len: len as usize,
        })
    }
}

/// Units of a record with so many bytes.
pub(crate) fn units_for(len: usize) -> u16 {
    (HEADER + len).div_ceil(UNIT) as u16
}

/// Appends a record, whole units long.
pub(crate) fn append(buffer: &mut Vec<u8>, block: u32, form: Form, bytes: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&block.to_le_bytes());
    buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&[form.code(), 0, 0, 0]);
    buffer.extend_from_slice(bytes);
    let checksum = crc32fast::hash(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    let end = start + usize::from(units_for(bytes.len())) * UNIT;
    buffer.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed() {
        let mut buffer = Vec::new();
        append(&mut buffer, 7, Form::Compressed(1), b"some bytes");
        assert_eq!(buffer.len(), UNIT);
        let record = Record::parse(buffer.clone(), 7).expect("whole");
        assert_eq!(record.bytes(), b"some bytes");
        assert!(Record::parse(buffer.clone(), 8).is_err());
        for at in 0..HEADER + 10 {
            let mut changed = buffer.clone();
            changed[at] ^= 1;
            assert!(Record::parse(changed, 7).is_err(), "byte {at}");
        }
        assert!(Record::parse(buffer[..20].to_vec(), 7).is_err());
    }
}
