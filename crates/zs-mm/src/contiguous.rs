//! Neighbouring frames at once.

use crate::size::FrameId;

/// Neighbouring frames that its holder must give back as they are.
///
/// Not `Copy`, and it knows its arena: it can be given back once, where it came from.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "frames that are dropped are lost until their arena goes"]
pub struct Contiguous {
    pub(crate) first: FrameId,
    pub(crate) len: u32,
    pub(crate) arena: u32,
}

impl Contiguous {
    /// The first frame.
    pub fn first(&self) -> FrameId {
        self.first
    }

    /// How many frames there are.
    pub fn frames(&self) -> u32 {
        self.len
    }
}
