//! Row Z28: khugepaged refilled what had been given back.
//!
//! Resident memory is read a second after the free, and again after 90: khugepaged looks at a process
//! every ten. (Without `MADV_NOHUGEPAGE` before the first frame of a block is given back, this fails after
//! 90 s.) A process of its own, because everything that it has counts.

use std::process::Command;
use std::time::Duration;
use zs_mm::{Arena, ArenaOptions};
use zs_model::{Numbers, pattern};
use zs_os::{AnonBacking, HOST, ResidentMeter};
use zsmalloc::{CompactBudget, HandlePool, PoolOptions};

const CHILD: &str = "ZS_Z28_CHILD";
const OBJECTS: usize = 40_000;

/// Fills pageblocks that are mapped huge where the system can, frees three of four objects, compacts,
/// gives back; then looks twice.
fn child() {
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
    let arena = Arena::new(AnonBacking::new(), &HOST, options).expect("an arena");
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
    for seconds in [1, 89] {
        std::thread::sleep(Duration::from_secs(seconds));
        let grown = resident() - before;
        let allowed = (held as i64 / 100).max(512 << 10);
        assert!(
            (grown - held as i64).abs() <= allowed,
            "{seconds} s later: resident {grown}, held {held}"
        );
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
