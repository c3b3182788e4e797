//! Where the memory comes from: a backing over a static array.
//!
//! Data model: `MEMORY -> granules`, with a byte of `STATES` each: free, or reserved for one kind
//! of region and perhaps committed.
//!
//! What is not committed is zero: that is all that a table needs. Nothing is mapped here, so what
//! is reserved takes memory like what is committed; a kernel maps pages in `commit` and unmaps them
//! in `decommit`.

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use zs_mm::{Advice, Backing, BackingError, RegionKind};

const GRANULE: usize = 4096;
const GRANULES: usize = 3072;
const BYTES: usize = GRANULES * GRANULE;

/// Aligned for the payload, which the arena wants at a multiple of a pageblock.
#[repr(align(0x20_0000))]
struct Memory([[AtomicU64; GRANULE / 8]; GRANULES]);

/// Atomic, since a table may be read while a part of it is given back, and so zeroed.
static MEMORY: Memory = Memory([const { [const { AtomicU64::new(0) }; GRANULE / 8] }; GRANULES]);

/// `FREE`, or what `reserved_as` says, with or without `COMMITTED`.
static STATES: [AtomicU8; GRANULES] = [const { AtomicU8::new(FREE) }; GRANULES];
const FREE: u8 = 0;
const COMMITTED: u8 = 4;

fn reserved_as(kind: RegionKind) -> u8 {
    1 + kind as u8
}

static REFUSING: AtomicBool = AtomicBool::new(false);

/// The memory of this program. There is one, however many values name it.
#[derive(Debug)]
pub(crate) struct StaticMemory;

/// Does something while every call that may fail does.
pub(crate) fn refusing<T>(something: impl FnOnce() -> T) -> T {
    // Relaxed: nothing else is said with it.
    REFUSING.store(true, Ordering::Relaxed);
    let outcome = something();
    REFUSING.store(false, Ordering::Relaxed);
    outcome
}

/// Bytes that are reserved, committed or not.
pub(crate) fn reserved() -> u64 {
    bytes_of(|state| state != FREE)
}

/// Bytes that are committed, while nobody else is at work.
///
/// # Panics
/// If somebody wrote to memory that was not committed, or not any more.
pub(crate) fn committed() -> u64 {
    for (state, words) in STATES.iter().zip(&MEMORY.0) {
        let zero = |word: &AtomicU64| word.load(Ordering::Relaxed) == 0;
        assert!(
            state.load(Ordering::Relaxed) & COMMITTED != 0 || words.iter().all(zero),
            "written to what is not committed"
        );
    }
    bytes_of(|state| state & COMMITTED != 0)
}

fn bytes_of(which: impl Fn(u8) -> bool) -> u64 {
    let states = STATES.iter().map(|state| state.load(Ordering::Relaxed));
    (states.filter(|&state| which(state)).count() * GRANULE) as u64
}

fn unless_refusing() -> Result<(), BackingError> {
    if REFUSING.load(Ordering::Relaxed) {
        return Err(BackingError);
    }
    Ok(())
}

/// The granules of a range.
///
/// # Panics
/// If it is none of whole granules of this memory.
fn granules(place: NonNull<u8>, len: usize) -> Range<usize> {
    let start = NonNull::from(&MEMORY.0).addr().get();
    let offset = place.addr().get().wrapping_sub(start);
    let whole = offset.is_multiple_of(GRANULE) && len.is_multiple_of(GRANULE);
    let inside = offset <= BYTES && len <= BYTES - offset;
    assert!(whole && inside, "no granules of this memory");
    offset / GRANULE..(offset + len) / GRANULE
}

/// Takes free granules, all of them or none.
fn claim(granules: Range<usize>, state: u8) -> bool {
    for granule in granules.clone() {
        // Acquire pairs with the Release in `free`: the zeros are there.
        let claimed =
            STATES[granule].compare_exchange(FREE, state, Ordering::Acquire, Ordering::Relaxed);
        if claimed.is_err() {
            free(granules.start..granule);
            return false;
        }
    }
    true
}

fn free(granules: Range<usize>) {
    for granule in granules {
        // Release pairs with the Acquire in `claim`.
        STATES[granule].store(FREE, Ordering::Release);
    }
}

/// Makes a granule what it was before it was committed.
fn clear(granule: usize, kind: RegionKind) {
    for word in &MEMORY.0[granule] {
        word.store(0, Ordering::Relaxed);
    }
    let before = STATES[granule].fetch_and(!COMMITTED, Ordering::Relaxed);
    assert_eq!(before & !COMMITTED, reserved_as(kind), "another's granule");
}

// SAFETY: 1. `claim` takes granules that are nobody's, and only `release` frees them; they are
// static.
// 2. and 3. All of it is readable and writable, and what is not committed is zero: static memory
// is from the start, `clear` sees to it later, and a commit changes no byte. 4. A call is refused
// before it does anything.
unsafe impl Backing for StaticMemory {
    fn granule(&self) -> usize {
        GRANULE
    }

    /// The first range that is free. Two at once may each meet a part that the other gives up
    /// again, and pass over a range that would have done.
    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        unless_refusing()?;
        let fits = len > 0 && len <= BYTES && len.is_multiple_of(GRANULE);
        if !fits || align > align_of::<Memory>() {
            return Err(BackingError);
        }
        let (count, step) = (len / GRANULE, align.div_ceil(GRANULE).max(1));
        let first = (0..=GRANULES - count)
            .step_by(step)
            .find(|&first| claim(first..first + count, reserved_as(kind)))
            .ok_or(BackingError)?;
        Ok(NonNull::from(&MEMORY.0[first..first + count]).cast())
    }

    unsafe fn release(&self, kind: RegionKind, place: NonNull<u8>, len: usize) {
        for granule in granules(place, len) {
            clear(granule, kind);
        }
        free(granules(place, len));
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        unless_refusing()?;
        for granule in granules(place, len) {
            let before = STATES[granule].fetch_or(COMMITTED, Ordering::Relaxed);
            assert_eq!(before & !COMMITTED, reserved_as(kind), "another's granule");
        }
        Ok(())
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        place: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        unless_refusing()?;
        for granule in granules(place, len) {
            clear(granule, kind);
        }
        Ok(())
    }

    unsafe fn advise(&self, _place: NonNull<u8>, _len: usize, _advice: Advice) {}
}
