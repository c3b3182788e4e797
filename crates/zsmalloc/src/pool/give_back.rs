//! What classes gave up, to the arena; and what nothing uses, to the system.

use crate::class::Released;
use crate::client::Client;
use crate::ids::ClassIndex;
use crate::pool::Pool;
use crate::record::units_of;
use zs_mm::{ArenaRef, Frame};

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Passes what a class gave up to the arena. Called with no lock held. Inline: mostly it is
    /// nothing.
    #[inline]
    pub(crate) fn give_back(&self, class: ClassIndex, released: Released) {
        for frame in released.frames.into_iter().flatten() {
            self.arena().free_frame(frame);
        }
        if let Some(zspage) = released.closed {
            let units = units_of(self.geometry.class(class));
            self.records.units.free(self.host(), zspage, units);
        }
    }

    /// Zeroes a frame that held objects, if the pool zeroes what it frees.
    pub(crate) fn zero_frame(&self, frame: &mut Frame) {
        if self.zero_freed {
            self.arena().zero_frame(frame);
        }
    }

    /// Gives the frames that classes keep back to the arena. Called with no lock held.
    pub(crate) fn release_spares(&self) {
        for class in ClassIndex::all() {
            let mut locked = self.lock_class(class);
            let released = locked.release_spare();
            drop(locked);
            self.give_back(class, released);
        }
    }

    /// Gives every frame that no object touches back to the system, and table pages without
    /// anything in use; returns the bytes.
    ///
    /// Exact when nobody else is at work: afterwards only frames with objects are held. Takes each
    /// class lock once, for a moment, then calls the backing. Looks at every table page that was
    /// ever in use. In a forked child nothing is given back.
    pub fn trim(&self) -> u64 {
        if self.arena().is_forked() {
            return 0;
        }
        self.drain_old_frames();
        self.release_spares();
        let tables = self.records.units.trim(self.arena()) + self.client.trim(self.arena());
        tables + self.arena().trim()
    }
}
