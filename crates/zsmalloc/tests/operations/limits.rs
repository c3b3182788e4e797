//! The limit: refused below a pageblock, never passed, and reached only when nothing is kept back.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use zs_mm::{BLOCK_BYTES, Error as ArenaError, InvalidArena, MAX_ARENA_BYTES, PageSize};
use zs_model::{TestArena, World, pattern, sound};
use zsmalloc::{CLASSES, ClassIndex, Error, Handle, HandlePool, Pool, PoolOptions};

fn pool(arena: &TestArena) -> HandlePool<&TestArena> {
    Pool::new(arena, PoolOptions::named("limited")).expect("a pool")
}

/// Inserts objects of `len` bytes until there is no memory.
fn fill(pool: &HandlePool<&TestArena>, len: usize) -> Vec<Handle> {
    let mut handles = Vec::new();
    loop {
        match pool.insert(&pattern(handles.len() as u64, len)) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                assert_eq!(error, Error::NoMemory);
                return handles;
            }
        }
    }
}

/// Nothing is kept back at the limit: no cached frame, and no room for one more.
fn assert_full(arena: &TestArena, slack: u64) {
    let stats = arena.stats();
    assert_eq!(stats.cached, 0, "{stats:?}");
    assert!(
        stats.held <= stats.limit && stats.held + slack > stats.limit,
        "{stats:?}"
    );
}

#[test]
fn a_limit_out_of_bounds_is_refused() {
    for page in PageSize::ALL {
        let below = BLOCK_BYTES as u64 - 1;
        let refused = World::arena(page, below, 4096).map(|_| ());
        let invalid = InvalidArena::LimitTooSmall(below);
        assert_eq!(refused, Err(ArenaError::Invalid(invalid)));
        let above = MAX_ARENA_BYTES + 1;
        let refused = World::arena(page, above, 4096).map(|_| ());
        let invalid = InvalidArena::LimitTooLarge(above);
        assert_eq!(refused, Err(ArenaError::Invalid(invalid)));
        World::arena(page, BLOCK_BYTES as u64, 4096).expect("one pageblock is enough");
    }
}

#[test]
fn the_limit_is_used_up_and_never_passed() {
    for page in PageSize::ALL {
        for granule in [4096, 65536] {
            for limit in [2 << 20, (2 << 20) + 300_000, 5 << 20] {
                let (arena, _) = World::arena(page, limit, granule).expect("an arena");
                let pools = [pool(&arena)];
                let handles = fill(&pools[0], page.bytes());
                assert_full(&arena, (page.bytes() + 3 * granule) as u64);
                for (seed, &handle) in handles.iter().enumerate() {
                    let guard = pools[0].read(handle).expect("live");
                    assert_eq!(guard.spans().first, pattern(seed as u64, page.bytes()));
                }
                // One out, one in, as often as one likes.
                let mut last = *handles.last().expect("some");
                for _ in 0..20 {
                    assert_eq!(
                        pools[0].replace(last, &vec![1; page.bytes()]),
                        Err(Error::NoMemory)
                    );
                    pools[0].free(last).expect("live");
                    last = pools[0]
                        .insert(&vec![2; page.bytes()])
                        .expect("one is free");
                }
                sound(&arena, &pools).expect("sound");
                assert!(arena.stats().peak <= limit);
            }
        }
    }
}

/// Frames in the cache of a CPU that frees are found by one that fills.
#[test]
fn other_cpus_caches_are_drained_before_there_is_no_memory() {
    let (arena, world) = World::arena(PageSize::K4, 2 << 20, 4096).expect("an arena");
    let pool = pool(&arena);
    world.host.set_cpu(1);
    let handles = fill(&pool, 4096);
    let most = handles.len();
    handles
        .into_iter()
        .for_each(|handle| pool.free(handle).expect("live"));
    assert!(arena.stats().cached > 0);
    world.host.set_cpu(2);
    assert_eq!(fill(&pool, 4096).len(), most);
    assert_full(&arena, 4096);
}

/// Keeps one frame back in each of many classes, then fills the arena; returns the objects.
fn fill_beside_spares(pool: &HandlePool<&TestArena>, most: usize) -> Vec<Handle> {
    let spares: Vec<_> = ClassIndex::all()
        .take(CLASSES - 1)
        .map(|class| {
            pool.allocate(pool.geometry().class(class).size as usize)
                .expect("room")
        })
        .collect();
    spares
        .into_iter()
        .for_each(|handle| pool.free(handle).expect("live"));
    assert!(pool.stats().frames > 100, "frames are kept back");
    let mut handles = Vec::new();
    while handles.len() < most {
        match pool.allocate(4096) {
            Ok(handle) => handles.push(handle),
            Err(_) => break,
        }
    }
    handles
}

#[test]
fn frames_that_classes_keep_back_are_given_up_before_there_is_no_memory() {
    let (arena, _) = World::arena(PageSize::K4, 2 << 20, 4096).expect("an arena");
    let pool = pool(&arena);
    let handles = fill_beside_spares(&pool, usize::MAX);
    assert_eq!(
        pool.stats().frames,
        handles.len() as u64,
        "no frame without an object"
    );
    assert_full(&arena, 4096);
}

/// The same for the words' own memory: a second page of words is needed when nothing but kept-back
/// frames is left.
#[test]
fn kept_back_frames_are_given_up_for_words_too() {
    let (arena, _) = World::arena(PageSize::K4, 2 << 20, 4096).expect("an arena");
    let pool = pool(&arena);
    let small: Vec<_> = (0..300).map(|_| pool.allocate(32).expect("room")).collect();
    let mut live = small.len();
    // Big ones up to the last word of the first page, leaving no more than the frames kept back.
    live += fill_beside_spares(&pool, 512 - live).len();
    assert_eq!(live, 512);
    let charges: Vec<_> = std::iter::from_fn(|| {
        let room = arena.stats().limit - arena.stats().held;
        (room + arena.stats().cached >= 4096)
            .then(|| arena.charge(4096).ok())
            .flatten()
    })
    .collect();
    assert!(pool.stats().frames > 250, "kept back: {:?}", pool.stats());
    let outcome = pool.allocate(32);
    charges
        .into_iter()
        .for_each(|charge| arena.uncharge(charge));
    outcome.expect("the frames kept back have room for a page of words");
}
