//! Row Z28: khugepaged refilled what had been given back.
//!
//! Resident memory is read a second after the free, and again when the kernel was asked to do at
//! once what khugepaged does with time (`MADV_COLLAPSE`, Linux 6.1). In `cargo xtask ci --full` it
//! is read after 90 s, too: khugepaged itself comes every ten. (Without `MADV_NOHUGEPAGE` before
//! the first frame of a block is given back, both fail.) A process of its own, because everything
//! that it has counts.

use core::ops::Range;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use zs_mm::{Arena, ArenaOptions, BLOCK_BYTES, RegionKind};
use zs_model::{Numbers, pattern};
use zs_os::testing::{Recorded, WatchedBacking, Watcher};
use zs_os::{AnonBacking, HOST, ResidentMeter};
use zsmalloc::{CompactBudget, HandlePool, PoolOptions};

const CHILD: &str = "ZS_Z28_CHILD";
/// Set by `cargo xtask ci --full`: there is time to wait for khugepaged.
const WAITS: &str = "ZS_WAIT_FOR_KHUGEPAGED";
const OBJECTS: usize = 40_000;

/// What `libc` has no name for yet.
const MADV_COLLAPSE: libc::c_int = 25;

/// Where the payload lies, once it is reserved.
#[derive(Debug, Clone, Default)]
struct Payload(Arc<OnceLock<Range<usize>>>);

impl Watcher for Payload {
    fn done(&self, call: Recorded) {
        if let Recorded::Reserve {
            kind: RegionKind::Payload,
            place,
            len,
        } = call
        {
            self.0.set(place..place + len).expect("one payload");
        }
    }
}

/// Asks the kernel to make each pageblock of a range one huge page; returns how many are.
fn collapse(range: Range<usize>) -> usize {
    let blocks = range.step_by(BLOCK_BYTES);
    let is_huge = |place: &usize| {
        let place = core::ptr::with_exposed_provenance_mut(*place);
        // SAFETY: a mapping of this process, whose contents stay.
        unsafe { libc::madvise(place, BLOCK_BYTES, MADV_COLLAPSE) == 0 }
    };
    blocks.filter(is_huge).count()
}

/// Says whether the kernel does that at all: a block with one page of memory becomes whole.
fn can_collapse() -> bool {
    let layout = std::alloc::Layout::from_size_align(BLOCK_BYTES, BLOCK_BYTES).expect("valid");
    // SAFETY: the layout is not empty.
    let block = unsafe { std::alloc::alloc(layout) };
    assert!(!block.is_null(), "2 MiB of memory");
    // SAFETY: the first byte of the block, which nobody else has.
    unsafe { block.write(1) };
    let place = block.expose_provenance();
    let can = collapse(place..place + BLOCK_BYTES) == 1;
    // SAFETY: as it was allocated.
    unsafe { std::alloc::dealloc(block, layout) };
    can
}

/// Fills pageblocks that are mapped huge where the system can, frees three of four objects,
/// compacts, gives back; then looks twice.
fn child() {
    let can_collapse = can_collapse();
    let mut numbers = Numbers::new(28);
    let bytes = pattern(1, 4096);
    let mut handles = Vec::with_capacity(OBJECTS);
    let mut meter = ResidentMeter::new();
    let mut resident = || meter.measure(&[]).expect("smaps").pss as i64;
    resident();
    let before = resident();
    let options = ArenaOptions {
        huge_blocks: true,
        ..ArenaOptions::new(256 << 20)
    };
    let payload = Payload::default();
    let backing = WatchedBacking::watched(AnonBacking::new(), payload.clone());
    let arena = Arena::new(backing, &HOST, options).expect("an arena");
    let pool = HandlePool::new(arena, PoolOptions::named("z28")).expect("a pool");
    for _ in 0..OBJECTS {
        let len = 1 + numbers.below(4096);
        handles.push(pool.insert(&bytes[..len]).expect("room"));
    }
    let full = pool.arena().stats().held;
    handles.retain(|&handle| {
        let kept = numbers.below(4) == 0;
        if !kept {
            pool.free(handle).expect("live");
        }
        kept
    });
    assert!(pool.compact(CompactBudget::UNLIMITED).objects_moved > 0);
    pool.trim();
    let held = pool.arena().stats().held;
    assert!(held < full / 3, "{held} of {full} held");
    let mut check = |when: &str| {
        let grown = resident() - before;
        let allowed = (held as i64 / 100).max(512 << 10);
        assert!(
            (grown - held as i64).abs() <= allowed,
            "{when}: resident {grown}, held {held}"
        );
    };
    std::thread::sleep(Duration::from_secs(1));
    check("1 s later");
    if can_collapse {
        let whole = collapse(payload.0.get().expect("reserved").clone());
        println!("{whole} pageblocks are huge pages");
        check("when all was collapsed that may be");
    } else {
        println!("skipped in part: no MADV_COLLAPSE, or no huge pages");
    }
    if std::env::var_os(WAITS).is_some() {
        std::thread::sleep(Duration::from_secs(89));
        check("90 s later");
    }
    for handle in handles {
        let len = pool.read(handle).expect("live").len();
        assert!(pool.read_into(handle, &mut vec![0; len]).is_ok());
    }
}

#[test]
fn z28_resident_after_1_s_and_after_90() {
    if std::env::var_os("ZS_SANITIZER").is_some() {
        println!("skipped: a sanitizer has shadows of its own");
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let program = std::env::current_exe().expect("this program");
    let ended = Command::new(program)
        .args([
            "--exact",
            "z28_what_went_back_stays_back::z28_resident_after_1_s_and_after_90",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .status()
        .expect("a child");
    assert!(ended.success(), "{ended}");
}
