//! An owner of movable frames for tests: a table of objects, a frame each, whose bytes are checked.

use super::{check_bytes, stamp, stamp_bytes};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zs_mm::{
    Arena, Backing, Frame, FrameId, FrameLock, FrameOwner, Movable, PoolKey, Prepared, PutBack,
};

/// Objects that stay where a mover puts them.
#[derive(Debug)]
pub(crate) struct Objects<'a, B: Backing> {
    arena: &'a Arena<B>,
    key: Option<PoolKey>,
    slots: Vec<Mutex<Slot>>,
    /// Slots whose objects have an old place.
    draining: Mutex<Vec<usize>>,
    /// So many calls of `prepare` answer that somebody writes.
    pub(crate) busy: AtomicU32,
}

#[derive(Debug, Default)]
struct Slot {
    object: Option<Object>,
    /// The place before the last move, and the readers who are still there.
    old: Option<(FrameId, u32)>,
}

#[derive(Debug)]
struct Object {
    frame: FrameId,
    mark: u64,
    readers: u32,
    isolated: bool,
    freed: bool,
}

/// Somebody reads an object; it is checked again at the end.
#[derive(Debug)]
pub(crate) struct Reading<'t, 'a, B: Backing> {
    objects: &'t Objects<'a, B>,
    slot: usize,
    frame: FrameId,
    mark: u64,
}

impl<'a, B: Backing> Objects<'a, B> {
    #[expect(clippy::expect_used, reason = "a helper of tests")]
    pub(crate) fn new(arena: &'a Arena<B>, slots: usize) -> Self {
        Self {
            arena,
            key: Some(arena.join().expect("room for a pool")),
            slots: (0..slots).map(|_| Mutex::default()).collect(),
            draining: Mutex::default(),
            busy: AtomicU32::new(0),
        }
    }

    /// As many objects as there is memory for, or slots.
    pub(crate) fn full(arena: &'a Arena<B>, slots: usize) -> Self {
        let objects = Self::new(arena, slots);
        let filled = (0..slots).take_while(|&slot| objects.insert(slot));
        let _ = filled.count();
        objects
    }

    #[expect(clippy::expect_used, reason = "a helper of tests")]
    fn pool(&self) -> &PoolKey {
        self.key.as_ref().expect("until the drop")
    }

    fn owner(&self, slot: usize) -> FrameOwner {
        self.pool().owner(0, slot as u32, 0)
    }

    fn slot(&self, slot: usize) -> MutexGuard<'_, Slot> {
        lock(&self.slots[slot])
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Puts a new object into a slot; false if there is no memory, or the slot is not empty.
    pub(crate) fn insert(&self, slot: usize) -> bool {
        let mut place = self.slot(slot);
        if place.object.is_some() {
            return false;
        }
        let Ok(frame) = self.arena.alloc_frame() else {
            return false;
        };
        let mark = slot as u64;
        stamp(self.arena, &frame, mark);
        place.object = Some(Object {
            frame: self.arena.assign(frame, self.pool(), self.owner(slot)),
            mark,
            readers: 0,
            isolated: false,
            freed: false,
        });
        true
    }

    /// Frees an object; one that is isolated goes when it is put back. False if there is none, or
    /// somebody reads it.
    #[expect(clippy::expect_used, reason = "a helper of tests")]
    pub(crate) fn free(&self, slot: usize) -> bool {
        let mut place = self.slot(slot);
        let Some(object) = &mut place.object else {
            return false;
        };
        if object.readers > 0 || object.freed {
            return false;
        }
        check_bytes(self.arena, object.frame, object.mark);
        if object.isolated {
            object.freed = true;
            return true;
        }
        let (frame, key) = (object.frame, self.pool());
        let frame = self.arena.reclaim(frame, key, self.owner(slot));
        place.object = None;
        self.arena.free_frame(frame.expect("its own"));
        true
    }

    /// Begins to read an object, if there is one.
    pub(crate) fn read(&self, slot: usize) -> Option<Reading<'_, 'a, B>> {
        let mut place = self.slot(slot);
        let object = place.object.as_mut().filter(|object| !object.freed)?;
        object.readers += 1;
        let (frame, mark) = (object.frame, object.mark);
        drop(place);
        check_bytes(self.arena, frame, mark);
        Some(Reading {
            objects: self,
            slot,
            frame,
            mark,
        })
    }

    /// Writes a new mark into an object, unless it is being read or moved.
    pub(crate) fn write(&self, slot: usize, mark: u64) -> bool {
        let mut place = self.slot(slot);
        let old_readers = place.old.is_some();
        match &mut place.object {
            Some(object) if object.readers == 0 && !object.isolated && !old_readers => {
                check_bytes(self.arena, object.frame, object.mark);
                object.mark = mark;
                stamp_bytes(self.arena, object.frame, mark);
                true
            }
            _ => false,
        }
    }

    /// The frame that an object is in.
    pub(crate) fn frame(&self, slot: usize) -> Option<FrameId> {
        self.slot(slot).object.as_ref().map(|object| object.frame)
    }

    /// Checks every object, and returns how many there are.
    pub(crate) fn check(&self) -> usize {
        let reads = (0..self.slots()).filter_map(|slot| self.read(slot));
        reads.count()
    }

    pub(crate) fn free_all(&self) {
        for slot in 0..self.slots() {
            self.free(slot);
        }
        self.drain();
    }
}

impl<B: Backing> Drop for Reading<'_, '_, B> {
    fn drop(&mut self) {
        check_bytes(self.objects.arena, self.frame, self.mark);
        let mut place = self.objects.slot(self.slot);
        if let Some((old, readers)) = &mut place.old
            && *old == self.frame
        {
            *readers -= 1;
        } else if let Some(object) = &mut place.object {
            object.readers -= 1;
        }
    }
}

impl<B: Backing> Drop for Objects<'_, B> {
    fn drop(&mut self) {
        self.free_all();
        if let Some(key) = self.key.take() {
            self.arena.leave(key);
        }
    }
}

// SAFETY: 1. Writers hold the slot's lock, and refuse an object that is isolated. 2. `commit` names
// the new frame under the slot's lock; readers that were in the old one keep it in `old`. 3. The
// object's frame is compared under the slot's lock, and changes only in `commit`; a free of an
// isolated one is left to putback.
unsafe impl<B: Backing> Movable for Objects<'_, B> {
    fn key(&self) -> &PoolKey {
        self.pool()
    }

    fn isolate(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> bool {
        let mut place = self.slot(owner.zspage as usize);
        if place.old.is_some() {
            return false;
        }
        match &mut place.object {
            Some(object) if object.frame == frame.frame() && !object.isolated => {
                object.isolated = true;
                true
            }
            _ => false,
        }
    }

    fn prepare(&self, _frame: &FrameLock<'_>, owner: FrameOwner) -> Prepared {
        let less = |busy: u32| busy.checked_sub(1);
        let busy = (self.busy).fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if busy.is_ok() {
            return Prepared::Busy;
        }
        match &self.slot(owner.zspage as usize).object {
            Some(object) if object.freed => Prepared::Empty,
            _ => Prepared::Ready,
        }
    }

    #[expect(clippy::expect_used, reason = "a helper of tests")]
    fn commit(&self, frame: &FrameLock<'_>, owner: FrameOwner, to: Frame) -> Option<Frame> {
        let mut place = self.slot(owner.zspage as usize);
        let object = place.object.as_mut().expect("an isolated object stays");
        assert_eq!(object.frame, frame.frame(), "and stays where it is");
        object.frame = self.arena.assign(to, self.pool(), owner);
        object.isolated = false;
        let readers = core::mem::take(&mut object.readers);
        let freed = core::mem::take(&mut object.freed);
        let (old, key) = (frame.frame(), self.pool());
        let out = if readers > 0 {
            self.arena.begin_drain(old, key, owner);
            place.old = Some((old, readers));
            lock(&self.draining).push(owner.zspage as usize);
            None
        } else {
            let old = self.arena.reclaim(old, key, owner);
            Some(old.expect("its own"))
        };
        drop(place);
        if freed {
            self.free(owner.zspage as usize);
        }
        out
    }

    fn putback(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> PutBack {
        let mut place = self.slot(owner.zspage as usize);
        let Some(object) = place.object.as_mut() else {
            return PutBack::Kept;
        };
        object.isolated = false;
        if !object.freed {
            return PutBack::Kept;
        }
        place.object = None;
        let frame = self.arena.reclaim(frame.frame(), self.pool(), owner);
        frame.map_or(PutBack::Gone, PutBack::Free)
    }

    #[expect(clippy::expect_used, reason = "a helper of tests")]
    fn drain(&self) {
        let draining = core::mem::take(&mut *lock(&self.draining));
        for slot in draining {
            let mut place = self.slot(slot);
            if let Some((old, _)) = place.old.take_if(|(_, readers)| *readers == 0) {
                let old = self.arena.end_drain(old, self.pool(), self.owner(slot));
                self.arena.free_frame(old.expect("its own"));
            } else {
                lock(&self.draining).push(slot);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frees some share of the objects, at random.
pub(crate) fn free_some(
    objects: &Objects<'_, impl Backing>,
    percent: usize,
    random: &mut super::Random,
) {
    for slot in 0..objects.slots() {
        if random.below(100) < percent {
            objects.free(slot);
        }
    }
}

/// Pageblocks of the arena in which no object is.
pub(crate) fn blocks_without(objects: &Objects<'_, impl Backing>, blocks: usize) -> usize {
    let in_block = objects.arena.options().page_size.frames_per_block();
    let frames = (0..objects.slots()).filter_map(|slot| objects.frame(slot));
    let used: std::collections::HashSet<_> = frames.map(|frame| frame.index() / in_block).collect();
    blocks - used.len()
}
