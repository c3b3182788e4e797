//! `PAGEMAP_SCAN`: finds the pages of a process by kind, and skips holes (Linux 6.7;
//! `Documentation/admin-guide/mm/pagemap.rst`).

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;

/// A kind of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    /// Pages that were written: in memory or in swap, and neither of a file nor of shared memory.
    Anonymous,
    /// Pages of shared memory that the process has mapped.
    SharedMemory,
}

const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO_FRAME: u64 = 1 << 5;
/// Known since Linux 6.15.
const GUARD: u64 = 1 << 8;

/// The most regions of one call.
const REGIONS: usize = 512;

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Debug, Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// The argument of one call, and the buffer for its regions.
///
/// # Invariants
/// `arg.vec` and `arg.vec_len` are `regions`, which lives as long as this borrow.
struct Scan<'a> {
    arg: ScanArg,
    regions: &'a mut [Region],
}

// SAFETY: 1. `as_ptr` is `arg`, which has the layout that the opcode's kernel interface asks for
// (size and fields of `struct pm_scan_arg`). 2. The kernel writes to `arg` and to at most `vec_len`
// regions at `vec`, which this borrows mutably.
// 3. The output reads `arg` through the very pointer that `as_ptr` returned.
unsafe impl Ioctl for Scan<'_> {
    /// The address where the walk ended, and the number of regions.
    type Output = (u64, usize);

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<ScanArg>(b'f', 16)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.arg.vec = self.regions.as_mut_ptr().expose_provenance() as u64;
        self.arg.vec_len = self.regions.len() as u64;
        (&raw mut self.arg).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        arg: *mut c_void,
    ) -> rustix::io::Result<Self::Output> {
        let count = usize::try_from(out).map_err(|_| Errno::INVAL)?;
        // SAFETY: by this function's contract it is what `as_ptr` returned: a `ScanArg` that lives
        // until the call is over.
        let arg = unsafe { &*arg.cast::<ScanArg>() };
        Ok((arg.walk_end, count))
    }
}

/// Finds the pages of a process by kind in ranges of addresses.
#[derive(Debug)]
pub(super) struct Scanner {
    regions: Vec<Region>,
    /// [`GUARD`], unless the kernel does not know it.
    guard: u64,
}

/// The properties that a page must have.
struct Wanted {
    all_of: u64,
    any_of: u64,
    none_of: u64,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            regions: vec![Region::default(); REGIONS],
            guard: GUARD,
        }
    }

    /// Calls `found` with each range of pages of a kind within `addresses`, in order. Pages of the
    /// shared zero frame, and guard pages, are not anonymous pages.
    ///
    /// # Errors
    /// The system's error: `ENOTTY` before Linux 6.7.
    pub(super) fn scan(
        &mut self,
        pagemap: &File,
        kind: PageKind,
        addresses: Range<u64>,
        found: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        let mut start = addresses.start;
        while start < addresses.end {
            let wanted = match kind {
                PageKind::Anonymous => Wanted {
                    all_of: 0,
                    any_of: PRESENT | SWAPPED,
                    none_of: FILE | ZERO_FRAME | self.guard,
                },
                PageKind::SharedMemory => Wanted {
                    all_of: FILE | PRESENT,
                    any_of: PRESENT,
                    none_of: 0,
                },
            };
            let (walked, count) = match self.call(pagemap, &wanted, start..addresses.end) {
                Err(Errno::INVAL) if wanted.none_of & GUARD != 0 => {
                    self.guard = 0;
                    continue;
                }
                called => called?,
            };
            for region in &self.regions[..count] {
                found(region.start..region.end);
            }
            if walked <= start {
                return Err(io::Error::other("PAGEMAP_SCAN made no progress"));
            }
            start = walked;
        }
        Ok(())
    }

    /// Makes one call. Returns the address where the walk ended, and the number of regions.
    fn call(
        &mut self,
        pagemap: &File,
        wanted: &Wanted,
        addresses: Range<u64>,
    ) -> Result<(u64, usize), Errno> {
        let scan = Scan {
            arg: ScanArg {
                size: size_of::<ScanArg>() as u64,
                start: addresses.start,
                end: addresses.end,
                category_inverted: wanted.none_of,
                category_mask: wanted.none_of | wanted.all_of,
                category_anyof_mask: wanted.any_of,
                return_mask: PRESENT,
                ..ScanArg::default()
            },
            regions: &mut self.regions,
        };
        // SAFETY: the file is a pagemap, or answers ENOTTY: no other file knows an ioctl of this
        // type, number and size (all three are in the opcode).
        let (walked, count) = unsafe { ioctl(pagemap, scan) }?;
        Ok((walked, count.min(REGIONS)))
    }
}
