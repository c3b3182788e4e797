//! The scheduler itself: a seed says everything, and each kind of failure is found.
#![cfg(zs_schedule)]

use std::collections::HashSet;
use std::sync::Arc;
use zs_sync::schedule::{Body, Failure, Plan, Trace, run};
use zs_sync::{
    AtomicU32, AtomicU64, Guarded32, Host, LockName, Mutex, Ordering, RawLock, SpinHost,
};

const SEEDS: u64 = 200;

fn play(seed: u64, bodies: Vec<Body>) -> Result<Trace, Failure> {
    let most_points = 20_000;
    run(Plan { seed, most_points }, bodies)
}

fn bodies<S: Send + Sync + 'static>(count: usize, shared: &Arc<S>, body: fn(&S)) -> Vec<Body> {
    let one = |_| -> Body {
        let shared = Arc::clone(shared);
        Box::new(move || body(&shared))
    };
    (0..count).map(one).collect()
}

/// The failures of all seeds. A run that failed keeps its threads, so few of them are wanted.
fn first_failure(scenario: impl Fn() -> Vec<Body>) -> Option<Failure> {
    (0..SEEDS).find_map(|seed| play(seed, scenario()).err())
}

fn add_unlocked(counter: &AtomicU32) {
    for _ in 0..3 {
        let seen = counter.load(Ordering::Relaxed);
        counter.store(seen + 1, Ordering::Relaxed);
    }
}

#[test]
fn a_seed_says_everything() {
    let traced = |seed| {
        let counter = Arc::new(AtomicU32::new(0));
        let trace = play(seed, bodies(3, &counter, add_unlocked)).expect("it ends");
        (trace, counter.load(Ordering::Relaxed))
    };
    let first: Vec<_> = (0..SEEDS).map(traced).collect();
    let again: Vec<_> = (0..SEEDS).map(traced).collect();
    assert_eq!(first, again);
    let hashes: HashSet<u64> = first.iter().map(|(trace, _)| trace.hash).collect();
    // Where switches are rare, many seeds run one thread after the other.
    assert!(hashes.len() as u64 > SEEDS / 4, "{}", hashes.len());
    assert!(first.iter().all(|(trace, _)| trace.points >= 18));
    assert!(first.iter().any(|(trace, _)| trace.switches >= 6));
    // Updates are lost in some, and none in others.
    let sums: HashSet<u32> = first.iter().map(|&(_, sum)| sum).collect();
    assert!(sums.contains(&9) && sums.len() > 3, "{sums:?}");
}

#[test]
fn a_lock_lets_one_in_and_parks_the_others() {
    let mut parked = 0;
    for seed in 0..SEEDS {
        let sum = Arc::new(Mutex::new(LockName::Class, 0_u32));
        let add = |sum: &Mutex<u32>| {
            for _ in 0..5 {
                let mut sum = sum.lock(&SpinHost);
                let seen = *sum;
                SpinHost.yield_now();
                *sum = seen + 1;
            }
        };
        let trace = play(seed, bodies(3, &sum, add)).expect("nobody is lost");
        parked += trace.parked;
        assert_eq!(*sum.lock(&SpinHost), 15);
    }
    assert!(parked > 0);
}

#[test]
fn two_threads_at_one_guarded_cell_are_found() {
    let add = |cell: &Guarded32| cell.set(cell.get() + 1);
    let failure = first_failure(|| bodies(2, &Arc::new(Guarded32::default()), add));
    let what = failure.expect("found").what;
    assert!(what.contains("about to touch"), "{what}");
}

#[test]
fn a_lock_keeps_threads_apart_at_a_guarded_cell() {
    type Cell = (RawLock, Guarded32);
    let add = |(lock, cell): &Cell| {
        lock.lock(&SpinHost);
        cell.set(cell.get() + 1);
        lock.unlock(&SpinHost);
    };
    let failure = first_failure(|| bodies(3, &Arc::new(Cell::default()), add));
    assert_eq!(failure, None);
}

/// Two locks in two orders: some schedule takes each thread its first.
#[test]
fn a_deadlock_is_found() {
    let scenario = || {
        let locks = Arc::new([RawLock::default(), RawLock::default()]);
        let both = |first: usize| -> Body {
            let locks = Arc::clone(&locks);
            Box::new(move || {
                locks[first].lock(&SpinHost);
                locks[1 - first].lock(&SpinHost);
                locks[1 - first].unlock(&SpinHost);
                locks[first].unlock(&SpinHost);
            })
        };
        vec![both(0), both(1)]
    };
    let what = first_failure(scenario).expect("found").what;
    assert!(what.contains("deadlock"), "{what}");
}

/// Nobody wakes the sleeper: a host that polled would not notice.
#[test]
fn a_lost_wake_up_is_found() {
    let scenario = || {
        let word = Arc::new(AtomicU32::new(0));
        let sleeper: Body = {
            let word = Arc::clone(&word);
            Box::new(move || {
                while word.load(Ordering::Acquire) == 0 {
                    SpinHost.park(&word, 0);
                }
            })
        };
        let waker: Body = Box::new(move || word.store(1, Ordering::Release));
        vec![sleeper, waker]
    };
    let what = first_failure(scenario).expect("found").what;
    assert!(what.contains("deadlock"), "{what}");
}

#[test]
fn a_run_in_circles_ends() {
    let wait = |word: &AtomicU64| {
        while word.load(Ordering::Relaxed) == 0 {
            SpinHost.yield_now();
        }
    };
    let failure = play(3, bodies(2, &Arc::new(AtomicU64::new(0)), wait));
    let what = failure.expect_err("found").what;
    assert!(what.contains("no end"), "{what}");
}

#[test]
fn a_panic_and_a_verdict_end_the_run() {
    let failing: [fn(&AtomicU32); 2] = [
        |word| assert!(word.load(Ordering::Relaxed) > 0, "as expected"),
        |_| zs_sync::schedule::fail("a verdict"),
    ];
    for (body, word) in failing.into_iter().zip(["panicked", "verdict"]) {
        let failure = play(1, bodies(2, &Arc::new(AtomicU32::new(0)), body));
        let what = failure.expect_err("found").to_string();
        assert!(what.contains(word) && what.contains("seed 1"), "{what}");
    }
}

/// Outside of a run nothing is scheduled.
#[test]
fn points_are_free_outside_of_a_run() {
    assert_eq!(zs_sync::schedule::thread_index(), None);
    let counter = AtomicU32::new(1);
    add_unlocked(&counter);
    SpinHost.yield_now();
    assert_eq!(counter.load(Ordering::Relaxed), 4);
}
