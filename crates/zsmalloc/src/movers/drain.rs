//! The pool's draining frames looked at, and freed when nobody reads them any more.

use crate::client::Client;
use crate::pool::Pool;
use crate::pool::drains::Drain;
use zs_mm::{ArenaRef, FrameId, FrameOwner};

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Looks at each draining frame once, and frees those that nobody reads any more. Called with
    /// no lock held; takes a class lock for each.
    pub(crate) fn drain_old_frames(&self) {
        if self.arena().is_forked() {
            return;
        }
        let (rows, _) = self.drains.len(self.host());
        // From the last: what is put back comes last, and is not met again.
        for at in (0..rows).rev() {
            if let Some(drain) = self.drains.take(self.host(), at) {
                self.look_at_drain(drain);
            }
        }
    }

    fn look_at_drain(&self, mut drain: Drain) {
        let Some(class) = self.records.class_of(drain.zspage) else {
            debug_assert!(false, "a zspage with a draining entry stays open");
            return;
        };
        let context = self.context(class);
        let entry = drain.entry;
        let mut locked = self.lock_class(class);
        let record = context.record(drain.zspage);
        drain.pending &= record.used();
        drain.pending = self.slots_inside(context, drain.zspage, drain.pending);
        if drain.pending != 0 {
            drop(locked);
            self.drains.push(self.host(), drain);
            return;
        }
        record.end_drain(entry);
        let released = locked.detach_if_bare(drain.zspage, entry);
        drop(locked);
        self.give_back(class, released);
        let owner = context.owner(self.key(), drain.zspage, entry);
        self.end_drain(drain.frame, owner);
        self.drains.end_promise(self.host());
    }

    fn end_drain(&self, frame: FrameId, owner: FrameOwner) {
        let frame = self.arena().end_drain(frame, self.key(), owner);
        debug_assert!(frame.is_some(), "a draining frame is its pool's");
        if let Some(mut frame) = frame {
            self.zero_frame(&mut frame);
            self.arena().free_frame(frame);
        }
    }

    /// Frees what drains when the pool goes: no reader can be left.
    pub(crate) fn drain_everything(&self) {
        while let Some(drain) = self.drains.take(self.host(), 0) {
            if let Some(class) = self.records.class_of(drain.zspage) {
                let context = self.context(class);
                let owner = context.owner(self.key(), drain.zspage, drain.entry);
                self.end_drain(drain.frame, owner);
            }
        }
    }
}
