//! Who owns what: pools that join an arena, and their claims to its frames.

use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::backing::Backing;
use crate::error::Error;
use crate::frame::descriptor::{Descriptor, FrameOwner, LOCKED, PoolKey};
use crate::size::FrameId;
use zs_sync::{Ordering, Peek};

impl<B: Backing> Arena<B> {
    /// Makes a pool one of this arena's; the key is what it shows with every claim to a frame.
    ///
    /// # Errors
    /// [`Error::TooManyPools`] beyond [`MAX_POOLS`](crate::MAX_POOLS).
    pub fn join(&self) -> Result<PoolKey, Error> {
        for (word, ids) in self.pools.iter().enumerate() {
            // Relaxed, here and in `leave`: an id is only a number, nothing is published with it.
            let taken = ids.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ids| {
                (ids != u64::MAX).then(|| ids | (ids + 1))
            });
            if let Ok(ids) = taken {
                return Ok(PoolKey {
                    arena: self.id,
                    pool: (word * 64) as u16 + ids.trailing_ones() as u16,
                });
            }
        }
        Err(Error::TooManyPools)
    }

    /// Takes a pool's key back; the pool owns no frame any more.
    ///
    /// # Panics
    /// If the key is another arena's.
    pub fn leave(&self, key: PoolKey) {
        assert_eq!(key.arena, self.id, "a key of another arena");
        let (word, bit) = (key.pool as usize / 64, key.pool % 64);
        self.pools[word].fetch_and(!(1 << bit), Ordering::Relaxed);
    }

    /// Makes `owner` the owner of a frame, of the pool whose key is shown; returns the frame's
    /// number.
    ///
    /// # Panics
    /// If the frame or the key is another arena's, or the owner another pool.
    pub fn assign(&self, frame: Frame, key: &PoolKey, owner: FrameOwner) -> FrameId {
        assert_eq!(
            (frame.arena, key.arena, owner.pool),
            (self.id, self.id, key.pool),
            "of another arena or pool"
        );
        let change = Descriptor::UNOWNED.0 ^ Descriptor::owned(owner).0;
        // Relaxed: the frame entry that names the frame is what publishes it.
        let before = self
            .descriptor(frame.id)
            .fetch_xor(change, Ordering::Relaxed);
        debug_assert_eq!(
            Descriptor(before).at_rest(),
            Descriptor::UNOWNED,
            "an assigned frame has no owner"
        );
        frame.id
    }

    /// Takes a frame back from its owner; `None`, and no change, if it is not that owner's.
    ///
    /// # Panics
    /// If the key is another arena's, or the owner another pool.
    pub fn reclaim(&self, id: FrameId, key: &PoolKey, owner: FrameOwner) -> Option<Frame> {
        self.take_back(id, key, Descriptor::owned(owner))
    }

    /// Takes a frame back from an owner that has it in this way.
    pub(crate) fn take_back(&self, id: FrameId, key: &PoolKey, owned: Descriptor) -> Option<Frame> {
        let taken = self.exchange_descriptor(id, key, owned, Descriptor::UNOWNED);
        taken.then_some(Frame { id, arena: self.id })
    }

    /// Takes the descriptor of a pool's frame from `owned` to `next`, and ends its isolation;
    /// false, and no change, if it is another.
    pub(crate) fn exchange_descriptor(
        &self,
        id: FrameId,
        key: &PoolKey,
        owned: Descriptor,
        next: Descriptor,
    ) -> bool {
        assert_eq!(
            (key.arena, owned.pool()),
            (self.id, key.pool),
            "of another arena or pool"
        );
        let Some(descriptor) = self.descriptors.get(id.index()) else {
            return false;
        };
        // A stale id may lead to a descriptor without memory: read it before trying to write, as
        // even an exchange that fails takes a page.
        // Relaxed, here and below: the detach that found the frame is ordered by the owner's own
        // locks.
        let mut seen = descriptor.peek(Ordering::Relaxed);
        while Descriptor(seen).at_rest() == owned {
            let after = next.0 | seen & LOCKED;
            match descriptor.compare_exchange_weak(
                seen,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(found) => seen = found,
            }
        }
        false
    }
}
