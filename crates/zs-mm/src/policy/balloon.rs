//! A balloon: frames out of use, without memory, that count against the limit.
//!
//! `Balloon -> slot -> frame`, and from the frame's descriptor back to the slot.
//!
//! # Locking
//!
//! One leaf lock (`Balloon`) for the slots. Frames are taken and given back with no lock held.

mod bare;

use crate::arena::Arena;
use crate::arena::arena_ref::ArenaRef;
use crate::arena::frames::Frame;
use crate::error::Error;
use crate::frame::descriptor::{Descriptor, FrameOwner, FrameType, PoolKey};
use crate::meta::table::MetaTable;
use crate::movable::{FrameLock, Movable, Prepared, PutBack};
use crate::size::FrameId;
use core::fmt;
use zs_sync::{Guarded64, Host, LockName, Mutex, Ordering};

/// A slot without a frame.
const EMPTY: u64 = 0;
/// Somebody moves the slot's frame.
const ISOLATED: u64 = 1 << 32;
/// The balloon has let go of the slot's frame, which is freed when whoever moves it is done.
const LET_GO: u64 = 1 << 33;
/// The frame, plus one.
const FRAME_MASK: u64 = ISOLATED - 1;

/// Frames taken out of use: what a service gives up so that others have it, without making its
/// arena anew.
///
/// An inflated balloon leaves fewer frames and a smaller share of the limit to everybody else; its
/// frames have no memory (where the system's page is larger than a frame, they keep it). They can
/// be moved ([`Arena::migrate_pages`]) like a pool's, so it stands in nobody's way. Dropping it
/// deflates it.
pub struct Balloon<A: ArenaRef> {
    arena: A,
    key: Option<PoolKey>,
    slots: MetaTable<Guarded64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Slots from this one on have no frame, or one that was let go of.
    end: usize,
    /// Frames in the balloon.
    frames: u64,
}

impl<A: ArenaRef> fmt::Debug for Balloon<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balloon")
            .field("frames", &self.frames())
            .finish_non_exhaustive()
    }
}

impl<A: ArenaRef> Balloon<A> {
    /// Makes an empty balloon in an arena.
    ///
    /// # Errors
    /// [`Error::TooManyPools`] (a balloon counts as one); [`Error::NoMemory`] if address space for
    /// its slots, 8 bytes a frame of the arena, is not to be had.
    pub fn new(arena: A) -> Result<Self, Error> {
        let place = arena.arena();
        let frames = place.capacity() >> place.options.page_size.shift();
        let slots = place.reserve_table(frames as usize + place.blocks.frames)?;
        match place.join() {
            Ok(key) => Ok(Self {
                key: Some(key),
                slots,
                state: Mutex::new(LockName::Balloon, State::default()),
                arena,
            }),
            Err(error) => {
                place.release_table(slots);
                Err(error)
            }
        }
    }

    fn arena(&self) -> &Arena<A::Backing> {
        self.arena.arena()
    }

    fn host(&self) -> &'static dyn Host {
        self.arena().host()
    }

    #[expect(clippy::expect_used, reason = "only the drop takes it, last of all")]
    fn pool_key(&self) -> &PoolKey {
        self.key.as_ref().expect("a balloon has its key")
    }

    /// Returns the number of frames in the balloon; none in a forked child.
    pub fn frames(&self) -> u64 {
        if self.arena().is_forked() {
            return 0;
        }
        self.state.lock(self.host()).frames
    }

    /// Returns the number of committed bytes of the balloon's slots, counted in the arena's limit.
    pub fn metadata_bytes(&self) -> u64 {
        self.slots.committed_bytes()
    }

    /// Takes frames out of use until the balloon has `target`; returns how many it has then. Gives
    /// cached frames of the arena back first. Does nothing if it has as many already. May call
    /// the backing.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if there are not so many free frames, or the limit is reached: the
    /// balloon then has what was there. [`Error::Forked`].
    pub fn inflate(&self, target: u64) -> Result<u64, Error> {
        if self.arena().is_forked() {
            return Err(Error::Forked);
        }
        loop {
            let frames = self.frames();
            let Some(missing) = target.checked_sub(frames).filter(|&missing| missing > 0) else {
                return Ok(frames);
            };
            self.grow(usize::try_from(missing).unwrap_or(usize::MAX))?;
        }
    }

    /// Gives frames back to the arena until the balloon has `target`; returns how many it has then.
    /// One that somebody moves just then follows when that is over. In a forked child nothing
    /// is given back.
    pub fn deflate(&self, target: u64) -> u64 {
        if self.arena().is_forked() {
            return 0;
        }
        while let Some(frame) = self.let_go(target) {
            if let Some(frame) = frame {
                self.give_up(frame);
            }
        }
        self.frames()
    }

    /// Takes some frames: a run without memory, or one with, where commits are larger than a frame.
    fn grow(&self, most: usize) -> Result<(), Error> {
        let arena = self.arena();
        // First of all: what the frames leave of the limit might not be enough for their slots.
        let at_hand = (arena.granule() / size_of::<Guarded64>()).max(1);
        let at_hand = at_hand - self.ensured_end()? % at_hand;
        if arena.frames_per_granule() > 1 {
            let frame = arena.alloc_frame()?;
            return self.push(frame.id, Descriptor::UNOWNED).inspect_err(|_| {
                arena.free_frame(frame);
            });
        }
        let most = most.min(arena.blocks.frames).min(at_hand);
        let run = arena.take_bare(most).or_else(|_| {
            arena.give_cached_back();
            arena.take_bare(most)
        })?;
        let mut outcome = Ok(());
        for frame in run.frames(&arena.blocks) {
            outcome = outcome.and_then(|()| self.push(frame, Descriptor::FREE));
            if outcome.is_err() {
                arena.free_bare(frame);
            }
        }
        outcome
    }

    /// Returns the end of the slots; there is memory for the next.
    fn ensured_end(&self) -> Result<usize, Error> {
        let end = self.state.lock(self.host()).end;
        if end < self.slots.len() {
            self.arena().ensure(&self.slots, end)?;
        }
        Ok(end)
    }

    /// Puts a frame into a slot.
    fn push(&self, frame: FrameId, before: Descriptor) -> Result<(), Error> {
        let arena = self.arena();
        loop {
            let end = self.ensured_end()?;
            let mut state = self.state.lock(self.host());
            if state.end > end {
                // Others have inflated it meanwhile.
                continue;
            }
            let is_empty = |&slot: &usize| self.slots.at(slot).get() == EMPTY;
            let slot = if state.end < self.slots.len() {
                state.end += 1;
                state.end - 1
            } else {
                (0..state.end).find(is_empty).ok_or(Error::NoMemory)?
            };
            // One whose frame is still being moved is passed over, and empty later.
            if is_empty(&slot) {
                // In the same hold: from then on it may be let go of.
                self.own(arena, frame, before, slot);
                self.slots.at(slot).set(u64::from(frame.0) + 1);
                state.frames += 1;
                return Ok(());
            }
        }
    }

    /// Makes a slot the owner of a frame whose descriptor is `before`.
    fn own(&self, arena: &Arena<A::Backing>, frame: FrameId, before: Descriptor, slot: usize) {
        let owned = Descriptor::owned_as(FrameType::Balloon, self.owner(slot));
        // Relaxed: who isolates a frame looks at its slot, under the balloon's lock.
        let found = arena
            .descriptor(frame)
            .fetch_xor(before.0 ^ owned.0, Ordering::Relaxed);
        debug_assert_eq!(Descriptor(found).at_rest(), before);
    }

    fn owner(&self, slot: usize) -> FrameOwner {
        self.pool_key().owner(0, slot as u32, 0)
    }

    /// Takes the last frame out of its slot, if there are more than `target`; `Some(None)` if
    /// somebody moves it.
    fn let_go(&self, target: u64) -> Option<Option<FrameId>> {
        let mut state = self.state.lock(self.host());
        while state.frames > target {
            state.end = state.end.checked_sub(1)?;
            let slot = self.slots.at(state.end);
            match slot.get() {
                word if word == EMPTY || word & LET_GO != 0 => {}
                word if word & ISOLATED != 0 => {
                    slot.set(word | LET_GO);
                    state.frames -= 1;
                    return Some(None);
                }
                word => {
                    slot.set(EMPTY);
                    state.frames -= 1;
                    return Some(Some(frame_in(word)));
                }
            }
        }
        None
    }

    /// Gives frames back whose tokens were leaked. Only for the drop: no token can exist.
    fn give_up_forgotten(&self) {
        // Beyond the end too: a slot whose frame was being moved has been passed over.
        let written = self.slots.committed_bytes() as usize / size_of::<Guarded64>();
        for slot in 0..written.min(self.slots.len()) {
            let state = self.state.lock(self.host());
            let word = self.slots.at(slot).get();
            self.slots.at(slot).set(EMPTY);
            drop(state);
            if word != EMPTY {
                self.give_up(frame_in(word));
            }
        }
    }

    /// Gives a frame back that is in no slot any more.
    fn give_up(&self, frame: FrameId) {
        if let Some(frame) = self.arena().leave_balloon(frame) {
            self.arena().free_frame(frame);
        }
    }

    /// Changes the slot of a frame, if the slot has it; returns what it was.
    fn change(
        &self,
        frame: FrameId,
        owner: FrameOwner,
        change: impl FnOnce(u64) -> u64,
    ) -> Option<u64> {
        let _state = self.state.lock(self.host());
        let cell = self.slots.get(owner.zspage as usize)?;
        let word = cell.get();
        if word & FRAME_MASK != u64::from(frame.0) + 1 {
            return None;
        }
        cell.set(change(word));
        Some(word)
    }
}

fn frame_in(word: u64) -> FrameId {
    FrameId((word & FRAME_MASK) as u32 - 1)
}

// SAFETY: 1. Nobody reads or writes the frames of a balloon. 2. `commit` swaps the slot's frame
// under the balloon's lock, and nobody uses the old one. 3. `isolate` compares the slot under the
// same lock, under which it changes.
unsafe impl<A: ArenaRef + Sync> Movable for Balloon<A> {
    fn key(&self) -> &PoolKey {
        self.pool_key()
    }

    fn frame_type(&self) -> FrameType {
        FrameType::Balloon
    }

    fn has_contents(&self) -> bool {
        false
    }

    fn isolate(&self, lock: &FrameLock<'_>, owner: FrameOwner) -> bool {
        let marked = self.change(lock.frame(), owner, |word| word | ISOLATED);
        marked.is_some_and(|before| before & ISOLATED == 0)
    }

    fn prepare(&self, lock: &FrameLock<'_>, owner: FrameOwner) -> Prepared {
        let word = self.change(lock.frame(), owner, |word| word);
        match word {
            Some(word) if word & LET_GO == 0 => Prepared::Ready,
            _ => Prepared::Empty,
        }
    }

    fn commit(&self, lock: &FrameLock<'_>, owner: FrameOwner, to: Frame) -> Option<Frame> {
        let arena = self.arena();
        // Before the slot names it: from then on it may be let go of.
        self.own(arena, to.id, Descriptor::UNOWNED, owner.zspage as usize);
        arena.strip(to.id);
        let mut let_go = false;
        self.change(lock.frame(), owner, |word| {
            let_go = word & LET_GO != 0;
            if let_go {
                EMPTY
            } else {
                u64::from(to.id.0) + 1
            }
        });
        if let_go {
            self.give_up(to.id);
        }
        arena.leave_balloon(lock.frame())
    }

    fn putback(&self, lock: &FrameLock<'_>, owner: FrameOwner) -> PutBack {
        let word = self.change(lock.frame(), owner, |word| {
            if word & LET_GO != 0 {
                EMPTY
            } else {
                word & !ISOLATED
            }
        });
        match word {
            Some(word) if word & LET_GO != 0 => self
                .arena()
                .leave_balloon(lock.frame())
                .map_or(PutBack::Gone, PutBack::Free),
            _ => PutBack::Kept,
        }
    }
}

impl<A: ArenaRef> Drop for Balloon<A> {
    fn drop(&mut self) {
        if !self.arena().is_forked() {
            self.deflate(0);
            self.give_up_forgotten();
        }
        let slots = core::mem::take(&mut self.slots);
        self.arena().release_table(slots);
        if let Some(key) = self.key.take() {
            self.arena().leave(key);
        }
    }
}
