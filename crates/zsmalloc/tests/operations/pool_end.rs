//! The end of a pool that others use: a compaction under way, a reader that never leaves.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::sync::Arc;
use std::thread;
use zs_mm::{ArenaRef, PageSize};
use zs_model::{Signal, TestArena, World, pattern};
use zsmalloc::{CompactBudget, CompactEnd, Error, Handle, HandlePool, Pool, PoolOptions};

fn arena(page: PageSize) -> TestArena {
    World::arena(page, 48 << 20, 4096).expect("an arena").0
}

/// A pool of objects of one class of which two of three are gone, and those that are left.
fn sparse<A: ArenaRef>(arena: A) -> (HandlePool<A>, Vec<(Handle, u64)>) {
    let pool = Pool::new(arena, PoolOptions::named("end")).expect("a pool");
    let len = pool.geometry().page_size().bytes() / 3;
    let insert = |n: u64| (pool.insert(&pattern(n, len)).expect("room"), n);
    let all: Vec<_> = (0..600).map(insert).collect();
    let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, n)| n % 3 != 0);
    gone.into_iter()
        .for_each(|(handle, _)| pool.free(handle).expect("live"));
    (pool, kept)
}

fn check<A: ArenaRef>(pool: &HandlePool<A>, kept: &[(Handle, u64)]) {
    let mut buffer = vec![0; pool.geometry().page_size().bytes()];
    for &(handle, n) in kept {
        let len = pool.read_into(handle, &mut buffer).expect("live");
        assert!(buffer[..len] == pattern(n, len), "object {n}");
    }
}

/// `destroy` takes the pool by value, which whoever shares it has only when the compaction is over.
#[test]
fn a_pool_is_not_destroyed_while_it_is_compacted() {
    for page in PageSize::ALL {
        let (pool, kept) = sparse(arena(page));
        let pool = Arc::new(pool);
        let (inside, leave) = (Signal::default(), Signal::default());
        let pool = thread::scope(|scope| {
            let shared = Arc::clone(&pool);
            let compaction = scope.spawn(|| {
                let pool = shared;
                pool.compact_while(CompactBudget::UNLIMITED, || {
                    inside.raise();
                    leave.wait();
                    true
                })
            });
            while !inside.is_raised() {
                assert!(!compaction.is_finished(), "it asks before it moves");
                thread::yield_now();
            }
            let unwrapped = Arc::try_unwrap(pool);
            // Before anything is asserted: a failure waits for the thread.
            leave.raise();
            let pool = unwrapped.expect_err("it is being compacted");
            let report = compaction.join().expect("no panic");
            assert!(report.end == CompactEnd::Done && report.objects_moved > 0);
            pool
        });
        let pool = Arc::try_unwrap(pool).expect("the compaction is over");
        check(&pool, &kept);
        let refused = pool.destroy().expect_err("it holds objects");
        assert_eq!(refused.report.objects(), kept.len() as u64);
        for (handle, _) in kept {
            refused.pool.free(handle).expect("live");
        }
        refused.pool.destroy().expect("empty");
    }
}

/// A guard that is forgotten pins its object for ever: nothing waits for it, and only it stays.
#[test]
fn a_reader_that_never_leaves_keeps_its_object_and_nothing_else() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let (pool, kept) = sparse(&arena);
        let place = |handle| pool.read(handle).expect("live").spans().first.as_ptr();
        // In the last zspage, which a compaction empties first.
        let &(pinned, _) = kept.last().expect("objects");
        let pinned_at = place(pinned);
        std::mem::forget(pool.read(pinned).expect("live"));
        let report = pool.compact(CompactBudget::UNLIMITED);
        assert_eq!(report.end, CompactEnd::Done);
        let moved = report.objects_moved as usize;
        assert!(
            report.objects_busy > 0 && moved > kept.len() / 2,
            "{report:?}"
        );
        // The others lie as densely as they can: only frames of the pinned object may be too many.
        assert!(pool.can_compact() <= 2, "{report:?} at {page}");
        let again = pool.compact(CompactBudget::UNLIMITED);
        assert_eq!((again.end, again.objects_moved), (CompactEnd::Done, 0));
        assert_eq!(place(pinned), pinned_at, "a pinned object moved");
        check(&pool, &kept);
        pool.validate().expect("valid");

        for &(handle, _) in &kept {
            pool.free(handle)
                .expect("a reader does not keep a free away");
        }
        assert_eq!(pool.read(pinned).err(), Some(Error::Stale));
        assert_eq!(pool.stats().objects, 1, "its reader would finish the free");
        let refused = pool.destroy().expect_err("it holds an object");
        drop(refused.pool);
        assert_eq!(arena.frames_in_use(), 0);
        arena.trim();
        arena.validate(0).expect("valid");
        assert_eq!(arena.stats().held, arena.stats().metadata);
    }
}
