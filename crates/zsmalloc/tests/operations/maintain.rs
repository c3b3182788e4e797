//! What a maintenance promises: its budget, its end, and what it leaves.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::sync::atomic::{AtomicU32, Ordering};
use zs_mm::PageSize;
use zs_model::{Numbers, TestArena, World, pattern};
use zsmalloc::{Handle, HandlePool, MaintainBudget, MaintainEnd, Pool, PoolOptions};

type Objects = Vec<(Handle, Vec<u8>)>;

/// A pool of which most was freed at random, and what is left in it.
fn at_every_size(test: impl Fn(&HandlePool<&TestArena>, u64)) {
    for page in PageSize::ALL {
        let (arena, world) = World::arena(page, 256 << 20, 8192).expect("an arena");
        world.host.set_cpu(0);
        let pool = Pool::new(&arena, PoolOptions::named("maintain")).expect("a pool");
        let objects = sparse(&pool);
        test(&pool, page.bytes() as u64);
        let mut buffer = vec![0; page.bytes()];
        for (handle, bytes) in &objects {
            assert_eq!(pool.read_into(*handle, &mut buffer), Ok(bytes.len()));
            assert!(buffer[..bytes.len()] == **bytes);
        }
        pool.validate().expect("valid");
    }
}

fn sparse(pool: &HandlePool<&TestArena>) -> Objects {
    let mut numbers = Numbers::new(31);
    let page = pool.geometry().page_size().bytes();
    let mut objects: Objects = (0..3000)
        .map(|n| {
            let bytes = pattern(n, 1 + numbers.below(page));
            (pool.insert(&bytes).expect("room"), bytes)
        })
        .collect();
    objects.retain(|(handle, _)| {
        let kept = numbers.below(100) >= 60;
        if !kept {
            pool.free(*handle).expect("live");
        }
        kept
    });
    objects
}

#[test]
fn a_budget_is_passed_by_less_than_a_frame() {
    at_every_size(|pool, frame| {
        for budget in [1, frame - 1, frame, 5 * frame + 7, 40 * frame] {
            let report = pool.maintain(MaintainBudget::bytes(budget));
            assert!(report.bytes_moved > 0, "{report:?}");
            assert!(report.bytes_moved < budget + frame, "{budget}: {report:?}");
        }
    });
}

#[test]
fn many_small_budgets_do_what_one_large_does() {
    at_every_size(|pool, frame| {
        let before = pool.stats();
        let calls = (0..100_000)
            .find(|_| pool.maintain(MaintainBudget::bytes(8 * frame)).end == MaintainEnd::Done);
        assert!(calls.is_some_and(|calls| calls > 1), "{calls:?}");
        assert!(pool.stats().frames * 10 < before.frames * 8, "{before:?}");
        let more = pool.maintain(MaintainBudget::UNLIMITED);
        assert_eq!((more.end, more.objects_moved), (MaintainEnd::Done, 0));
    });
}

#[test]
fn a_budget_of_zero_gives_back_what_is_free() {
    at_every_size(|pool, _| {
        let report = pool.maintain(MaintainBudget::bytes(0));
        assert_eq!((report.end, report.bytes_moved), (MaintainEnd::Budget, 0));
        assert_eq!(pool.trim(), 0, "nothing left to trim");
    });
}

#[test]
fn it_ends_when_its_caller_says_so() {
    at_every_size(|pool, frame| {
        let asked = AtomicU32::new(0);
        let go_on = || asked.fetch_add(1, Ordering::Relaxed) < 2;
        let report = pool.maintain_with(&[pool], MaintainBudget::UNLIMITED, &go_on);
        assert_eq!(report.end, MaintainEnd::Stopped);
        // At most 32 moves between two questions.
        assert!(report.bytes_moved <= 2 * 32 * frame, "{report:?}");
    });
}
