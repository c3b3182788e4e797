//! What a zone keeps of its compaction from one call to the next. Guarded by the zone's lock.

use crate::zone::block::BlockId;

/// The places of a zone's scanners, from one call to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    /// The block that free frames are taken from next.
    pub(crate) free: BlockId,
    /// The block above the one that is emptied next.
    pub(crate) migrate: BlockId,
}

/// The binary logarithm of the most calls that are deferred, plus one.
const MOST_DEFERRALS: u32 = 6;

/// How often compaction is put off after passes that freed nothing: for 1, 3, 7, ... 63 calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deferral {
    shift: u32,
    calls: u32,
}

impl Deferral {
    /// Says whether the last pass freed nothing.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.shift > 0
    }

    /// Says whether this call is to be put off.
    pub(crate) fn puts_off(&mut self) -> bool {
        self.calls += 1;
        self.calls < 1 << self.shift
    }

    /// Notes how many blocks a pass freed.
    pub(crate) fn pass_is_over(&mut self, freed: u64) {
        self.calls = 0;
        self.shift = match freed {
            0 => (self.shift + 1).min(MOST_DEFERRALS),
            _ => 0,
        };
    }
}
