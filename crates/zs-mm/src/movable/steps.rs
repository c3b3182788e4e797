//! Migration in three steps, for callers who copy themselves.
//!
//! [`Arena::collect`] isolates and locks -> the caller writes copies into frames of its own choice
//! and gives them -> [`Collected::finalize`] hands over what was given, and puts the rest back

use super::PIECE;
use super::contract::{Movable, Prepared};
use super::lock::FrameLock;
use super::token::Isolated;
use crate::arena::Arena;
use crate::arena::frames::Frame;
use crate::arena::moves::MoveTicket;
use crate::backing::Backing;
use crate::frame_status::{FrameStatus, MigrateReason};
use crate::size::FrameId;
use core::fmt;

/// One frame of a collected range.
struct Entry<'o, B: Backing> {
    // The lock before the token: putting a frame back locks it.
    lock: Option<FrameLock<'o>>,
    token: Option<Isolated<'o, B>>,
    to: Option<Frame>,
    status: FrameStatus,
}

/// What may be done with a collected frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameFlags {
    /// It is isolated and locked: nobody writes to it.
    pub valid: bool,
    /// It will be moved: a frame was given for it.
    pub migrate: bool,
    /// Its bytes must be written to that frame.
    pub write: bool,
}

/// Frames that are isolated and locked, to be copied by the caller. Dropping it puts all of them
/// back.
///
/// While it lives, a pause of moves ([`Arena::pause_moves`]) waits for it.
pub struct Collected<'o, B: Backing> {
    arena: &'o Arena<B>,
    first: FrameId,
    entries: [Option<Entry<'o, B>>; PIECE],
    len: usize,
    _ticket: MoveTicket<'o>,
}

impl<B: Backing> fmt::Debug for Collected<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("first", &self.first)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<B: Backing> Arena<B> {
    /// Isolates and locks the frames from `first` on, at most [`PIECE`] of `len`, whose owners are
    /// among `owners`, without waiting. `None` while moves are paused.
    pub fn collect<'o>(
        &'o self,
        first: FrameId,
        len: usize,
        owners: &[&'o dyn Movable],
    ) -> Option<Collected<'o, B>> {
        let ticket = self.begin_moves()?;
        let mut collected = Collected {
            arena: self,
            first,
            entries: [const { None }; PIECE],
            len: len.min(PIECE),
            _ticket: ticket,
        };
        for at in 0..collected.len {
            let frame = FrameId(first.0.saturating_add(at as u32));
            collected.entries[at] = Some(self.collect_one(frame, owners));
        }
        Some(collected)
    }

    fn collect_one<'o>(&'o self, frame: FrameId, owners: &[&'o dyn Movable]) -> Entry<'o, B> {
        let mut entry = Entry {
            lock: None,
            token: None,
            to: None,
            status: FrameStatus::Busy,
        };
        let token = match self.isolate(frame, owners, false) {
            Ok(token) => token,
            Err(status) => {
                entry.status = status;
                return entry;
            }
        };
        let lock = self.try_lock_frame(frame);
        match lock.as_ref().map(|lock| token.prepare(lock)) {
            Some(Prepared::Ready) => {
                entry.status = FrameStatus::Pending;
                entry.token = Some(token);
                entry.lock = lock;
            }
            Some(Prepared::Empty) => {
                drop(lock);
                entry.status = token.end();
            }
            Some(Prepared::Busy) | None => {
                drop(lock);
                drop(token);
            }
        }
        entry
    }

    /// Overwrites the start of a frame that nobody owns yet.
    ///
    /// # Panics
    /// If the frame is another arena's, or `bytes` are more than a frame has.
    pub fn write_frame(&self, frame: &mut Frame, bytes: &[u8]) {
        assert_eq!(frame.arena, self.id, "a frame of another arena");
        let page = self.options.page_size;
        assert!(bytes.len() <= page.bytes(), "more than a frame has");
        // SAFETY: an allocated frame is committed, and who holds it holds it alone.
        unsafe {
            self.payload()
                .write(frame.id.index() << page.shift(), bytes);
        };
    }

    /// Zeroes a frame that nobody owns.
    ///
    /// # Panics
    /// If the frame is another arena's.
    pub fn zero_frame(&self, frame: &mut Frame) {
        assert_eq!(frame.arena, self.id, "a frame of another arena");
        let page = self.options.page_size;
        // SAFETY: an allocated frame is committed, and who holds it holds it alone.
        unsafe {
            self.payload()
                .zero(frame.id.index() << page.shift(), page.bytes());
        };
    }
}

impl<B: Backing> Collected<'_, B> {
    /// Returns how many frames the range has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the frame at `at` of the range.
    pub fn frame(&self, at: usize) -> FrameId {
        FrameId(self.first.0.saturating_add(at as u32))
    }

    /// Returns what may be done with a frame of the range; nothing beyond its end.
    pub fn flags(&self, at: usize) -> FrameFlags {
        let entry = self.entries.get(at).and_then(Option::as_ref);
        let token = entry.and_then(|entry| entry.token.as_ref());
        FrameFlags {
            valid: token.is_some(),
            migrate: entry.is_some_and(|entry| entry.to.is_some()),
            write: token.is_some_and(|token| token.movable().has_contents()),
        }
    }

    /// Returns what is known of a frame: [`FrameStatus::Pending`] if it can be moved.
    pub fn status(&self, at: usize) -> FrameStatus {
        let entry = self.entries.get(at).and_then(Option::as_ref);
        entry.map_or(FrameStatus::NoSuchFrame, |entry| entry.status)
    }

    /// Returns the bytes of a frame that is valid and has contents.
    pub fn bytes(&self, at: usize) -> Option<&[u8]> {
        let page = self.arena.options.page_size;
        let flags = self.flags(at);
        let start = self.frame(at).index() << page.shift();
        // SAFETY: the frame is isolated, locked and prepared: in use, hence committed, and its
        // owner promises that nobody writes to it until it is handed over or put back,
        // which ends the borrow.
        (flags.valid && flags.write)
            .then(|| unsafe { self.arena.payload().bytes(start, page.bytes()) })
    }

    /// Gives the frame that a valid one is moved to; the caller has written its bytes
    /// ([`Arena::write_frame`]).
    ///
    /// # Errors
    /// Hands the frame back if that one is not valid, or has a destination already.
    ///
    /// # Panics
    /// If `to` is another arena's.
    pub fn give(&mut self, at: usize, to: Frame) -> Result<(), Frame> {
        assert_eq!(to.arena, self.arena.id, "a frame of another arena");
        match self.entries.get_mut(at).and_then(Option::as_mut) {
            Some(entry) if entry.token.is_some() && entry.to.is_none() => {
                entry.to = Some(to);
                Ok(())
            }
            _ => Err(to),
        }
    }

    /// Hands over the frames for which a destination was given, and puts the others back. `status`
    /// gets what became of each. Returns how many were moved. In a forked child nothing is.
    pub fn finalize(mut self, status: &mut [FrameStatus]) -> u64 {
        let mut moved = 0;
        if self.arena.is_forked() {
            return moved;
        }
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let Some(mut entry) = entry.take() else {
                continue;
            };
            let given = entry.to.take().zip(entry.lock.take());
            if let Some(((to, lock), token)) = given.zip(entry.token.take()) {
                let (after, old) = token.commit(&lock, to);
                entry.status = after;
                moved += 1;
                drop(lock);
                if let Some(old) = old {
                    self.arena.free_frame(old);
                }
            }
            if let Some(place) = status.get_mut(at) {
                *place = entry.status;
            }
        }
        self.arena.count_reason(MigrateReason::List, moved);
        moved
    }
}

impl<B: Backing> Drop for Collected<'_, B> {
    fn drop(&mut self) {
        if self.arena.is_forked() {
            return;
        }
        for entry in &mut self.entries {
            // Frames that were given and not used.
            if let Some(to) = entry.as_mut().and_then(|entry| entry.to.take()) {
                self.arena.free_frame(to);
            }
        }
    }
}
