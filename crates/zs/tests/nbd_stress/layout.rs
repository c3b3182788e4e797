//! Areas of the disk, and who owns which bytes.
//!
//! | area | owner |
//! |---|---|
//! | own | each block of another connection than its neighbours |
//! | runs | sixteen blocks of one connection, then of the next |
//! | split | every block of all connections, an eighth each |
//! | common | everybody, whole blocks only |
//! | grown | as own; begins with nothing, and is what the disk grows by |

use crate::bytes;
use std::ops::Range;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;

pub(crate) const CONNECTIONS: u64 = 8;

/// Blocks of a run.
const RUN: u64 = 16;

/// Bytes of a block in the split area that one connection owns.
const PART: u64 = BLOCK as u64 / CONNECTIONS;

const OWN: Range<u64> = 0..512;
const RUNS: Range<u64> = 512..1536;
const SPLIT: Range<u64> = 1536..1600;
pub(crate) const COMMON: Range<u64> = 1600..1632;
const GROWN: u64 = COMMON.end;

/// The disk's size at first, and at most, in bytes.
pub(crate) const FIRST_SIZE: u64 = bytes(GROWN) + 512;
pub(crate) const LAST_SIZE: u64 = bytes(GROWN + 4096);

/// Bytes in a row that `connection` owns, somewhere in the areas below `size`.
pub(crate) fn territory(connection: u64, size: u64, random: &mut fastrand::Rng) -> Range<u64> {
    let block = |area: Range<u64>, random: &mut fastrand::Rng| {
        let rounds = (area.end - area.start) / CONNECTIONS;
        area.start + random.u64(..rounds) * CONNECTIONS + connection
    };
    let grown = GROWN..GROWN.max(size / BLOCK as u64);
    match random.u8(..8) {
        0..=2 => whole(block(OWN, random)),
        3..=4 => {
            let run = random.u64(..(RUNS.end - RUNS.start) / RUN / CONNECTIONS) * CONNECTIONS
                + connection;
            let start = RUNS.start + run * RUN;
            bytes(start)..bytes(start + RUN)
        }
        5 => {
            let start = bytes(random.u64(SPLIT)) + connection * PART;
            start..start + PART
        }
        _ if grown.end - grown.start >= CONNECTIONS => whole(block(grown, random)),
        _ => whole(block(OWN, random)),
    }
}

fn whole(block: u64) -> Range<u64> {
    bytes(block)..bytes(block + 1)
}

/// Which bytes of `block` are `connection`'s.
pub(crate) fn share(block: u64, connection: u64) -> Range<usize> {
    let all_if = |mine: bool| if mine { 0..BLOCK } else { 0..0 };
    if RUNS.contains(&block) {
        all_if((block - RUNS.start) / RUN % CONNECTIONS == connection)
    } else if SPLIT.contains(&block) {
        let start = (connection * PART) as usize;
        start..start + PART as usize
    } else if COMMON.contains(&block) {
        0..0
    } else {
        let first = if block < OWN.end { OWN.start } else { GROWN };
        all_if((block - first) % CONNECTIONS == connection)
    }
}

/// Blocks that a range touches.
pub(crate) fn blocks(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK as u64..range.end.div_ceil(BLOCK as u64)
}

/// The part of a range that lies in a block: in the range, and in the block.
pub(crate) fn within(range: &Range<u64>, block: u64) -> (Range<usize>, Range<usize>) {
    let start = bytes(block).max(range.start);
    let end = bytes(block + 1).min(range.end);
    let of = |from: u64| (start - from) as usize..(end - from) as usize;
    (of(range.start), of(bytes(block)))
}
