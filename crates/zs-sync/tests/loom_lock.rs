//! Models of the lock: one holder at a time, what it guards is ordered, no wake-up is lost.
//!
//! Cost at 2 preemptions: under a second.
#![cfg(zs_loom)]

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use zs_sync::{AtomicU32, Guarded32, Host, Ordering, RawLock};

/// Parks for real, so that a lost wake-up is a deadlock, which loom reports.
#[derive(Debug)]
struct ParkingHost {
    lock: Mutex<()>,
    wake: Condvar,
}

impl ParkingHost {
    fn new() -> Self {
        Self {
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }
}

impl Host for ParkingHost {
    fn cpu(&self) -> usize {
        0
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn park(&self, word: &AtomicU32, expected: u32) {
        let guard = self.lock.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(self.wake.wait(guard).unwrap());
        }
    }

    fn unpark(&self, _word: &AtomicU32) {
        let _guard = self.lock.lock().unwrap();
        self.wake.notify_one();
    }

    fn yield_now(&self) {
        thread::yield_now();
    }
}

struct Shared {
    host: ParkingHost,
    lock: RawLock,
    guarded: Guarded32,
}

fn add_under_lock(shared: &Shared) {
    shared.lock.lock(&shared.host);
    // Loom reports this as a race if the lock lets two threads in, or does not order them.
    shared.guarded.set(shared.guarded.get() + 1);
    shared.lock.unlock(&shared.host);
}

fn count_with(threads: u32) {
    loom::model(move || {
        let shared = Arc::new(Shared {
            host: ParkingHost::new(),
            lock: RawLock::default(),
            guarded: Guarded32::default(),
        });
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || add_under_lock(&shared))
            })
            .collect();
        add_under_lock(&shared);
        for other in others {
            other.join().unwrap();
        }
        shared.lock.lock(&shared.host);
        assert_eq!(shared.guarded.get(), threads);
        shared.lock.unlock(&shared.host);
    });
}

#[test]
fn two_threads_take_turns() {
    count_with(2);
}

#[test]
fn three_threads_take_turns_and_all_are_woken() {
    count_with(3);
}

#[test]
fn try_lock_is_refused_while_held_and_orders_what_it_guards() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            host: ParkingHost::new(),
            lock: RawLock::default(),
            guarded: Guarded32::default(),
        });
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || add_under_lock(&shared))
        };
        if shared.lock.try_lock() {
            shared.guarded.set(shared.guarded.get() + 1);
            shared.lock.unlock(&shared.host);
        }
        other.join().unwrap();
        assert!((1..=2).contains(&shared.guarded.get()));
    });
}
