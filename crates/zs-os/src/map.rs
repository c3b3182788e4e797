//! The calls on mappings that the backings use.
//!
//! All unsafe functions here need the same: the range must belong to the caller. The contract of
//! [`zs_mm::Backing`] says so, and the backings pass it on.

use crate::page_size::os_page_size;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::os::fd::BorrowedFd;
use zs_mm::BackingError;

/// The number of tries of a call that fails with "try again", as the kernel does while it moves a
/// page.
const TRIES: usize = 64;

/// False once the kernel has refused `MADV_POPULATE_WRITE` (before Linux 5.14).
static POPULATE_KNOWN: AtomicBool = AtomicBool::new(true);

/// False once the kernel has refused vectors of ranges of this process (before Linux 6.14).
static VECTORS_KNOWN: AtomicBool = AtomicBool::new(true);

/// The ranges of one call: the most that a pageblock can have.
const VECTOR: usize = 256;

/// The calling process, in place of a process descriptor (`linux/pidfd.h`, Linux 6.14).
const PIDFD_SELF: libc::c_int = -10000;

/// Maps `len` bytes of private anonymous memory at a multiple of `align`, and commits none of it.
pub(crate) fn reserve(
    protection: ProtFlags,
    len: usize,
    align: usize,
) -> Result<NonNull<u8>, BackingError> {
    if len == 0 || !align.is_power_of_two() {
        return Err(BackingError);
    }
    let slack = if align > os_page_size() { align } else { 0 };
    let padded = len.checked_add(slack).ok_or(BackingError)?;
    // SAFETY: without MAP_FIXED and with a null hint, the kernel picks addresses that nobody uses.
    let mapping = unsafe {
        rustix::mm::mmap_anonymous(
            core::ptr::null_mut(),
            padded,
            protection,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    };
    let start =
        NonNull::new(mapping.map_err(|_| BackingError)?.cast::<u8>()).ok_or(BackingError)?;
    let head = start.as_ptr().align_offset(align);
    let tail = slack.saturating_sub(head);
    // SAFETY: `head < align`, which is at most `slack` (or 0), so this is inside the new mapping.
    let base = unsafe { start.add(head) };
    // SAFETY: as above: `head + len <= padded`.
    let end = unsafe { base.add(len) };
    // SAFETY: the bytes before `base` are of the new mapping, whose address nobody else has.
    unsafe { release(start, head) };
    // SAFETY: as are the bytes behind `end`: head + len + tail is the whole of it.
    unsafe { release(end, tail) };
    Ok(base)
}

/// Maps a file, from its start, over a range: readable and writable, and shared with other mappings
/// of the file.
///
/// # Safety
/// The range is page-aligned, mapped, the caller's, and its contents are not needed.
pub(crate) unsafe fn show_file(
    base: NonNull<u8>,
    len: usize,
    file: BorrowedFd<'_>,
) -> Result<(), BackingError> {
    // SAFETY: the range is the caller's alone, so that nothing of anybody's is replaced.
    let replaced = unsafe {
        rustix::mm::mmap(
            base.as_ptr().cast(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED,
            file,
            0,
        )
    };
    replaced.map(|_| ()).map_err(|_| BackingError)
}

/// Unmaps a range. Does nothing for an empty one.
///
/// # Safety
/// The range is mapped, the caller's, and nobody uses it any more.
pub(crate) unsafe fn release(base: NonNull<u8>, len: usize) {
    if len > 0 {
        // SAFETY: by contract. It fails only for bad arguments, or when cutting a mapping in two
        // takes one mapping too many: then the addresses stay taken, without harm.
        let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) };
    }
}

/// Advises a range, and repeats an interrupted call.
///
/// # Safety
/// The range is mapped and the caller's; advice that drops its contents may drop them.
pub(crate) unsafe fn advise(base: NonNull<u8>, len: usize, advice: Advice) -> Result<(), Errno> {
    let mut tries = 0;
    loop {
        // SAFETY: by contract.
        let outcome = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, advice) };
        tries += 1;
        match outcome {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => rustix::thread::sched_yield(),
            outcome => return outcome,
        }
    }
}

/// Keeps a new region out of core dumps, and from huge pages. These are hints, whose errors do not
/// matter: for example EINVAL from a kernel without transparent huge pages.
///
/// # Safety
/// The range is mapped and the caller's.
pub(crate) unsafe fn advise_region(base: NonNull<u8>, len: usize) {
    // SAFETY: by contract; the contents stay.
    let _ = unsafe { advise(base, len, Advice::LinuxDontDump) };
    // SAFETY: by contract; the contents stay.
    let _ = unsafe { advise(base, len, Advice::LinuxNoHugepage) };
}

/// Advises a pageblock: huge pages or small ones.
///
/// # Safety
/// The range is mapped and the caller's.
pub(crate) unsafe fn advise_block(base: NonNull<u8>, len: usize, wish: zs_mm::Advice) {
    let advice = match wish {
        zs_mm::Advice::Huge => Advice::LinuxHugepage,
        zs_mm::Advice::Small => Advice::LinuxNoHugepage,
    };
    // SAFETY: by contract; the contents stay.
    let _ = unsafe { advise(base, len, advice) };
}

/// Puts memory behind every page of a range, and changes no contents.
///
/// It uses `MADV_POPULATE_WRITE`, so that a lack of memory is an error. After a failure, part of
/// the range may have memory. It is not taken back, because another thread may have committed and
/// written to it. It does no harm: it reads as before, and the next commit or release of the range
/// includes it.
///
/// Before Linux 5.14 the kernel lacks this call, and each page is touched instead. Then a lack of
/// memory is no error: the system kills a process.
///
/// # Safety
/// The range is page-aligned, mapped readable and writable, and the caller's.
pub(crate) unsafe fn populate(base: NonNull<u8>, len: usize) -> Result<(), BackingError> {
    // Relaxed: a hint. A thread that misses the change asks the kernel once more.
    if POPULATE_KNOWN.load(Ordering::Relaxed) {
        // SAFETY: by contract; populating keeps the contents.
        match unsafe { advise(base, len, Advice::LinuxPopulateWrite) } {
            Ok(()) => return Ok(()),
            // The range is aligned and mapped, so the advice itself is what is invalid.
            Err(Errno::INVAL) => POPULATE_KNOWN.store(false, Ordering::Relaxed),
            Err(_) => return Err(BackingError),
        }
    }
    // SAFETY: by contract.
    unsafe { touch(base, len) };
    Ok(())
}

/// Writes to each page of a range without changing it.
///
/// # Safety
/// The contract of [`populate`].
unsafe fn touch(base: NonNull<u8>, len: usize) {
    for offset in (0..len).step_by(os_page_size()) {
        // SAFETY: `offset < len`.
        let page = unsafe { base.add(offset) }.cast::<AtomicU64>();
        // SAFETY: 1. A page start is aligned for the atomic, and readable and writable by
        // contract. 2. The only others who may use the page at the same time are threads that have
        // committed it as well; they use atomic cells.
        let word = unsafe { page.as_ref() };
        // Exchanging 0 for 0 writes only to pages that were never written. An OR with 0 might be
        // optimised to a load, which would map the zero page.
        let _ = word.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Gives the memory of an anonymous range back. It then reads as zeros.
///
/// # Safety
/// The range is page-aligned, mapped, the caller's, and its contents are not needed.
pub(crate) unsafe fn discard(base: NonNull<u8>, len: usize) -> Result<(), BackingError> {
    // SAFETY: by contract.
    unsafe { advise(base, len, Advice::LinuxDontNeed) }.map_err(|_| BackingError)
}

/// Gives the memory of anonymous ranges back, in order, until one fails. Returns the number of
/// ranges given back.
///
/// It uses `process_madvise` on this process where the kernel allows that (from Linux 6.14 on). A
/// call takes hundreds of ranges and flushes the translation buffers once for all of them, which
/// was measured to take a third of the time. On older kernels ranges go one by one.
///
/// # Safety
/// The contract of [`discard`], for each range.
pub(crate) unsafe fn discard_runs(runs: &[(NonNull<u8>, usize)]) -> usize {
    let mut done = 0;
    while let Some(&(base, len)) = runs.get(done) {
        // SAFETY: by contract.
        match unsafe { discard_vector(&runs[done..]) } {
            0 => {
                // SAFETY: by contract.
                if unsafe { discard(base, len) }.is_err() {
                    break;
                }
                done += 1;
            }
            whole => done += whole,
        }
    }
    done
}

/// Gives the first ranges back in one call. Returns their number, or 0 where the kernel does not
/// take vectors.
///
/// # Safety
/// The contract of [`discard_runs`].
unsafe fn discard_vector(runs: &[(NonNull<u8>, usize)]) -> usize {
    // Relaxed: a hint. A thread that misses the change asks the kernel once more.
    if runs.len() == 1 || !VECTORS_KNOWN.load(Ordering::Relaxed) {
        return 0;
    }
    let mut vector = [libc::iovec {
        iov_base: core::ptr::null_mut(),
        iov_len: 0,
    }; VECTOR];
    let len = runs.len().min(VECTOR);
    for (entry, &(base, len)) in vector.iter_mut().zip(runs) {
        entry.iov_base = base.as_ptr().cast();
        entry.iov_len = len;
    }
    // SAFETY: 1. `vector` has `len` entries. 2. Each is the caller's range, whose contents may go.
    let advised = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            PIDFD_SELF,
            vector.as_ptr(),
            len,
            libc::MADV_DONTNEED,
            0,
        )
    };
    let Ok(mut left) = usize::try_from(advised) else {
        let error = std::io::Error::last_os_error().raw_os_error();
        if !matches!(error, Some(libc::EAGAIN | libc::EINTR | libc::ENOMEM)) {
            VECTORS_KNOWN.store(false, Ordering::Relaxed);
        }
        return 0;
    };
    // A range that was given back in part does not count. The next call repeats it.
    runs.iter()
        .take_while(|(_, len)| {
            let whole = *len <= left;
            left = left.saturating_sub(*len);
            whole
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

    #[test]
    fn reserves_at_every_alignment() {
        for shift in 12..=22 {
            let (len, align) = (3 * os_page_size(), 1 << shift);
            let base = reserve(RW, len, align).expect("address space");
            assert_eq!(base.as_ptr().align_offset(align), 0, "alignment {align}");
            // SAFETY: the region is ours, and writable.
            unsafe { base.write_bytes(7, len) };
            // SAFETY: it is not used any more.
            unsafe { release(base, len) };
        }
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert!(reserve(RW, 0, 4096).is_err());
        assert!(reserve(RW, 4096, 3).is_err());
        assert!(reserve(RW, usize::MAX - 4096, 1 << 21).is_err());
    }

    fn resident_pages(base: NonNull<u8>, pages: usize) -> usize {
        let mut map = vec![0_u8; pages];
        let len = pages * os_page_size();
        // SAFETY: the range is mapped, and `map` has a byte for each page.
        let outcome = unsafe { libc::mincore(base.as_ptr().cast(), len, map.as_mut_ptr()) };
        assert_eq!(outcome, 0);
        map.iter().filter(|&&state| state & 1 != 0).count()
    }

    #[test]
    fn touching_commits_as_populating_does_and_keeps_the_contents() {
        let len = 8 * os_page_size();
        for way in [populate, |base, len| {
            // SAFETY: the contract is the same.
            unsafe { touch(base, len) };
            Ok(())
        }] {
            let base = reserve(RW, len, 1).expect("address space");
            // SAFETY: the region is ours.
            unsafe { advise_region(base, len) };
            assert_eq!(resident_pages(base, 8), 0);
            // SAFETY: the region is ours, and writable.
            unsafe { base.write(9) };
            // SAFETY: as above.
            unsafe { way(base, len) }.expect("memory");
            assert_eq!(resident_pages(base, 8), 8);
            // SAFETY: the region is readable.
            assert_eq!(unsafe { base.read() }, 9);
            // SAFETY: the contents are not needed.
            unsafe { discard(base, len) }.expect("discarded");
            assert_eq!(resident_pages(base, 8), 0);
            // SAFETY: the region is readable.
            assert_eq!(unsafe { base.read() }, 0);
            // SAFETY: it is not used any more.
            unsafe { release(base, len) };
        }
    }

    #[test]
    fn runs_go_by_vectors_and_one_by_one() {
        let page = os_page_size();
        let pages = 4 * VECTOR;
        let len = pages * page;
        for vectors in [true, false] {
            let base = reserve(RW, len, 1).expect("address space");
            // SAFETY: the region is ours.
            unsafe { advise_region(base, len) };
            // SAFETY: as above.
            unsafe { populate(base, len) }.expect("memory");
            // Every other page, more than one call takes.
            let run = |page_number: usize| {
                // SAFETY: within the region.
                (unsafe { base.add(page_number * page) }, page)
            };
            let runs: Vec<_> = (0..pages).step_by(2).map(run).collect();
            let known = VECTORS_KNOWN.swap(vectors, Ordering::Relaxed);
            // SAFETY: the contents are not needed.
            assert_eq!(unsafe { discard_runs(&runs) }, runs.len());
            assert_eq!(resident_pages(base, pages), pages / 2);
            VECTORS_KNOWN.store(known, Ordering::Relaxed);
            // SAFETY: nobody uses the region any more.
            unsafe { release(base, len) };
        }
    }
}
