//! Row M14: a loop without a pause. Work on all blocks of a zone is done in many holds of its lock.

#![cfg(not(any(zs_loom, zs_schedule)))]

use crate::common::objects::Objects;
use crate::common::{check, still_host};
use std::sync::atomic::{AtomicU64, Ordering};
use zs_mm::{CompactOptions, MigrateMode, PageSize, ZoneId};
use zs_os::AnonBacking;
use zs_sync::{HoldEvent, LockName, set_hold_hook};

static HOLDS: AtomicU64 = AtomicU64::new(0);

fn hook(rank: LockName, event: HoldEvent) {
    if rank == LockName::Zone && event == HoldEvent::Taken {
        HOLDS.fetch_add(1, Ordering::Relaxed);
    }
}

/// At most so many blocks are looked at in one hold.
const MOST: u64 = 64;

#[test]
fn every_look_at_a_zone_pauses() {
    set_hold_hook(hook).expect("the first one");
    let blocks = 320;
    let arena = crate::common::arena(
        AnonBacking::new(),
        still_host(),
        crate::common::blocks(PageSize::K64, blocks),
    );
    let objects = Objects::full(&arena, 310 * PageSize::K64.frames_per_block());
    let zone = ZoneId(0);
    let holds = |what: &str, work: &dyn Fn()| {
        let before = HOLDS.load(Ordering::Relaxed);
        work();
        let holds = HOLDS.load(Ordering::Relaxed) - before;
        let least = 300 / MOST;
        assert!(holds >= least, "{what}: {holds} holds for 300 blocks");
    };
    let compact = |mode| {
        let report = arena.compact_zone(zone, &[&objects], CompactOptions::new(mode));
        assert!(report.expect("online").met());
    };
    holds("all blocks are full: the upper scanner", &|| {
        compact(MigrateMode::Async);
    });
    // One frame of the first block and many of the last: the lower scanner looks at all between.
    let last = objects.slots() - 1;
    objects.free(last);
    holds("nothing free below: the lower scanner", &|| {
        compact(MigrateMode::Async);
    });
    holds("how fragmented it is", &|| {
        arena.fragmentation(zone).expect("a zone");
    });
    holds("a look for neighbours", &|| {
        arena
            .alloc_contiguous(6, &[])
            .map_or_else(drop, |block| arena.free_contiguous(block));
    });
    holds("the way offline", &|| {
        arena
            .offline_zone(zone, &[&objects])
            .expect_err("there is no other zone");
    });
    objects.free_all();
    holds("trim", &|| {
        arena.trim();
    });
    check(&arena, 0);
}
