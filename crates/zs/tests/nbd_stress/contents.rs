//! Bytes of every kind, from a number.

use crate::layout::BLOCK;

/// A number for [`fill`]; where it is `dense`, mostly one of bytes that do not compress.
pub(crate) fn number(random: &mut fastrand::Rng, dense: bool) -> u64 {
    let number = random.u64(..);
    if dense && random.u8(..4) > 0 {
        number | 7
    } else {
        number
    }
}

/// Zeroes, one word again and again, text, numbers, or what does not compress.
pub(crate) fn fill(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    match seed % 8 {
        0 => vec![0; len],
        1 => vec![random.u8(..); len],
        2 => repeat(&random.u64(..).to_le_bytes(), len),
        3 | 4 => {
            let mut text = String::new();
            while text.len() < len {
                text.push_str(&format!("line {} of a text; ", random.u32(..500)));
            }
            text.into_bytes()[..len].to_vec()
        }
        5 | 6 => {
            let numbers = std::iter::repeat_with(|| random.u64(..1000).to_le_bytes());
            numbers.flatten().take(len).collect()
        }
        _ => std::iter::repeat_with(|| random.u8(..)).take(len).collect(),
    }
}

fn repeat(word: &[u8], len: usize) -> Vec<u8> {
    word.iter().copied().cycle().take(len).collect()
}

/// A number for what `connection` writes to a block of everybody's; 0 is what nobody wrote.
pub(crate) fn stamp(connection: u64, random: &mut fastrand::Rng) -> u64 {
    random.u64(1..1 << 58) << 6 | connection << 3 | random.u64(..8)
}

/// Whose it is.
pub(crate) fn writer(stamp: u64) -> u64 {
    stamp >> 3 & 7
}

/// A block of everybody's: its stamp is in each of its 64 bytes, so that no part of another can be
/// in it unseen.
pub(crate) fn stamped(stamp: u64) -> Vec<u8> {
    let mut bytes = match stamp {
        0 => return vec![0; BLOCK],
        // Of one word throughout.
        _ if stamp % 8 == 2 => return repeat(&stamp.to_le_bytes(), BLOCK),
        _ => fill(stamp, BLOCK),
    };
    for line in bytes.chunks_mut(64) {
        line[..8].copy_from_slice(&stamp.to_le_bytes());
    }
    bytes
}

/// The stamp of such a block, if it is whole.
pub(crate) fn stamp_of(bytes: &[u8]) -> Option<u64> {
    let stamp = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    (bytes == stamped(stamp)).then_some(stamp)
}
