//! The backing in use: its file, and which parts of it are taken.
//!
//! extent freed -> dead pages -> (a thread, once a second) taken -> a hole punched -> put back
//! (`punching`). Whoever frees an extent never waits for the file.

use super::extents::{Extents, Found};
use super::file::{BackingFile, panicked};
use super::lock::lock;
use crate::block::content::{Extent, UNIT};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use zs_mm::wide;

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) file: BackingFile,
    extents: Arc<Mutex<Extents>>,
}

impl Place {
    /// Uses so many units of a file; `None` if there is no memory for their bits.
    pub(crate) fn new(file: BackingFile, units: u32) -> Option<Self> {
        let extents = Arc::new(Mutex::new(Extents::new(units)?));
        let is_ours = file.punching.give_to(&extents);
        is_ours.then_some(Self { file, extents })
    }

    /// Gives up the memory of the bits: the place is not used any more, but by a hole that hangs.
    pub(crate) fn clear(&self) {
        *lock(&self.extents) = Extents::default();
    }

    /// Takes so many units, wherever there are any.
    pub(crate) fn take(&self, units: u16) -> Option<u32> {
        self.find(units).or_else(|| {
            // What is being punched is free in a moment.
            self.file.punching.wait();
            self.find(units)
        })
    }

    /// Finds so many units, and takes them. Lets go of the lock now and then.
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

    /// Returns the bytes used, and bytes there are.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let extents = lock(&self.extents);
        (bytes(extents.used()), bytes(extents.units()))
    }

    /// Returns once the file has what was written to it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // A file of the caller's own kind that panics must not end the pass.
        catch_unwind(AssertUnwindSafe(|| self.file.file.sync())).unwrap_or_else(|_| panicked())
    }

    /// Punches holes for all pages that are dead, as long as `goes_on`. A file that cannot have
    /// holes keeps its space.
    pub(crate) fn punch(&self, goes_on: impl Fn() -> bool) {
        let punch = |units: &Range<u32>| {
            let (start, end) = (bytes(units.start), bytes(units.end));
            let punch = || self.file.file.punch(start, end - start);
            let _ = catch_unwind(AssertUnwindSafe(punch));
        };
        while goes_on() && self.file.punching.one(&self.extents, punch) {}
    }
}

fn bytes(units: u32) -> u64 {
    u64::from(units) * wide(UNIT)
}
