//! The bytes of an object: all follow from its first eight, which say whose it is.

use anyhow::{Result, bail};

/// What an object is told apart by: its owner, the owner's slot, and how many contents that slot
/// had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Whose it is.
    pub owner: u8,
    /// The owner's slot, below 2^24.
    pub slot: u32,
    /// How many contents the slot had before.
    pub version: u32,
}

impl Tag {
    fn bits(self) -> u64 {
        u64::from(self.owner) << 56 | u64::from(self.slot) << 32 | u64::from(self.version)
    }

    fn of(bits: u64) -> Self {
        Self {
            owner: (bits >> 56) as u8,
            slot: (bits >> 32) as u32 & 0xff_ffff,
            version: bits as u32,
        }
    }
}

/// The words of an object, the first of which is the tag.
fn words(tag: u64) -> impl Iterator<Item = [u8; 8]> {
    let step = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..).map(move |at: u64| tag.wrapping_add(step.wrapping_mul(at)).to_le_bytes())
}

/// Fills `bytes`, at least 8 of them, with what follows from `tag`.
pub fn fill(bytes: &mut [u8], tag: Tag) {
    for (place, word) in bytes.chunks_mut(8).zip(words(tag.bits())) {
        place.copy_from_slice(&word[..place.len()]);
    }
}

/// The tag of an object, all of whose bytes follow from it.
///
/// # Errors
/// If a byte does not.
pub fn read(bytes: &[u8]) -> Result<Tag> {
    let Some(&first) = bytes.first_chunk() else {
        bail!("an object of {} bytes", bytes.len());
    };
    let bits = u64::from_le_bytes(first);
    let wrong = |(place, word): (&[u8], [u8; 8])| place != &word[..place.len()];
    match bytes.chunks(8).zip(words(bits)).position(wrong) {
        None => Ok(Tag::of(bits)),
        Some(at) => bail!(
            "wrong bytes in an object of {:?}, from byte {} of {}",
            Tag::of(bits),
            8 * at,
            bytes.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag {
        owner: 23,
        slot: 0xab_cdef,
        version: 7,
    };

    #[test]
    fn contents_tell_their_tag() {
        for len in 8..100 {
            let mut bytes = vec![0; len];
            fill(&mut bytes, TAG);
            assert_eq!(read(&bytes).unwrap(), TAG);
        }
        assert!(read(&[0; 7]).is_err());
    }

    #[test]
    fn one_wrong_bit_anywhere_is_seen() {
        for at in 0..67 {
            let mut bytes = [0; 67];
            fill(&mut bytes, TAG);
            bytes[at] ^= 1;
            assert!(read(&bytes).is_err(), "byte {at}");
        }
    }
}
