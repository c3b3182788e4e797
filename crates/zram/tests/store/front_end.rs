//! What a server of the store asks of it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use zram::*;

const BLOCK: u64 = 4096;

fn store() -> Store {
    let mut options = StoreOptions::new(64 * BLOCK);
    options.limit = Some(4 << 20);
    Store::new(options).unwrap()
}

#[test]
fn a_read_of_zeros_leaves_the_buffer() {
    let store = store();
    store.write(BLOCK, &[7]).unwrap();
    store.write(2 * BLOCK, &[0; 4096]).unwrap();
    let mut buffer = [5; 4096];
    for (offset, len, holds) in [
        (0, 4096, false),
        (4000, 97, true),
        (BLOCK, 4096, true),
        (BLOCK + 1, 10, true),
        (2 * BLOCK, 4096, false),
        (60 * BLOCK, 4096, false),
    ] {
        buffer.fill(5);
        let found = store.read_unless_zeroes(offset, &mut buffer[..len]);
        assert_eq!(found.unwrap(), holds, "{offset}");
        assert_eq!(buffer[0] == 5, !holds, "{offset}");
    }
    assert!(store.read_unless_zeroes(64 * BLOCK, &mut buffer).is_err());
    let stats = store.stats();
    assert_eq!((stats.reads, stats.failed_reads), (6, 1));
    assert!(stats.latency_sums[0] > 0);
}

#[test]
fn nobody_attaches_to_a_store_that_somebody_has_alone() {
    let store = store();
    store.write(0, &[7]).unwrap();
    let client = store.attach().unwrap();
    assert!(matches!(store.alone(), Err(Error::Busy(_))));
    drop(client);
    let alone = store.alone().unwrap();
    assert!(matches!(store.alone(), Err(Error::Busy(_))));
    assert!(matches!(store.attach(), Err(Error::Busy(_))));
    assert!(matches!(store.reset(), Err(Error::Busy(_))));
    alone.reset().unwrap();
    assert_eq!(store.stats().orig_bytes, 0);
    drop(alone);
    assert!(store.attach().is_ok());
}
