//! The table of all locks, and the check that a thread holds one of them at a time.
//!
//! | lock | guards | may be taken while holding |
//! |---|---|---|
//! | `Word` | one object's word, by its state bits | nothing below |
//! | `Class` | the zspages of one size class of one pool | `Word` (a pin), and no other lock |
//! | `FrameCache` | one CPU's free frames | nothing |
//! | `Zone` | pageblocks, their bitmaps and lists | nothing |
//! | `Records` | the free units of the zspage record table | nothing |
//! | `Handles` | the free words of a handle table | nothing |
//! | `Drains` | the frames of a pool that drain | nothing |
//! | `Balloon` | the slots of a balloon | nothing |
//! | `Shares` | the index of a block store's shared objects | nothing |
//!
//! The order of the design is *frame lock < word < class*: the frame lock, a bit of a frame's
//! descriptor, is waited for with no lock held, and others are taken under it. Under `Class`, words
//! are only tried. The last seven are leaves: short, and never held while the OS is called, memory
//! is committed, or bytes are compressed.
//!
//! Words are not checked by thread: a guard may be dropped by another thread than the one that
//! pinned. What is checked is that nobody *waits* for a word with a lock held
//! ([`assert_may_block`]).

use core::marker::PhantomData;

/// The name of a lock. Debug builds with `std` panic when a thread that holds one takes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LockName {
    /// The zspages of one size class of one pool.
    Class = 0,
    /// One CPU's free frames.
    FrameCache = 1,
    /// Pageblocks, their bitmaps and lists.
    Zone = 2,
    /// The free units of the zspage record table.
    Records = 3,
    /// The free words of a handle table.
    Handles = 4,
    /// The frames of a pool that drain.
    Drains = 5,
    /// The slots of a balloon.
    Balloon = 6,
    /// The index of a block store's shared objects.
    Shares = 7,
}

impl LockName {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Says whether the caller holds no lock, so that it may call the OS, commit memory or compress.
///
/// Always true where locks are not checked (release builds, `no_std`).
pub fn may_call_out() -> bool {
    held::get() == 0
}

/// Debug builds panic here if a thread that is about to wait holds a lock.
#[inline]
pub fn assert_may_block() {
    debug_assert!(may_call_out(), "waits or calls out with a lock held");
}

/// Replaces the calling thread's marks of held locks: threads of a seeded schedule share one thread
/// of the system, and each has marks of its own.
#[cfg(zs_schedule)]
pub(crate) fn swap_held(names: u8) -> u8 {
    let before = held::get();
    held::set(names);
    before
}

/// The mark of one held lock; dropping it forgets the mark.
///
/// Neither `Send` nor `Sync`: the mark belongs to the thread that took the lock, and so does the
/// guard that holds it.
#[derive(Debug)]
pub(crate) struct Held(LockName, PhantomData<*mut ()>);

impl Held {
    /// Checks that the thread holds no lock, then marks this one as held.
    #[inline]
    pub(crate) fn enter(name: LockName) -> Self {
        let before = held::get();
        debug_assert!(
            before == 0,
            "one lock at a time: {name:?} is taken by a thread that holds {before:#b}"
        );
        held::set(before | name.bit());
        Self(name, PhantomData)
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        held::set(held::get() & !self.0.bit());
    }
}

#[cfg(all(debug_assertions, feature = "std", not(zs_loom)))]
mod held {
    std::thread_local! {
        static HELD: core::cell::Cell<u8> = const { core::cell::Cell::new(0) };
    }

    pub(super) fn get() -> u8 {
        HELD.with(core::cell::Cell::get)
    }

    pub(super) fn set(names: u8) {
        HELD.with(|held| held.set(names));
    }
}

#[cfg(all(debug_assertions, zs_loom))]
mod held {
    loom::thread_local! {
        static HELD: core::cell::Cell<u8> = core::cell::Cell::new(0);
    }

    pub(super) fn get() -> u8 {
        HELD.with(core::cell::Cell::get)
    }

    pub(super) fn set(names: u8) {
        HELD.with(|held| held.set(names));
    }
}

#[cfg(not(all(debug_assertions, any(feature = "std", zs_loom))))]
mod held {
    #[inline]
    pub(super) fn get() -> u8 {
        0
    }

    #[inline]
    pub(super) fn set(_names: u8) {}
}
