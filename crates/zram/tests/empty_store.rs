//! What an empty store holds: alone in its process, since it looks at the process's resident
//! memory.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use zram::*;
use zs_os::{AnonBacking, ResidentMeter};

const MIB: u64 = 1 << 20;

/// An empty store of 100 GB holds under 2 MiB, also after a block at its end was written, and again
/// after all was discarded; so does one of 7 TiB.
#[test]
fn an_empty_store_of_100_gb() {
    for (size, dedup, track_access) in [
        (100_000_000_000 / 4096 * 4096, false, false),
        (100_000_000_000 / 4096 * 4096, true, true),
        (7 << 40, false, false),
    ] {
        let mut options = StoreOptions::new(size);
        options.limit = Some(1 << 30);
        options.dedup = dedup;
        options.track_access = track_access;
        let mut meter = ResidentMeter::new();
        let resident = |meter: &mut ResidentMeter| meter.measure(&[]).expect("Linux").rss;
        let before = resident(&mut meter);
        let store = Store::<AnonBacking>::new(options).expect("a store");
        let check = |what: &str, meter: &mut ResidentMeter| {
            let held = store.stats().mem_used;
            assert!(held < 2 * MIB, "{what}: {held} held, of {size}");
            if std::env::var_os("ZS_SANITIZER").is_some() {
                // A sanitizer's own memory is resident, too.
                return;
            }
            let resident = resident(meter).saturating_sub(before);
            assert!(resident < 2 * MIB, "{what}: {resident} resident, of {size}");
        };
        check("empty", &mut meter);
        let ranges = store.status(0, size, 9).expect("in range");
        assert!(ranges.len() == 1 && ranges[0].kind == RangeKind::Hole);
        check("asked about", &mut meter);
        store.write(size - 4096, &[1; 4096]).expect("room");
        store.write(size - 100, &[2; 100]).expect("room");
        check("one block", &mut meter);
        let mut out = [0; 200];
        store.read(size - 200, &mut out).expect("readable");
        assert!(out[..100] == [1; 100] && out[100..] == [2; 100]);
        let with_one = store.stats().metadata;
        store.discard(0, size).expect("in range");
        store.trim();
        check("empty again", &mut meter);
        assert!(store.stats().metadata < with_one);
        assert_eq!(store.stats().orig_bytes, 0);
    }
}
