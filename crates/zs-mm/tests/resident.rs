//! What an arena says it holds is what the system says the process takes.

#![cfg(not(zs_loom))]

mod common;

use common::objects::Objects;
use common::{check, sanitized};
use std::process::Command;
use zs_mm::{Arena, ArenaOptions, Backing, Frame, PageSize, ZoneId, ZoneSpecs};
use zs_os::testing::FaultBacking;
use zs_os::{AnonBacking, HOST, MemfdBacking, MemfdCommit, ResidentMeter};

const CHILD: &str = "ZS_MM_RESIDENT_CHILD";
const PAYLOAD: usize = 64 << 20;

/// Growth and `held` agree within 1 % or 256 KiB. A sanitizer has shadows of its own.
fn agree(what: &str, resident: i64, held: u64) {
    let held = held as i64;
    let allowed = (held / 100).max(256 << 10);
    let close = (resident - held).abs() <= allowed;
    let sanitized = sanitized() && resident > held / 2;
    assert!(
        close || sanitized,
        "{what}: resident {resident}, held {held}"
    );
}

#[expect(clippy::expect_used, reason = "a helper of tests")]
fn measure(backing: impl Backing, page_size: PageSize, huge_blocks: bool) {
    let count = PAYLOAD / page_size.bytes();
    let bytes = vec![0xa5_u8; page_size.bytes()];
    let mut frames: Vec<Option<Frame>> = (0..count).map(|_| None).collect();
    let mut meter = ResidentMeter::new();
    let mut resident = || meter.measure(&[]).expect("smaps").pss as i64;
    resident();
    let before = resident();
    let options = ArenaOptions {
        page_size,
        huge_blocks,
        ..ArenaOptions::new(PAYLOAD as u64 + (16 << 20))
    };
    let arena = Arena::new(FaultBacking::new(backing), &HOST, options).expect("an arena");
    for slot in &mut frames {
        let frame = arena.alloc_frame().expect("a frame");
        let place = frame.id().index() * page_size.bytes();
        // SAFETY: the frame is allocated, so committed, and nobody else's.
        unsafe { arena.payload().write(place, &bytes) };
        *slot = Some(frame);
    }
    let full = arena.stats();
    assert!(full.held >= PAYLOAD as u64);
    agree("full", resident() - before, full.held);
    // Three quarters go, frame by frame, and what is left is held and nothing else.
    for (number, slot) in frames.iter_mut().enumerate() {
        if number % 4 != 0 {
            arena.free_frame(slot.take().expect("a frame"));
        }
    }
    arena.trim();
    let quarter = arena.stats().held;
    assert_eq!(quarter, arena.stats().metadata + PAYLOAD as u64 / 4);
    if !sanitized() {
        agree("a quarter", resident() - before, quarter);
    }
    for frame in frames.iter_mut().filter_map(Option::take) {
        arena.free_frame(frame);
    }
    arena.trim();
    check(&arena, 0);
    assert_eq!(arena.stats().held, arena.stats().metadata);
    if !sanitized() {
        agree("empty", resident() - before, arena.stats().held);
    }
}

/// A zone, and some frames, go offline: what is left is resident and nothing else, and every object
/// is there.
#[expect(clippy::expect_used, reason = "a helper of tests")]
fn measure_offline() {
    let mut meter = ResidentMeter::new();
    let mut resident = || meter.measure(&[]).expect("smaps").pss as i64;
    let options = ArenaOptions {
        zones: ZoneSpecs::normal(2),
        ..ArenaOptions::new(PAYLOAD as u64)
    };
    let arena =
        Arena::new(FaultBacking::new(AnonBacking::new()), &HOST, options).expect("an arena");
    let objects = Objects::new(&arena, PAYLOAD / 4096 / 2 - 1024);
    resident();
    let before = resident();
    let filled = (0..objects.slots())
        .filter(|&slot| objects.insert(slot))
        .count();
    assert_eq!(filled, objects.slots());
    for slot in (0..objects.slots()).filter(|slot| slot % 3 != 0) {
        objects.free(slot);
    }
    let count = objects.check();
    let zone = |slot| arena.zone_of_frame(objects.frame(slot)?);
    assert_eq!(zone(0), Some(ZoneId(0)));
    arena
        .offline_zone(ZoneId(0), &[&objects])
        .expect("room in the other");
    assert_eq!(zone(0), Some(ZoneId(1)));
    let held = |arena: &Arena<_>| {
        arena.trim();
        arena.stats().held
    };
    let metadata = arena.stats().metadata;
    assert_eq!(held(&arena), metadata + count as u64 * 4096);
    agree("a zone offline", resident() - before, held(&arena));
    let frames: Vec<_> = (0..objects.slots())
        .filter_map(|slot| objects.frame(slot))
        .collect();
    for &frame in frames.iter().take(2000) {
        arena
            .offline_frame(frame, &[&objects])
            .expect("room in the zone");
    }
    assert_eq!(objects.check(), count);
    assert_eq!(arena.stats().offline, 2000 * 4096);
    agree("frames offline", resident() - before, held(&arena));
    objects.free_all();
    check(&arena, 0);
}

fn in_child(case: &str) {
    if case == "offline" {
        return measure_offline();
    }
    let (backing, size) = case.split_once('-').unwrap_or((case, ""));
    let (page, huge) = match size {
        "4" => (PageSize::K4, false),
        "4h" => (PageSize::K4, true),
        "16" => (PageSize::K16, false),
        _ => (PageSize::K64, false),
    };
    match backing {
        "anon" => measure(AnonBacking::new(), page, huge),
        "memfd" => measure(MemfdBacking::new(MemfdCommit::Mapped), page, huge),
        _ => measure(MemfdBacking::new(MemfdCommit::Allocated), page, huge),
    }
}

/// A child for each case: nothing else runs there.
#[test]
fn held_is_resident() {
    if let Ok(case) = std::env::var(CHILD) {
        return in_child(&case);
    }
    let cases = [
        "anon-4", "anon-16", "anon-64", "anon-4h", "memfd-4", "memfd-16", "memfd-64", "file-4",
        "offline",
    ];
    for case in cases {
        let output = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "held_is_resident", "--test-threads=1"])
            .env(CHILD, case)
            .output()
            .expect("a child");
        assert!(output.status.success(), "{case}: {output:?}");
    }
}
