//! The stress protocol's short form, with compaction beside it. (The full form is the command.)

#![expect(clippy::expect_used, reason = "a helper of tests, which ends the test")]

use bench_own::{Pools, Stress, StressOutcome, stress};
use zs_model::scaled;

fn run(pools: Pools) -> StressOutcome {
    let options = Stress {
        threads: 8,
        ops: scaled(100_000),
        live: 8192,
        seed: 12345,
        pools,
        compact: true,
    };
    let outcome = stress(&options).expect("every check passes");
    let counts = outcome.counts;
    let others = counts.foreign_reads + counts.stale + counts.unused;
    let mapped = counts.reads + counts.writes + counts.busy + others;
    assert_eq!(counts.allocs + mapped + counts.frees, 8 * options.ops);
    assert!(outcome.moved > 0, "nothing moved meanwhile");
    assert!(outcome.compacted.held <= outcome.at_end.held);
    outcome
}

#[test]
fn a_pool_for_each_thread() {
    assert_eq!(run(Pools::PerThread).counts.foreign_reads, 0);
}

#[test]
fn one_pool_for_all() {
    let counts = run(Pools::Shared).counts;
    assert!(counts.foreign_reads > 0, "no thread read another's object");
    assert!(counts.stale > 0, "no handle of a freed object was tried");
}

#[test]
fn pools_in_turn() {
    assert_eq!(run(Pools::RoundRobin).counts.foreign_reads, 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let options = Stress {
        threads: 9,
        ops: 1,
        live: 8,
        seed: 0,
        pools: Pools::Shared,
        compact: false,
    };
    let error = stress(&options).expect_err("too few slots").to_string();
    assert!(error.contains("8 live objects of 9 threads"), "{error}");
}
