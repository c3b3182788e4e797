//! The backing in use: its file, and which parts of it are taken.
//!
//! extent freed -> dead pages -> (a thread, once a second) taken -> a hole punched -> put back. Whoever frees an extent
//! never waits for the file.
//!
//! # Locking
//!
//! `punching` is held while a hole is punched, and outside the lock of the extents, which is held for a moment. Only a
//! writeback that finds no room waits for `punching`.

use super::extents::{Extents, Found, UNIT};
use super::file::{BackingFile, panicked};
use super::lock;
use crate::content::Extent;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) file: BackingFile,
    extents: Mutex<Extents>,
    punching: Mutex<()>,
}

impl Place {
    /// `None` if there is no memory for the bits of so many units.
    pub(crate) fn new(file: BackingFile, units: u32) -> Option<Self> {
        Some(Self {
            file,
            extents: Mutex::new(Extents::new(units)?),
            punching: Mutex::default(),
        })
    }

    /// Takes so many units, wherever there are any.
    pub(crate) fn take(&self, units: u16) -> Option<u32> {
        self.find(units).or_else(|| {
            // What is being punched is free in a moment.
            let _nothing_is_punched = lock(&self.punching);
            self.find(units)
        })
    }

    /// The lock is let go now and then.
    fn find(&self, units: u16) -> Option<u32> {
        let mut search = lock(&self.extents).search(units);
        loop {
            let found = lock(&self.extents).take(&mut search);
            match found {
                Found::Run(start) => return Some(start),
                Found::Nowhere => return None,
                Found::GoOn => std::thread::yield_now(),
            }
        }
    }

    pub(crate) fn free(&self, extent: Extent) {
        lock(&self.extents).free(extent);
    }

    pub(crate) fn is_full(&self) -> bool {
        lock(&self.extents).is_full()
    }

    /// Bytes used, and bytes there are.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let extents = lock(&self.extents);
        (bytes(extents.used()), bytes(extents.units()))
    }

    /// Returns once the file has what was written to it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // A file of the caller's own kind that panics must not end the pass.
        catch_unwind(AssertUnwindSafe(|| self.file.file.sync())).unwrap_or_else(|_| panicked())
    }

    /// Punches holes for all pages that are dead, as long as `goes_on`. A file that cannot have holes keeps its space.
    pub(crate) fn punch(&self, goes_on: impl Fn() -> bool) {
        while goes_on() {
            let _alone = lock(&self.punching);
            let Some(units) = lock(&self.extents).take_dead() else {
                return;
            };
            let (start, end) = (bytes(units.start), bytes(units.end));
            let punch = || self.file.file.punch(start, end - start);
            let _ = catch_unwind(AssertUnwindSafe(punch));
            lock(&self.extents).put_back(units);
        }
    }
}

fn bytes(units: u32) -> u64 {
    u64::from(units) * UNIT as u64
}
