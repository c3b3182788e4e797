//! The hard limit set anew, beside everything else.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use crate::common::{alloc_up_to, at_every_size, check, effort, free_all, still_host};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zs_mm::{Arena, ArenaOptions, Error, InvalidArena, MAX_ARENA_BYTES, PageSize};
use zs_os::testing::{Call, Fault, HeapBacking, StrictBacking};
use zs_os::{AnonBacking, HOST};

/// A limit of two blocks, in address space for eight.
fn options(page: PageSize) -> ArenaOptions {
    let options = crate::common::blocks(page, 2);
    ArenaOptions {
        reserve: Some(options.limit * 4),
        ..options
    }
}

/// The arena is whole, and holds no more than it may; its peak may be from before.
fn check_lowered(arena: &Arena<impl zs_mm::Backing>) {
    arena.validate(0).expect("a valid arena");
    let stats = arena.stats();
    assert!(stats.held <= stats.limit, "{stats:?}");
}

#[test]
fn a_limit_grows_and_shrinks_and_each_is_kept() {
    at_every_size(|page, granule| {
        let options = options(page);
        let arena =
            crate::common::arena(StrictBacking::with_granule(granule), still_host(), options);
        assert_eq!(arena.capacity(), options.limit * 4);
        let mut frames = alloc_up_to(&arena, usize::MAX);
        let at_first = frames.len();
        check(&arena, 0);
        arena.set_limit(options.limit * 3).expect("it is reserved");
        assert_eq!(
            (arena.limit(), arena.stats().limit),
            (options.limit * 3, options.limit * 3)
        );
        frames.extend(alloc_up_to(&arena, usize::MAX));
        let room = arena.limit() - arena.stats().held;
        let unit = granule.max(page.bytes()) as u64;
        assert!(
            room < unit + 2 * granule as u64,
            "all of it can be had: {room}"
        );
        check(&arena, 0);

        // What is cached goes, what is in use stays.
        let kept = frames.split_off(at_first / 2);
        free_all(&arena, frames);
        let held = arena.stats().held;
        assert_eq!(arena.stats().cached, (at_first / 2 * page.bytes()) as u64);
        let asked = held - (at_first / 4 * page.bytes()) as u64;
        arena.set_limit(asked).expect("so much is cached");
        check_lowered(&arena);
        let refused = arena.set_limit(options.limit);
        let in_use = arena.stats().held;
        assert_eq!(
            refused,
            Err(Error::LimitBelowHeld {
                held: in_use,
                asked: options.limit
            })
        );
        assert_eq!(arena.limit(), asked, "a refusal changes nothing");
        assert_eq!(arena.trim(), 0, "all that could go has gone");
        free_all(&arena, kept);
        arena.set_limit(options.limit).expect("nothing is in use");
        check_lowered(&arena);
        let again = alloc_up_to(&arena, usize::MAX);
        assert!(
            again.len() <= at_first,
            "descriptors of the upper blocks stay"
        );
        free_all(&arena, again);
        check_lowered(&arena);
    });
}

#[test]
fn limits_out_of_bounds_are_refused() {
    let options = options(PageSize::K4);
    let arena = crate::common::arena(HeapBacking::new(4096), still_host(), options);
    let before = arena.stats();
    for (limit, text) in [
        (
            0,
            "invalid arena options: a limit of 0 bytes is below one pageblock (2097152 bytes)",
        ),
        (
            (2 << 20) - 1,
            "invalid arena options: a limit of 2097151 bytes is below one pageblock (2097152 bytes)",
        ),
        (
            (16 << 20) + 1,
            "invalid arena options: a limit of 16777217 bytes is above the 16777216 bytes that are reserved",
        ),
        (
            u64::MAX,
            "invalid arena options: a limit of 18446744073709551615 bytes is above the largest arena \
             (1099511627776 bytes)",
        ),
    ] {
        let error = arena.set_limit(limit).expect_err("out of bounds");
        assert_eq!(error.to_string(), text);
        assert_eq!(arena.stats(), before);
    }
    let reserve = |reserve| {
        let options = ArenaOptions {
            reserve: Some(reserve),
            ..options
        };
        Arena::new(HeapBacking::new(4096), still_host(), options).map(|_| ())
    };
    assert_eq!(
        reserve(options.limit - 1),
        Err(Error::Invalid(InvalidArena::LimitAboveReserve {
            limit: options.limit,
            reserve: options.limit - 1
        }))
    );
    assert_eq!(
        reserve(MAX_ARENA_BYTES + 1),
        Err(Error::Invalid(InvalidArena::ReserveTooLarge(
            MAX_ARENA_BYTES + 1
        )))
    );
    assert_eq!(reserve(options.limit), Ok(()));
}

/// Memory that the system does not take back is held, and so keeps the limit up.
#[test]
fn what_cannot_be_given_back_counts() {
    let options = options(PageSize::K4);
    let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
    let frames = alloc_up_to(&arena, usize::MAX);
    free_all(&arena, frames);
    let control = arena.backing().control();
    let held = arena.stats().held;
    control.set(Call::Decommit, Fault::From(1));
    let asked = 2 << 20;
    assert_eq!(
        arena.set_limit(asked),
        Err(Error::LimitBelowHeld { held, asked })
    );
    control.clear();
    arena.set_limit(asked).expect("now it is taken back");
    check_lowered(&arena);
}

/// Threads that allocate and free, and two that set the limit: no more is ever held than the limit
/// that was set last allows, and in the end all of it can be had.
#[test]
fn limits_are_set_while_others_allocate() {
    let options = options(PageSize::K4);
    let arena = Arena::new(AnonBacking::new(), &HOST, options).expect("an arena");
    let zero = || AtomicU64::new(0);
    let (set, refused, full, stop) = (zero(), zero(), zero(), AtomicBool::new(false));
    let met = |counter: &AtomicU64| counter.load(Ordering::Relaxed) > 0;
    let user = || {
        while !stop.load(Ordering::Relaxed) {
            let frames = alloc_up_to(&arena, 1500);
            full.fetch_add(u64::from(frames.len() < 1500), Ordering::Relaxed);
            free_all(&arena, frames);
        }
    };
    let setter = |round: u64| {
        let limit = options.limit * (1 + round % 4);
        let counter = match arena.set_limit(limit) {
            Ok(()) => &set,
            Err(Error::LimitBelowHeld { held, asked }) => {
                assert!(asked == limit && held <= options.limit * 4);
                &refused
            }
            Err(error) => unreachable!("{error}"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let stats = arena.stats();
        assert!(stats.held <= stats.limit, "{stats:?}");
        std::thread::yield_now();
    };
    std::thread::scope(|scope| {
        let users = [scope.spawn(user), scope.spawn(user)];
        let setters = [0, 1].map(|first| {
            scope.spawn({
                let (set, refused, full, setter, met) = (&set, &refused, &full, &setter, &met);
                move || {
                    let least = effort(3000, 300) as u64;
                    // Until each outcome was there; far beyond that, the test fails below.
                    (first..1_000_000)
                        .take_while(|&round| {
                            round < least || !(met(set) && met(refused) && met(full))
                        })
                        .for_each(setter);
                }
            })
        });
        let outcomes = setters.map(|setter| setter.join());
        stop.store(true, Ordering::Relaxed);
        let users = users.map(|user| user.join());
        assert!(outcomes.iter().chain(&users).all(Result::is_ok), "no panic");
    });
    assert!(
        met(&set) && met(&refused) && met(&full),
        "{set:?} set, {refused:?} refused, {full:?} met the limit"
    );
    arena.set_limit(options.limit).expect("nothing is in use");
    check_lowered(&arena);
    let frames = alloc_up_to(&arena, usize::MAX);
    let stats = arena.stats();
    assert!(stats.limit - stats.held < 3 * 4096, "{stats:?}");
    free_all(&arena, frames);
}
