//! The stress protocol in short: every store keeps every byte.

use bench_rivals::{Store, Stress, nanoseconds};

fn short(threads: u32, live: u32) -> Stress {
    Stress {
        threads,
        ops: 20_000,
        live,
        seed: 12345,
        runs: 1,
    }
}

#[test]
fn every_store_keeps_every_byte() {
    for store in [Store::Zs, Store::Mimalloc] {
        let ns = nanoseconds(store, &short(2, 2000)).expect("every check passes");
        assert!(ns > 0.0);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let error = nanoseconds(Store::Zs, &short(9, 8)).expect_err("too few slots");
    assert!(error.to_string().contains("8 live objects of 9 threads"));
}
