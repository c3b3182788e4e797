//! Atomics, and the cells that a lock guards.
//!
//! A word that threads race on is an [`AtomicU32`] or [`AtomicU64`]. A word that is only touched
//! under one lock is a [`Guarded32`] or [`Guarded64`]: an atomic with relaxed accesses where the
//! code ships (so a mistake is a wrong answer, never undefined behaviour), and a tracked plain
//! cell under loom (so a mistake is found). In a seeded schedule both pass a point before each
//! operation, and two threads about to access one guarded cell at once are found.

use core::sync::atomic::AtomicU32 as NativeU32;

pub use core::sync::atomic::Ordering;

#[cfg(zs_schedule)]
pub use crate::schedule::{AtomicU32, AtomicU64};
#[cfg(not(zs_loom))]
pub use core::sync::atomic::fence;
#[cfg(not(any(zs_loom, zs_schedule)))]
pub use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(zs_loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

/// A look at a word that threads race on.
///
/// A plain load where the code ships. Loom 0.7 remembers one access of a word for each kind, so a
/// load that is followed by another thread's load of the same word is forgotten, and the
/// interleaving in which that thread's compare-and-swap comes first is never run. Under loom a look
/// is therefore a read-modify-write that changes nothing.
pub trait Peek {
    /// The integer inside.
    type Value;

    /// Returns the value; `order` is that of a load.
    fn peek(&self, order: Ordering) -> Self::Value;
}

macro_rules! peek {
    ($atomic:ident, $int:ident) => {
        impl Peek for $atomic {
            type Value = $int;

            #[inline]
            fn peek(&self, order: Ordering) -> $int {
                #[cfg(not(zs_loom))]
                return self.load(order);
                #[cfg(zs_loom)]
                return self.fetch_or(0, order);
            }
        }
    };
}

peek!(AtomicU32, u32);
peek!(AtomicU64, u64);

macro_rules! guarded {
    ($name:ident, $atomic:ident, $int:ident) => {
        /// A cell whose every access happens under the one lock that guards it.
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name {
            #[cfg(not(zs_loom))]
            value: $atomic,
            #[cfg(zs_loom)]
            value: loom::cell::Cell<$int>,
        }

        #[cfg(not(any(zs_loom, zs_schedule)))]
        impl $name {
            /// Returns the value. The caller holds the guarding lock.
            #[inline]
            pub fn get(&self) -> $int {
                // Relaxed: the guarding lock orders it.
                self.value.load(Ordering::Relaxed)
            }

            /// Stores a value. The caller holds the guarding lock.
            #[inline]
            pub fn set(&self, value: $int) {
                // Relaxed: the guarding lock orders it.
                self.value.store(value, Ordering::Relaxed);
            }
        }

        #[cfg(zs_schedule)]
        impl $name {
            /// Returns the value. The caller holds the guarding lock.
            pub fn get(&self) -> $int {
                // Relaxed: one thread runs at a time.
                self.value.guarded(false).load(Ordering::Relaxed)
            }

            /// Stores a value. The caller holds the guarding lock.
            pub fn set(&self, value: $int) {
                // Relaxed: one thread runs at a time.
                self.value.guarded(true).store(value, Ordering::Relaxed);
            }
        }

        #[cfg(zs_loom)]
        impl $name {
            /// Returns the value. Loom reports an access that no lock orders.
            pub fn get(&self) -> $int {
                self.value.get()
            }

            /// Stores a value. Loom reports an access that no lock orders.
            pub fn set(&self, value: $int) {
                self.value.set(value);
            }
        }
    };
}

guarded!(Guarded32, AtomicU32, u32);
guarded!(Guarded64, AtomicU64, u64);

// SAFETY: loom runs one thread at a time and reports every pair of accesses to the cell that is
// not ordered by synchronisation, so sharing it can only end in loom's panic.
#[cfg(zs_loom)]
unsafe impl Sync for Guarded32 {}
// SAFETY: as for `Guarded32`.
#[cfg(zs_loom)]
unsafe impl Sync for Guarded64 {}

/// Four bytes of a record that are, for the record's whole life, either raced on or guarded.
///
/// Records mix both kinds in one cache line; which word is which is the record's layout.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Dual32 {
    #[cfg(not(zs_loom))]
    word: Guarded32,
    #[cfg(zs_loom)]
    word: (AtomicU32, Guarded32),
}

impl Dual32 {
    /// Returns the word as an atomic.
    #[inline]
    pub fn atomic(&self) -> &AtomicU32 {
        #[cfg(not(zs_loom))]
        return &self.word.value;
        #[cfg(zs_loom)]
        return &self.word.0;
    }

    /// Returns the word as a cell under a lock.
    #[inline]
    pub fn guarded(&self) -> &Guarded32 {
        #[cfg(not(zs_loom))]
        return &self.word;
        #[cfg(zs_loom)]
        return &self.word.1;
    }
}

/// A process-wide counter: the only shared state that is not part of an arena.
///
/// It is never loom's, whose atomics cannot be statics; nothing is published through it.
#[derive(Debug)]
pub struct StaticCounter(NativeU32);

impl StaticCounter {
    /// Makes a counter that starts at `first`.
    pub const fn new(first: u32) -> Self {
        Self(NativeU32::new(first))
    }

    /// Returns the next value; wraps after 2^32 calls.
    pub fn next(&self) -> u32 {
        // Relaxed: only uniqueness matters, and a read-modify-write gives that.
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
