//! The 8 bytes of a frame.
//!
//! ```text
//!  63      48 47   40 39     36 35  32 31   28 27             0
//! +----------+-------+---------+------+-------+----------------+
//! |   pool   | class |  marks  | type | index |     zspage     |
//! +----------+-------+---------+------+-------+----------------+
//! ```
//!
//! The marks: *locked* (bit 36), *isolated* (37), *unowned* (38), *draining* (39). Every change is
//! a read-modify-write that keeps the lock, which belongs to whoever moves the frame, or looks
//! whether it can be moved; all else is changed by the one thread that holds the frame, for a
//! zspage's frame under its class lock. (`docs/words.md`)

/// The use of a frame. Fixed from its allocation to its free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Nobody's: in a zone or in a frame cache.
    Free = 0,
    /// Attached to a zspage, or on the way to or from one.
    Zspage = 1,
    /// In a balloon: out of use, without memory.
    Balloon = 2,
    /// Part of a contiguous range.
    Block = 3,
    /// Never to be used again.
    Offline = 4,
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
    /// Returns the pool's number among those of its arena, as its frames' descriptors say.
    pub fn pool(&self) -> u16 {
        self.pool
    }

    /// Returns the descriptor's view of one of this pool's claims.
    pub fn owner(&self, class: u8, zspage: u32, index: u8) -> FrameOwner {
        debug_assert!(zspage <= ZSPAGE_MASK as u32 && index < MAX_INDEX);
        FrameOwner {
            pool: self.pool,
            class,
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
    /// What the owner likes: a pool's size class, whose lock guards the frame's entry.
    pub class: u8,
    /// The zspage, by its number in the pool: below 2^28.
    pub zspage: u32,
    /// The frame's place in its zspage, from 0 to 15.
    pub index: u8,
}

const ZSPAGE_MASK: u64 = (1 << INDEX_SHIFT) - 1;
const INDEX_SHIFT: u32 = 28;
const MAX_INDEX: u8 = 16;
const TYPE_SHIFT: u32 = 32;
const TYPE_MASK: u64 = 0xf;
const CLASS_SHIFT: u32 = 40;
const POOL_SHIFT: u32 = 48;

/// The frame lock.
pub(crate) const LOCKED: u64 = 1 << 36;
/// Somebody is moving the frame: a hint, the owner's own mark is the truth.
pub(crate) const ISOLATED: u64 = 1 << 37;
/// Allocated, and not given to an owner yet.
const UNOWNED: u64 = 1 << 38;

/// Its contents were moved, and its owner's readers are still inside.
const DRAINING: u64 = 1 << 39;

/// A frame descriptor, unpacked on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor(pub(crate) u64);

const _: () = assert!(size_of::<Descriptor>() == 8);

impl Descriptor {
    /// A free frame.
    pub const FREE: Self = Self(0);

    /// A frame that was just allocated for a zspage: nobody owns it yet.
    pub const UNOWNED: Self = Self::unowned(FrameType::Zspage);

    /// Makes a frame of this type that nobody owns yet.
    pub const fn unowned(frame_type: FrameType) -> Self {
        Self((frame_type as u64) << TYPE_SHIFT | UNOWNED)
    }

    /// Makes a frame of a zspage.
    pub const fn owned(owner: FrameOwner) -> Self {
        Self::owned_as(FrameType::Zspage, owner)
    }

    /// Makes a frame of a zspage whose contents were moved, and that is still being read.
    pub const fn draining(owner: FrameOwner) -> Self {
        Self(Self::owned(owner).0 | DRAINING)
    }

    pub(crate) const fn owned_as(frame_type: FrameType, owner: FrameOwner) -> Self {
        Self(
            (frame_type as u64) << TYPE_SHIFT
                | owner.zspage as u64
                | (owner.index as u64) << INDEX_SHIFT
                | (owner.class as u64) << CLASS_SHIFT
                | (owner.pool as u64) << POOL_SHIFT,
        )
    }

    /// Returns the frame's type.
    pub fn frame_type(self) -> FrameType {
        match (self.0 >> TYPE_SHIFT) & TYPE_MASK {
            0 => FrameType::Free,
            2 => FrameType::Balloon,
            3 => FrameType::Block,
            4 => FrameType::Offline,
            _ => FrameType::Zspage,
        }
    }

    /// Returns the frame's owner, if it has one; not of one that drains.
    pub fn owner(self) -> Option<FrameOwner> {
        let owned = matches!(self.frame_type(), FrameType::Zspage | FrameType::Balloon)
            && self.0 & (UNOWNED | DRAINING) == 0;
        owned.then_some(FrameOwner {
            pool: self.pool(),
            class: (self.0 >> CLASS_SHIFT) as u8,
            zspage: (self.0 & ZSPAGE_MASK) as u32,
            index: (self.0 >> INDEX_SHIFT) as u8 % MAX_INDEX,
        })
    }

    /// Returns the number of the pool that an owned frame belongs to.
    pub(crate) fn pool(self) -> u16 {
        (self.0 >> POOL_SHIFT) as u16
    }

    /// Says whether somebody is about to move the frame.
    pub fn is_isolated(self) -> bool {
        self.0 & ISOLATED != 0
    }

    /// Returns the descriptor without what belongs to those who move the frame.
    pub fn at_rest(self) -> Self {
        Self(self.0 & !(LOCKED | ISOLATED))
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_corner() {
        for (pool, zspage) in [(0, 0), (1, 1), (7, (1 << 28) - 1), (u16::MAX, 77)] {
            for (class, index) in [(0, 0), (127, 15), (255, 7)] {
                let owner = FrameOwner {
                    pool,
                    class,
                    zspage,
                    index,
                };
                for frame_type in [FrameType::Zspage, FrameType::Balloon] {
                    let descriptor = Descriptor::owned_as(frame_type, owner);
                    assert_eq!(descriptor.owner(), Some(owner));
                    assert_eq!(descriptor.frame_type(), frame_type);
                    assert_ne!(descriptor, Descriptor::FREE);
                    assert_eq!(descriptor.at_rest(), descriptor, "no mark is set");
                }
            }
        }
        assert_eq!(Descriptor::FREE.frame_type(), FrameType::Free);
        assert_eq!(Descriptor::FREE.owner(), None);
        for frame_type in [FrameType::Zspage, FrameType::Block, FrameType::Offline] {
            let unowned = Descriptor::unowned(frame_type);
            assert_eq!((unowned.frame_type(), unowned.owner()), (frame_type, None));
        }
    }
}
