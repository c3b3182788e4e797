//! Contents that say who wrote them, and whether they are whole.

use crate::pattern;
use zs_sync::schedule;
use zsmalloc::Spans;

/// Bytes of a stamp; no shorter object is made.
pub(super) const STAMP: usize = 8;

/// Returns the stamp of new contents: no other has it, and the length follows from it.
pub(super) fn stamp(thread: usize, count: u32, len: usize) -> u64 {
    u64::from(count) << 32 | (len as u64) << 8 | (thread as u64 + 1)
}

/// Returns the contents of a stamp.
pub(super) fn contents(stamp: u64) -> Vec<u8> {
    let len = (stamp >> 8 & 0xff_ffff) as usize;
    let mut bytes = stamp.to_le_bytes().to_vec();
    bytes.extend(pattern(stamp, len - STAMP));
    bytes
}

/// Returns the stamp of some bytes; 0 if they are all zeros, as an allocation makes them.
///
/// # Errors
/// Bytes that are not the whole contents of one stamp.
pub(super) fn stamp_of(bytes: &[u8]) -> Result<u64, String> {
    let Some(first) = bytes.first_chunk() else {
        return Err(format!("an object of {} bytes", bytes.len()));
    };
    let stamp = u64::from_le_bytes(*first);
    let whole = match stamp {
        0 => bytes.iter().all(|&byte| byte == 0),
        _ if (stamp >> 8 & 0xff_ffff) as usize != bytes.len() => false,
        _ => bytes == contents(stamp),
    };
    if whole {
        return Ok(stamp);
    }
    Err(format!(
        "{} bytes that are not those of stamp {stamp:#x}",
        bytes.len()
    ))
}

/// Works as [`stamp_of`], for an object where it is: read in four steps, so that whoever changes it
/// meanwhile is seen.
pub(super) fn stamp_of_spans(spans: Spans<'_>) -> Result<u64, String> {
    let mut bytes = Vec::with_capacity(spans.first.len() + spans.second.len());
    for span in [spans.first, spans.second] {
        let (one, other) = span.split_at(span.len() / 2);
        for part in [one, other].into_iter().filter(|part| !part.is_empty()) {
            schedule::reading(part);
            bytes.extend_from_slice(part);
        }
    }
    stamp_of(&bytes)
}
