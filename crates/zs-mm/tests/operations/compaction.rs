//! Compaction of a zone: what it frees, what it leaves, and what may happen meanwhile.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use crate::common::objects::{Objects, blocks_without, free_some};
use crate::common::{Random, at_every_size, check, effort, still_host};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zs_mm::{
    Arena, ArenaOptions, Backing, CompactEnd, CompactOptions, CompactReport, Error, MigrateMode,
    MigrateReason, Movable, PageSize, ZoneId, ZoneSpecs,
};
use zs_os::testing::{Call, Fault, StrictBacking};
use zs_os::{AnonBacking, HOST};

const ZONE: ZoneId = ZoneId(0);

fn compact(
    arena: &Arena<impl Backing>,
    owners: &[&dyn Movable],
    options: CompactOptions<'_>,
) -> CompactReport {
    arena.compact_zone(ZONE, owners, options).expect("online")
}

/// Three quarters go at random; then nearly all blocks that could be free are, with memory or
/// without, and what is held is hardly more than what is in use.
#[test]
fn blocks_become_free() {
    at_every_size(|page, granule| {
        for trims_first in [false, true] {
            let arena = crate::common::arena(
                StrictBacking::with_granule(granule),
                still_host(),
                crate::common::blocks(page, 16),
            );
            let in_block = page.frames_per_block();
            let objects = Objects::full(&arena, 15 * in_block);
            assert_eq!(arena.fragmentation(ZONE), Ok(0));
            free_some(&objects, 75, &mut Random(3));
            if trims_first {
                arena.trim();
            }
            assert!(arena.fragmentation(ZONE).expect("a zone") > 90);
            let count = objects.check();
            let report = compact(&arena, &[&objects], CompactOptions::new(MigrateMode::Sync));
            assert!(report.met() && report.blocks_freed > 8, "{report:?}");
            assert_eq!(
                arena.moved_because(MigrateReason::Compaction),
                report.frames_moved
            );
            assert_eq!(objects.check(), count);
            let free = blocks_without(&objects, 16);
            let possible = 16 - count.div_ceil(in_block);
            assert!(free + 1 >= possible, "{free} of {possible}: {report:?}");
            assert!(arena.fragmentation(ZONE).expect("a zone") < 20);
            check(&arena, 0);
            arena.trim();
            let stats = arena.stats();
            let most = (count + 2 * in_block) * page.bytes();
            assert!(stats.held - stats.metadata <= most as u64, "{stats:?}");
        }
    });
}

/// What cannot be moved costs its block, for a pass or two; the others are emptied.
#[test]
fn one_object_that_stays_does_not_end_the_pass() {
    let page = PageSize::K16;
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        crate::common::blocks(page, 12),
    );
    let objects = Objects::full(&arena, 11 * page.frames_per_block());
    free_some(&objects, 80, &mut Random(7));
    // In one of the upper blocks: nobody's, read, and of an owner who is not given.
    let in_upper = |frame: &zs_mm::FrameId| frame.index() > 9 * page.frames_per_block();
    let held = std::iter::repeat_with(|| arena.alloc_frame().expect("room"));
    let mut held: Vec<_> = held.take(600).collect();
    let kept = held
        .iter()
        .position(|frame| in_upper(&frame.id()))
        .expect("one is");
    let kept = held.swap_remove(kept);
    held.into_iter().for_each(|frame| arena.free_frame(frame));
    let slot =
        (0..objects.slots()).find(|&slot| objects.frame(slot).as_ref().is_some_and(in_upper));
    let slot = slot.expect("one is");
    let (reading, read) = (objects.read(slot), objects.frame(slot));
    let count = objects.check();
    let report = compact(&arena, &[&objects], CompactOptions::new(MigrateMode::Async));
    assert!(report.met() && report.blocks_freed >= 6, "{report:?}");
    assert_ne!(objects.frame(slot), read, "it moved, whoever reads it");
    drop(reading);
    assert_eq!(objects.check(), count);
    arena.free_frame(kept);
    objects.drain();
    check(&arena, 0);
}

/// A block with a frame that is out of use will never be free as a whole: it is not emptied, nor
/// counted.
#[test]
fn a_block_with_a_bad_frame_is_left_alone() {
    let page = PageSize::K16;
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        crate::common::blocks(page, 4),
    );
    let in_block = page.frames_per_block();
    let objects = Objects::full(&arena, 3 * in_block);
    for slot in (0..objects.slots()).filter(|slot| slot % 8 != 0) {
        objects.free(slot);
    }
    let upper = objects.frame(objects.slots() - 8).expect("one is");
    arena.offline_frame(upper, &[&objects]).expect("movable");
    let report = compact(&arena, &[&objects], CompactOptions::new(MigrateMode::Sync));
    assert_eq!((report.end, report.blocks_freed), (CompactEnd::Met, 1));
    // A pass that can free nothing says so, and the next call is put off.
    objects.free_all();
    arena.offline_frame(zs_mm::FrameId(0), &[]).expect("free");
    let first = zs_mm::FrameId(in_block as u32);
    let whole = arena.alloc_range(first, in_block as u32, &[]);
    let whole = whole.expect("free");
    let ends = [0, 1].map(|_| {
        let report = arena.compact_proactive(&[&objects], &|| true);
        assert_eq!(report.blocks_freed, 0);
        report.end
    });
    assert_eq!(ends, [CompactEnd::Met, CompactEnd::Deferred]);
    arena.free_contiguous(whole);
    check(&arena, 0);
}

/// A block in which something failed is left alone by the next asynchronous pass, and by no other.
#[test]
fn marked_blocks_are_left_alone_for_one_pass() {
    let page = PageSize::K64;
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        crate::common::blocks(page, 4),
    );
    let in_block = page.frames_per_block();
    let objects = Objects::full(&arena, 2 * in_block);
    for slot in (0..objects.slots()).filter(|slot| slot % 2 == 0) {
        objects.free(slot);
    }
    let fails = |mode| {
        objects.busy.store(u32::MAX, Ordering::Relaxed);
        let report = compact(&arena, &[&objects], CompactOptions::new(mode));
        objects.busy.store(0, Ordering::Relaxed);
        (report.end, report.frames_failed > 0)
    };
    assert_eq!(fails(MigrateMode::Async), (CompactEnd::Met, true));
    assert_eq!(
        fails(MigrateMode::Async),
        (CompactEnd::Met, false),
        "marked"
    );
    assert_eq!(fails(MigrateMode::Async), (CompactEnd::Met, true), "once");
    assert_eq!(
        fails(MigrateMode::SyncLight),
        (CompactEnd::Met, true),
        "looks at all"
    );
    let report = compact(
        &arena,
        &[&objects],
        CompactOptions::new(MigrateMode::SyncLight),
    );
    assert_eq!(
        (report.blocks_freed, report.frames_failed),
        (1, 0),
        "{report:?}"
    );
    check(&arena, 0);
}

/// After passes that freed nothing, calls are put off: none, 1, 3, 7, ... 63, 63.
#[test]
fn passes_in_vain_are_deferred() {
    let page = PageSize::K64;
    let arena = crate::common::arena(
        StrictBacking::new(),
        still_host(),
        crate::common::blocks(page, 4),
    );
    let objects = Objects::full(&arena, 3 * page.frames_per_block());
    free_some(&objects, 50, &mut Random(5));
    let mut deferred = 0;
    let mut expected = [0, 1, 3, 7, 15, 31, 63, 63, 63].into_iter();
    let mut next = expected.next();
    while let Some(gap) = next {
        let report = arena.compact_proactive(&[], &|| true);
        if report.end == CompactEnd::Deferred {
            deferred += 1;
            assert!(deferred <= gap, "{deferred} of {gap}");
            continue;
        }
        assert_eq!((report.end, deferred), (CompactEnd::Met, gap), "{report:?}");
        deferred = 0;
        next = expected.next();
    }
    // As soon as something can be moved, it is, at the next call that is not put off; then none is.
    let done = (0..64).map(|_| arena.compact_proactive(&[&objects], &|| true));
    let done = done.filter(|report| report.blocks_freed > 0).count();
    assert_eq!(done, 1);
    let report = arena.compact_proactive(&[&objects], &|| true);
    assert_eq!(report, CompactReport::default(), "not needed");
    check(&arena, 0);
}

/// Above 90 it begins, at 80 it ends: not everything is moved.
#[test]
fn proactive_compaction_stops_at_the_low_mark() {
    let page = PageSize::K4;
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        ..crate::common::blocks(page, 64)
    };
    let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
    let objects = Objects::full(&arena, 62 * page.frames_per_block());
    free_some(&objects, 50, &mut Random(9));
    let count = objects.check();
    let whole = blocks_without(&objects, 64);
    let report = arena.compact_proactive(&[&objects], &|| true);
    assert_eq!(report.end, CompactEnd::Budget, "{report:?}");
    assert!(report.blocks_freed > 0, "{report:?}");
    for zone in arena.zones() {
        let now = arena.fragmentation(zone).expect("a zone");
        assert!((60..=80).contains(&now), "{zone}: {now}");
    }
    let freed = blocks_without(&objects, 64) - whole;
    assert!(freed < 20, "{freed} blocks: it did not stop");
    assert_eq!(objects.check(), count);
    let stopped = arena.compact_proactive(&[&objects], &|| false);
    assert_eq!(stopped.frames_moved, 0);
    check(&arena, 0);
}

/// Each commit of a destination fails in turn.
#[test]
fn a_failed_commit_loses_nothing() {
    let hits = Cell::new(0);
    at_every_size(|page, granule| {
        for nth in 1.. {
            let arena = crate::common::arena(
                StrictBacking::with_granule(granule),
                still_host(),
                crate::common::blocks(page, 6),
            );
            let objects = Objects::full(&arena, 5 * page.frames_per_block());
            free_some(&objects, 70, &mut Random(nth));
            arena.trim();
            let count = objects.check();
            let control = arena.backing().control();
            control.set(Call::Commit, Fault::Nth(nth));
            let report = compact(
                &arena,
                &[&objects],
                CompactOptions::new(MigrateMode::SyncLight),
            );
            let hit = control.failed(Call::Commit) > 0;
            control.clear();
            check(&arena, 0);
            assert_eq!(objects.check(), count);
            let lacked = report.end == CompactEnd::NoMemory;
            assert!(report.met() || hit && lacked, "{report:?}");
            let again = compact(
                &arena,
                &[&objects],
                CompactOptions::new(MigrateMode::SyncLight),
            );
            assert!(again.met());
            assert!(arena.fragmentation(ZONE).expect("a zone") < 50);
            // Every commit of a large scenario would take long, and be like the others.
            if !hit || nth > 40 {
                hits.set(hits.get() + nth - 1);
                break;
            }
        }
    });
    assert!(hits.get() > 100, "only {} commits failed", hits.get());
}

#[test]
fn bad_calls_are_refused() {
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        ..crate::common::blocks(PageSize::K4, 4)
    };
    let arena = crate::common::arena(StrictBacking::new(), still_host(), options);
    let options = CompactOptions::new(MigrateMode::Async);
    let none = ZoneId(2);
    assert_eq!(
        arena.compact_zone(none, &[], options),
        Err(Error::NoSuchZone(none))
    );
    assert_eq!(arena.fragmentation(none), Err(Error::NoSuchZone(none)));
    arena.offline_zone(ZONE, &[]).expect("empty");
    assert_eq!(
        arena.compact_zone(ZONE, &[], options),
        Err(Error::ZoneOffline(ZONE))
    );
    assert_eq!(arena.fragmentation(ZONE), Ok(0));
    arena.online_zone(ZONE).expect("offline");
    let empty = arena.compact_zone(ZONE, &[], options).expect("online");
    assert_eq!((empty.end, empty.frames_moved), (CompactEnd::Met, 0));
    let nothing = CompactOptions {
        frames: 0,
        ..options
    };
    let objects = Objects::full(&arena, 1500);
    free_some(&objects, 50, &mut Random(3));
    let report = compact(&arena, &[&objects], nothing);
    assert_eq!((report.end, report.frames_moved), (CompactEnd::Budget, 0));
    let pause = arena.pause_moves();
    let report = compact(&arena, &[&objects], options);
    assert_eq!((report.end, report.frames_moved), (CompactEnd::Paused, 0));
    drop(pause);
    assert!(compact(&arena, &[&objects], options).frames_moved > 0);
    check(&arena, 0);
}

/// Two threads compact, others read, write, insert and free: of the compactors one works, and what
/// they report is what was moved.
#[test]
fn compaction_beside_everything_else() {
    let arena = crate::common::arena(AnonBacking::new(), &HOST, ArenaOptions::new(64 << 20));
    let slots = 12_000;
    let objects = Objects::full(&arena, slots);
    let stop = AtomicBool::new(false);
    let zero = || AtomicU64::new(0);
    let (passes, busy, reported, changes) = (zero(), zero(), zero(), zero());
    let count = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
    let compactor = || {
        while !stop.load(Ordering::Relaxed) {
            let options = CompactOptions {
                frames: 200,
                ..CompactOptions::new(MigrateMode::Async)
            };
            let report = compact(&arena, &[&objects], options);
            count(&passes, report.met().into());
            count(&busy, (report.end == CompactEnd::Busy).into());
            count(&reported, report.frames_moved);
            objects.drain();
        }
    };
    let worker = |seed: u64| {
        let mut random = Random(seed);
        for round in 0..2_000_000 {
            let met = |counter: &AtomicU64, least| counter.load(Ordering::Relaxed) >= least;
            let all =
                met(&passes, 5) && met(&busy, 1) && met(&reported, 1000) && met(&changes, 1000);
            if all && round > effort(20_000, 2_000) {
                break;
            }
            let slot = random.below(slots);
            let reading = objects.read(random.below(slots));
            let changed = match random.below(4) {
                0 => objects.free(slot),
                1 if random.below(3) == 0 => objects.insert(slot),
                _ => objects.write(slot, random.below(1 << 40) as u64),
            };
            drop(reading);
            count(&changes, changed.into());
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(|| worker(3)), scope.spawn(|| worker(5))];
        let compactors = [scope.spawn(compactor), scope.spawn(compactor)];
        let ended = workers.map(|worker| worker.join());
        stop.store(true, Ordering::Relaxed);
        let others = compactors.map(|compactor| compactor.join());
        assert!(ended.iter().chain(&others).all(Result::is_ok), "no panic");
    });
    let counters = [&passes, &busy, &reported, &changes];
    let [passes, busy, reported, changes] = counters.map(|counter| counter.load(Ordering::Relaxed));
    assert!(
        passes > 0 && busy > 0 && reported > 0 && changes > 0,
        "{passes} passes, {busy} busy, {reported} moved, {changes} changes"
    );
    assert_eq!(arena.moved_because(MigrateReason::Compaction), reported);
    objects.check();
    objects.drain();
    let moves = arena.zone_moves(ZONE).expect("a zone");
    assert_eq!((moves.isolated, moves.draining), (0, 0));
    check(&arena, 0);
}
