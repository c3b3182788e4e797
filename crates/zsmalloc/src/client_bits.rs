//! The bits of an object's word that are the client's.

/// The bits of a new object's word that are the client's: five flags, and the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientBits {
    /// Five flags, which the pool keeps through replaces and moves; higher bits are dropped.
    pub flags: u8,
    /// The generation, or for a client without stale handles what it likes; bits beyond
    /// [`generation_bits`](crate::Layout::generation_bits) are dropped.
    pub generation: u32,
}
