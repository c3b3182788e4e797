//! The 8 bytes of a frame.
//!
//! ```text
//!  63      48 47      40 39   32 31                     0
//! +----------+----------+-------+-----------------------+
//! |   pool   |  index   | type  |        zspage         |
//! +----------+----------+-------+-----------------------+
//! ```
//!
//! The bits 36 (locked) and 37 (isolated) of the type byte belong to the movable pages, as do the
//! type tags 2 balloon, 3 whole pageblock and 4 offline (`docs/words.md`). A descriptor is exchanged
//! whole by the one thread that holds its frame; a pool that takes a frame back is refused if the
//! descriptor names another owner.

/// What a frame is in use for. Fixed from its allocation to its free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Nobody's: in a zone or in a frame cache.
    Free = 0,
    /// Attached to a zspage, or on the way to or from one.
    Zspage = 1,
    /// One of neighbouring frames that were allocated together.
    Block = 3,
}

/// What makes a pool the owner of its frames: given by [`Arena::join`](crate::Arena::join), shown
/// with every claim, taken back by `leave`. Neither `Clone` nor to be had from a descriptor.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a key that is dropped, not taken back, occupies its place in the arena"]
pub struct PoolKey {
    pub(crate) arena: u32,
    pub(crate) pool: u16,
}

impl PoolKey {
    /// The pool's number among those of its arena, as its frames' descriptors say.
    pub fn pool(&self) -> u16 {
        self.pool
    }

    /// The descriptor's view of one of this pool's claims.
    pub fn owner(&self, zspage: u32, index: u8) -> FrameOwner {
        FrameOwner {
            pool: self.pool,
            zspage,
            index,
        }
    }
}

/// Who a frame belongs to: a zspage of a pool, and the entry of it that names the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameOwner {
    /// The pool's number in its arena.
    pub pool: u16,
    /// The zspage, by its number in the pool.
    pub zspage: u32,
    /// The frame's place in its zspage, from 0.
    pub index: u8,
}

const TYPE_SHIFT: u32 = 32;
const TYPE_MASK: u64 = 0xf;
const INDEX_SHIFT: u32 = 40;
const POOL_SHIFT: u32 = 48;

/// A frame descriptor, unpacked on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor(pub(crate) u64);

const _: () = assert!(size_of::<Descriptor>() == 8);

impl Descriptor {
    /// A free frame.
    pub const FREE: Self = Self(0);

    /// A frame that was just allocated: nobody owns it yet.
    pub const UNOWNED: Self = Self((FrameType::Zspage as u64) << TYPE_SHIFT);

    /// One of neighbouring frames that were allocated together.
    pub(crate) const BLOCK: Self = Self((FrameType::Block as u64) << TYPE_SHIFT);

    /// A frame of a zspage.
    pub const fn owned(owner: FrameOwner) -> Self {
        Self(
            Self::UNOWNED.0
                | owner.zspage as u64
                | (owner.index as u64) << INDEX_SHIFT
                | (owner.pool as u64) << POOL_SHIFT,
        )
    }

    /// The frame's type.
    pub fn frame_type(self) -> FrameType {
        match (self.0 >> TYPE_SHIFT) & TYPE_MASK {
            0 => FrameType::Free,
            3 => FrameType::Block,
            _ => FrameType::Zspage,
        }
    }

    /// The frame's owner; meaningless for a free frame.
    pub fn owner(self) -> FrameOwner {
        FrameOwner {
            pool: (self.0 >> POOL_SHIFT) as u16,
            zspage: self.0 as u32,
            index: (self.0 >> INDEX_SHIFT) as u8,
        }
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_corner() {
        for (pool, zspage) in [(0, 0), (1, 1), (7, (1 << 28) - 1), (u16::MAX, u32::MAX)] {
            for index in [0, 15, 255] {
                let owner = FrameOwner {
                    pool,
                    zspage,
                    index,
                };
                let descriptor = Descriptor::owned(owner);
                assert_eq!(descriptor.owner(), owner);
                assert_eq!(descriptor.frame_type(), FrameType::Zspage);
                assert_ne!(descriptor, Descriptor::FREE);
            }
        }
        assert_eq!(Descriptor::FREE.frame_type(), FrameType::Free);
    }
}
