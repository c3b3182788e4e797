//! Free memory goes back by itself, in its time.

#![cfg(not(zs_loom))]

use crate::common::{
    alloc_up_to, at_every_size, check, check_stamp, free_all, held_by, still_host,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zs_mm::{ArenaOptions, Frame, PageSize};
use zs_os::testing::{HeapBacking, StrictBacking};
use zs_os::{AnonBacking, DecayThread, HOST};
use zs_sync::SpinHost;

const SECOND: u64 = 1_000_000_000;

fn check_kept(arena: &zs_mm::Arena<impl zs_mm::Backing>, kept: &[Frame]) {
    for frame in kept {
        check_stamp(arena, frame, u64::from(frame.id().0));
    }
}

#[test]
fn goes_back_after_one_interval_and_before_two() {
    at_every_size(|page, granule| {
        for freed_at in [0, SECOND / 4, SECOND * 9 / 10] {
            let host = still_host();
            let backing = HeapBacking::new(granule);
            let arena = crate::common::arena(backing, host, crate::common::blocks(page, 4));
            let mut frames = alloc_up_to(&arena, arena.options().limit as usize / page.bytes() / 2);
            let kept: Vec<_> = frames.drain(..10).collect();
            host.set_now_ns(freed_at);
            free_all(&arena, frames);
            check(&arena, 0); // Also puts cached frames into their zones.
            let held = arena.stats().held;
            let mut now = freed_at;
            while arena.stats().cached > 0 && now < freed_at + 4 * SECOND {
                now += SECOND / 10;
                host.set_now_ns(now);
                let given = arena.decay();
                let age = now - freed_at;
                assert!(given == 0 || age >= SECOND, "given back at age {age}");
                if age < SECOND {
                    assert_eq!(arena.stats().held, held);
                }
                if age >= 2 * SECOND {
                    break;
                }
            }
            let stats = arena.stats();
            let in_use = held_by(&arena, kept.iter().map(Frame::id));
            assert_eq!(
                stats.held,
                stats.metadata + in_use,
                "all but what is in use"
            );
            check_kept(&arena, &kept);
            free_all(&arena, kept);
            check(&arena, 0);
        }
    });
}

#[test]
fn what_is_needed_again_and_again_stays() {
    let host = still_host();
    let options = crate::common::blocks(PageSize::K4, 4);
    let arena = crate::common::arena(StrictBacking::new(), host, options);
    let first = alloc_up_to(&arena, 1000);
    free_all(&arena, first);
    check(&arena, 0);
    // A working set of 600 of the 1000 frames, in every interval.
    for _ in 0..20 {
        let frames = alloc_up_to(&arena, 600);
        host.advance_ns(SECOND / 2);
        arena.decay();
        free_all(&arena, frames);
        check(&arena, 0);
        host.advance_ns(SECOND / 2);
        arena.decay();
        let frames = arena.stats().cached / 4096;
        assert!(frames >= 600, "{frames} are left");
    }
    let frames = arena.stats().cached / 4096;
    assert!(
        frames < 700,
        "{frames} are left of the 400 that nobody needs"
    );
}

#[test]
fn allocating_and_freeing_drives_it() {
    let host = still_host();
    let options = crate::common::blocks(PageSize::K4, 4);
    let arena = crate::common::arena(StrictBacking::new(), host, options);
    let frames = alloc_up_to(&arena, 1500);
    free_all(&arena, frames);
    // Each passage through the zone gives a run back, so that no caller pays for all of it.
    for _ in 0..8 {
        host.advance_ns(SECOND);
        let frames = alloc_up_to(&arena, 100);
        free_all(&arena, frames);
    }
    let cached = arena.stats().cached / 4096;
    assert!(cached < 300, "{cached} are cached still");
    check(&arena, 0);
}

#[test]
fn a_host_without_a_clock_never_decays() {
    static SPIN: SpinHost = SpinHost;
    let options = crate::common::blocks(PageSize::K4, 4);
    let arena = crate::common::arena(StrictBacking::new(), &SPIN, options);
    let frames = alloc_up_to(&arena, 1000);
    free_all(&arena, frames);
    let held = arena.stats().held;
    for _ in 0..100 {
        assert_eq!(arena.decay(), 0);
    }
    assert_eq!(arena.stats().held, held);
    assert!(arena.trim() >= 1000 * 4096);
}

#[test]
fn a_decay_thread_returns_the_memory_of_an_idle_arena() {
    let options = ArenaOptions {
        decay_ns: 10_000_000,
        ..ArenaOptions::new(16 << 20)
    };
    let arena = Arc::new(crate::common::arena(AnonBacking::new(), &HOST, options));
    let thread = DecayThread::spawn(Arc::clone(&arena)).expect("a thread");
    let mut frames = alloc_up_to(&arena, 3000);
    let kept: Vec<_> = frames.drain(..100).collect();
    free_all(&arena, frames);
    // What CPU caches keep does not decay: 32 frames for each of 8.
    let most = arena.stats().metadata + (100 + 8 * 32) * 4096;
    let deadline = Instant::now() + Duration::from_secs(60);
    while arena.stats().held > most {
        assert!(Instant::now() < deadline, "{:?}", arena.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    check_kept(&arena, &kept);
    drop(thread);
    free_all(&arena, kept);
    check(&arena, 0);
}
