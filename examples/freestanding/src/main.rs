//! The allocator in a program without standard library, heap or operating system: objects are
//! stored in a static array, half of them are freed, the rest moved together, and the memory given
//! back.
//!
//! | module | responsibility |
//! |---|---|
//! | `memory` | a backing over a static array: what to write for a system of one's own |
//! | `linux`, `mem` | start, output, end, and what the compiler calls: what such a system has already |
//!
//! The stack holds the arena, the pool (which are moved as they are made) and the handles: 144 KiB
//! were enough on x86_64.

#![no_std]
#![no_main]

mod linux;
mod mem;
mod memory;

use memory::StaticMemory;
use zs_mm::ArenaOptions;
use zs_sync::SpinHost;
use zsmalloc::{CompactBudget, CompactEnd, CompactReport, Error, Handle, HandlePool, PoolOptions};

type Arena = zs_mm::Arena<StaticMemory>;
type Pool<'a> = HandlePool<&'a Arena>;
/// The objects by number; `None` once freed.
type Handles = [Option<Handle>; OBJECTS];
/// Or the check that failed: the exit status, and what does not hold.
type Checked<T = ()> = Result<T, (u8, &'static str)>;

const OBJECTS: usize = 4000;
const PAGE: usize = 4096;
const LIMIT: u64 = 8 << 20;

fn require(status: u8, what: &'static str, holds: bool) -> Checked {
    if holds { Ok(()) } else { Err((status, what)) }
}

/// Returns the exit status.
fn main() -> u8 {
    match run() {
        Ok(CompactReport {
            objects_moved: moved,
            frames_freed: freed,
            ..
        }) => {
            linux::print(format_args!(
                "{OBJECTS} objects stored, half of them freed, {moved} moved to empty {freed} frames\n\
                 freestanding: passed\n"
            ));
            0
        }
        Err((status, what)) => {
            linux::print(format_args!("freestanding: does not hold: {what}\n"));
            status
        }
    }
}

fn run() -> Checked<CompactReport> {
    let arena = Arena::new(StaticMemory, &SpinHost, ArenaOptions::new(LIMIT))
        .map_err(|_| (1, "an arena is made"))?;
    let options = PoolOptions {
        max_objects: Some(OBJECTS as u32),
        ..PoolOptions::named("static")
    };
    let reserved = memory::reserved();
    let refused = memory::refusing(|| Pool::new(&arena, options).is_err());
    let undone = refused && memory::reserved() == reserved;
    require(2, "a pool without memory is not made", undone)?;

    let pool = Pool::new(&arena, options).map_err(|_| (3, "a pool is made"))?;
    let report = use_pool(&pool)?;
    let destroyed = pool.destroy().is_ok();
    require(4, "an empty pool can be destroyed", destroyed)?;
    arena.trim();
    let own = arena.stats().metadata - size_of::<Arena>() as u64;
    let left = (memory::reserved(), memory::committed());
    require(5, "a pool leaves nothing behind", left == (reserved, own))?;
    drop(arena);
    let left = (memory::reserved(), memory::committed());
    require(6, "an arena leaves nothing behind", left == (0, 0))?;
    Ok(report)
}

/// Leaves the pool without objects.
fn use_pool(pool: &Pool<'_>) -> Checked<CompactReport> {
    let mut handles = [None; OBJECTS];
    insert_refused(pool)?;
    for (number, handle) in handles.iter_mut().enumerate() {
        let stored = pool.insert(bytes_of(number, &mut [0; PAGE]));
        *handle = Some(stored.map_err(|_| (7, "an object is stored"))?);
    }
    verify(pool, &handles)?;

    let mut random = Xorshift::new(0);
    free_some(pool, &mut handles, || random.next() >> 63 == 0)?;
    verify(pool, &handles)?;
    let report = compact(pool)?;
    verify(pool, &handles)?;
    trim(pool)?;
    verify(pool, &handles)?;
    // Nothing is cached now: a new object needs new memory.
    insert_refused(pool)?;
    verify(pool, &handles)?;

    free_some(pool, &mut handles, || true)?;
    let none = pool.stats().objects == 0;
    require(8, "no object is left", none)?;
    let kept = memory::refusing(|| pool.trim()) == 0;
    require(9, "what nobody takes back stays", kept)?;
    trim(pool)?;
    verify(pool, &handles)?;
    Ok(report)
}

fn insert_refused(pool: &Pool<'_>) -> Checked {
    let (stats, committed) = (pool.stats(), memory::committed());
    let answer = memory::refusing(|| pool.insert(&[1; PAGE]));
    let refused = answer == Err(Error::NoMemory);
    require(10, "without memory nothing is stored", refused)?;
    let same = pool.stats() == stats && memory::committed() == committed;
    require(11, "a failed insert changes nothing", same)
}

/// Frees the objects for which `choose` says true, asked in order.
fn free_some(pool: &Pool<'_>, handles: &mut Handles, mut choose: impl FnMut() -> bool) -> Checked {
    for handle in handles {
        if let Some(handle) = handle.take_if(|_| choose()) {
            let freed = pool.free(handle) == Ok(());
            require(12, "an object is freed", freed)?;
            let stale = pool.free(handle) == Err(Error::Stale);
            require(13, "a second free is refused", stale)?;
        }
    }
    Ok(())
}

fn compact(pool: &Pool<'_>) -> Checked<CompactReport> {
    let before = pool.stats();
    for budget in [CompactBudget::objects(0), CompactBudget::frames(0)] {
        let end = pool.compact(budget).end;
        let nothing = end == CompactEnd::Budget && pool.stats() == before;
        require(14, "without a budget nothing is moved", nothing)?;
    }
    let report = pool.compact(CompactBudget::UNLIMITED);
    let moved = report.end == CompactEnd::Done && report.objects_moved > 0;
    require(15, "objects are moved", moved)?;
    let fewer = before.frames.saturating_sub(pool.stats().frames);
    let freed = fewer > 0 && report.frames_freed == fewer + report.frames_attached;
    require(16, "frames are freed, as many as it says", freed)?;
    Ok(report)
}

fn trim(pool: &Pool<'_>) -> Checked {
    let before = memory::committed();
    let given_back = pool.trim();
    let exact = given_back > 0 && memory::committed() + given_back == before;
    require(17, "memory goes back, as much as it says", exact)
}

/// Reads every object that lives, and has everything counted.
fn verify(pool: &Pool<'_>, handles: &Handles) -> Checked {
    for (number, handle) in handles.iter().enumerate() {
        let Some(handle) = *handle else { continue };
        let object = pool.read(handle).map_err(|_| (18, "a handle is good"))?;
        let (spans, mut buffer) = (object.spans(), [0; PAGE]);
        let expected = bytes_of(number, &mut buffer).split_at_checked(spans.first.len());
        let same = expected == Some((spans.first, spans.second));
        require(19, "an object's bytes are what was stored", same)?;
    }
    let (arena, metadata) = (pool.arena(), pool.metadata());
    let valid = pool.validate().is_ok() && arena.validate(metadata.total()).is_ok();
    require(20, "the allocator's account adds up", valid)?;
    let stats = arena.stats();
    let owned = stats.in_use == pool.stats().frame_bytes;
    require(21, "no frame is lost", owned)?;
    // Beside memory, the two structures themselves are counted.
    let structures = size_of::<Arena>() as u64 + metadata.structure;
    let true_count = stats.held == memory::committed() + structures;
    require(22, "what is held is what is committed", true_count)
}

/// The bytes, 1 to a page of them, of the object with this number.
fn bytes_of(number: usize, buffer: &mut [u8; PAGE]) -> &[u8] {
    let mut random = Xorshift::new(number as u64);
    let most = PAGE >> (number % 6);
    let len = 1 + random.next() as usize % most;
    buffer[..len].fill_with(|| random.next() as u8);
    &buffer[..len]
}

/// Random-looking numbers: Marsaglia's xorshift of 64 bits.
struct Xorshift(u64);

impl Xorshift {
    fn new(seed: u64) -> Self {
        // The factor spreads the seeds; 0 would stay 0.
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
