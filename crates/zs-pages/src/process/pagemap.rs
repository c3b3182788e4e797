//! The pages of a process in memory or in swap, and their locations.

use super::proc_dir::ProcDir;
use super::scan_ioctl::{PageKind, Scanner};
use crate::lengths::to_usize;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// The entries that are read at a time.
const ENTRIES: usize = 4096;

/// One page's entry in `/proc/PID/pagemap` (`Documentation/admin-guide/mm/pagemap.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Entry {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const FILE_OR_SHARED: u64 = 1 << 61;
    const GUARD: u64 = 1 << 58;
    const EXCLUSIVE: u64 = 1 << 56;
    const LOCATION: u64 = (1 << 55) - 1;

    fn is(self, kind: PageKind) -> bool {
        let has = |bits| self.0 & bits != 0;
        match kind {
            PageKind::Anonymous => {
                has(Self::PRESENT | Self::SWAPPED) && !has(Self::FILE_OR_SHARED | Self::GUARD)
            }
            PageKind::SharedMemory => has(Self::PRESENT) && has(Self::FILE_OR_SHARED),
        }
    }

    pub(super) fn is_swapped(self) -> bool {
        self.0 & Self::SWAPPED != 0
    }

    /// Says whether no other process maps it.
    pub(super) fn is_exclusive(self) -> bool {
        self.0 & Self::EXCLUSIVE != 0
    }

    /// Returns its frame or its location in swap, or `None` if the kernel does not tell.
    pub(super) fn location(self) -> Option<u64> {
        let location = self.0 & Self::LOCATION;
        (location != 0).then_some(self.0 & (Self::LOCATION | Self::SWAPPED))
    }
}

/// The page map of a process.
#[derive(Debug)]
pub(super) struct Pagemap {
    file: File,
    page: u64,
    /// `None` if the kernel is too old.
    scanner: Option<Scanner>,
    buffer: Vec<u8>,
}

impl Pagemap {
    pub(super) fn open(process: &ProcDir, page: u64) -> io::Result<Self> {
        Ok(Self {
            file: process.file("pagemap")?,
            page,
            scanner: Some(Scanner::new()),
            buffer: vec![0; ENTRIES * size_of::<u64>()],
        })
    }

    /// Behaves as on an older kernel.
    #[cfg(test)]
    pub(super) fn without_scan(&mut self) {
        self.scanner = None;
    }

    /// Calls `found` with the number and the entry of each page of a kind in a mapping, in order.
    /// Without `PAGEMAP_SCAN`, pages that map the shared zero frame are among the anonymous ones,
    /// because entries do not tell.
    pub(super) fn pages(
        &mut self,
        kind: PageKind,
        addresses: Range<u64>,
        found: &mut dyn FnMut(u64, Entry),
    ) -> io::Result<()> {
        let mut runs = Vec::new();
        if let Some(scanner) = &mut self.scanner {
            let scanned = scanner.scan(&self.file, kind, addresses.clone(), &mut |run| {
                runs.push(run);
            });
            match scanned {
                Err(error) if is_unknown(&error) => self.scanner = None,
                scanned => scanned?,
            }
        }
        if self.scanner.is_none() {
            runs = vec![addresses];
        }
        for run in runs {
            self.entries(kind, run.start / self.page..run.end / self.page, found)?;
        }
        Ok(())
    }

    /// Calls `found` with the number and the entry of each page of a kind in `pages`, in order.
    pub(super) fn entries(
        &mut self,
        kind: PageKind,
        pages: Range<u64>,
        found: &mut dyn FnMut(u64, Entry),
    ) -> io::Result<()> {
        let size = size_of::<u64>() as u64;
        let mut next = pages.start;
        while next < pages.end {
            let want = (pages.end - next).min(ENTRIES as u64);
            let buffer = &mut self.buffer[..to_usize(want * size)];
            let got = self.file.read_at(buffer, next * size)?;
            let (entries, _) = buffer[..got].as_chunks();
            if entries.is_empty() {
                // The process has ended, or has no such addresses any more.
                return Ok(());
            }
            for (entry, page) in entries.iter().zip(next..) {
                let entry = Entry(u64::from_ne_bytes(*entry));
                if entry.is(kind) {
                    found(page, entry);
                }
            }
            next += entries.len() as u64;
        }
        Ok(())
    }
}

/// Says whether an error means that the kernel has no `PAGEMAP_SCAN`.
fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOTTY.raw_os_error())
}
