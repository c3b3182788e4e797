//! What classes gave up, to the arena; and what nothing uses, to the system.

use crate::client::Client;
use crate::pool::Pool;
use crate::record::units_of;
use crate::slot::Released;
use zs_mm::{ArenaRef, FrameId};

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Passes what a class gave up to the arena. Called with no lock held.
    pub(crate) fn give_back(&self, class: usize, released: Released) {
        let zspage = released.zspage;
        for (entry, frame) in released.frames.into_iter().flatten() {
            self.give_frame_back(zspage, entry as usize, frame);
        }
        if released.record {
            let units = units_of(self.geometry.class(class));
            self.record_alloc.free(self.host(), zspage, units);
        }
    }

    /// Zeroes a frame that was just detached with objects in it, if the pool zeroes what it frees.
    pub(crate) fn zero_frame(&self, frame: FrameId) {
        if self.zero_freed {
            let page = self.geometry.page_size();
            let start = frame.index() << page.shift();
            // SAFETY: the frame was attached, hence committed; it is not given back yet, and
            // nobody uses the pool any more.
            unsafe { self.arena().payload().zero(start, page.bytes()) };
        }
    }

    pub(crate) fn give_frame_back(&self, zspage: u32, entry: usize, frame: FrameId) {
        let frame = self.arena().reclaim(frame, self.key(), zspage, entry as u8);
        debug_assert!(frame.is_some(), "a detached frame was the zspage's");
        if let Some(frame) = frame {
            self.arena().free_frame(frame);
        }
    }

    /// Gives the frames that classes keep back to the arena. Called with no lock held.
    pub(crate) fn release_spares(&self) {
        for class in 0..self.classes.len() {
            let mut state = self.classes[class].lock(self.host());
            let released = self.release_spare(&mut state, class);
            drop(state);
            self.give_back(class, released);
        }
    }

    /// Gives every frame that no object touches back to the system, and table pages without anything
    /// in use; returns the bytes.
    ///
    /// Exact when nobody else is at work: afterwards only frames with objects are held. Takes each
    /// class lock once, for a moment, then calls the backing. Looks at every table page that was ever
    /// in use. In a forked child nothing is given back.
    pub fn trim(&self) -> u64 {
        if self.arena().is_forked() {
            return 0;
        }
        self.release_spares();
        let tables = self.record_alloc.trim(self.arena(), &self.records.cells)
            + self.client.trim(self.arena());
        tables + self.arena().trim()
    }
}
