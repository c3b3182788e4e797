//! Models of what meets without a lock: a block's waiters, the pages of the table, shared objects;
//! on the shipped modules, which need no store around them.
//!
//! Each model has a mutation in `xtask/mutations.toml` under which it fails.
#![cfg(zs_loom)]
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "the modules serve a whole store; the models use a part of them"
)]

#[path = "../src/block/mod.rs"]
mod block;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/ids.rs"]
mod ids;
#[path = "../../zsmalloc/tests/loom_support/mod.rs"]
mod loom_support;

use block::content::Content;
use block::dedup_index::DedupIndex;
use block::table::{BlockTable, TableOptions};
use block::waiters::Waiters;
use ids::{BlockIndex, SharedIndex};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use loom_support::arena;
use zs_sync::{AtomicU32, Guarded64, Host, Ordering, SpinHost};
use zsmalloc::{Client, Word};

fn at(block: u32) -> BlockIndex {
    BlockIndex::new(block)
}

/// Runs a model. An arena has many cells, so one run has more steps than loom's default.
fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 50_000;
    builder.check(scenario);
}

/// Parks for real, so that a lost wake-up is a deadlock, which loom reports.
#[derive(Debug)]
struct ParkingHost {
    lock: Mutex<()>,
    wake: Condvar,
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

/// Two locked blocks of one bucket.
struct Blocks {
    host: ParkingHost,
    waiters: Waiters,
    locked: [AtomicU32; 2],
}

impl Blocks {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            host: ParkingHost {
                lock: Mutex::new(()),
                wake: Condvar::new(),
            },
            waiters: Waiters::default(),
            locked: [AtomicU32::new(1), AtomicU32::new(1)],
        })
    }

    fn is_locked(&self, block: u32) -> bool {
        self.locked[block as usize].load(Ordering::Acquire) == 1
    }

    fn wait(&self, block: u32) {
        while self.is_locked(block) {
            let is_locked = || self.is_locked(block);
            self.waiters
                .sleep(&self.host, BlockIndex::new(block), is_locked);
        }
    }

    fn unlock(&self, block: u32) {
        self.locked[block as usize].store(0, Ordering::Release);
        self.waiters.wake(&self.host, BlockIndex::new(block));
    }
}

/// A block is unlocked while somebody goes to sleep: no wake-up is lost.
#[test]
fn a_sleeper_is_woken() {
    model(|| {
        let blocks = Blocks::new();
        let waiter = {
            let blocks = Arc::clone(&blocks);
            thread::spawn(move || blocks.wait(0))
        };
        blocks.unlock(0);
        waiter.join().unwrap();
    });
}

/// Two blocks of one bucket: who sleeps for the second is not woken in place of who sleeps for the
/// first.
#[test]
fn sleepers_of_two_blocks_are_woken() {
    model(|| {
        let blocks = Blocks::new();
        let waiters: Vec<_> = (0..2)
            .map(|block| {
                let blocks = Arc::clone(&blocks);
                thread::spawn(move || blocks.wait(block))
            })
            .collect();
        blocks.unlock(0);
        blocks.unlock(1);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

/// A block of a page gets content while the table is trimmed, and another page loses its last:
/// pages of states count the pages that are open, and what has content has memory.
#[test]
fn a_table_is_trimmed_beside_a_write() {
    model(|| {
        let arena = Arc::new(arena());
        let options = TableOptions {
            blocks: 16,
            shares: false,
            times: false,
        };
        let table = Arc::new(BlockTable::new(&arena, options).expect("a table"));
        table.enter(&arena, at(8)).expect("room");
        table.leave(at(8), false, false);
        let trimmer = {
            let (arena, table) = (Arc::clone(&arena), Arc::clone(&table));
            thread::spawn(move || table.trim(&arena))
        };
        table.enter(&arena, at(0)).expect("room");
        let word = Content::Same(7).word(false).expect("no object");
        assert!(table.change(at(0), Word::from_bits(0), word));
        table.leave(at(0), false, true);
        trimmer.join().unwrap();
        assert_eq!(table.counted(), Ok(1));
        assert_eq!(table.next_open(at(0), at(8)), Some(at(0)..at(8)));
        table.trim(&arena);
        assert_eq!(table.counted(), Ok(1));
        assert_eq!(table.next_open(at(8), at(16)), None);
    });
}

/// A page is discarded and closed, and with it its page of states, while others read there, and
/// write there again: a reader finds what was there or a hole, and what is written stays.
#[test]
fn a_page_is_closed_beside_a_reader_and_a_writer() {
    let word = |pattern| Content::Same(pattern).word(false).expect("no object");
    let hole = Word::from_bits(0);
    model(move || {
        let arena = Arc::new(arena());
        let options = TableOptions {
            blocks: 16,
            shares: false,
            times: false,
        };
        let table = Arc::new(BlockTable::new(&arena, options).expect("a table"));
        table.enter(&arena, at(0)).expect("room");
        assert!(table.change(at(0), hole, word(7)));
        table.leave(at(0), false, true);
        let whole = table.page_from(at(0), at(16));
        let other = {
            let (arena, table) = (Arc::clone(&arena), Arc::clone(&table));
            thread::spawn(move || {
                // A late reader, that knows the word as it was.
                table.change(at(0), word(7), word(7));
                if table.enter_if_open(&arena, at(1)) {
                    assert!(table.change(at(1), hole, word(9)), "memory that has gone");
                    table.leave(at(1), false, true);
                    return true;
                }
                false
            })
        };
        table.enter(&arena, at(0)).expect("room");
        assert!(table.change(at(0), word(7), hole));
        table.leave(at(0), true, false);
        table.close_if_empty(&arena, &whole);
        let written = other.join().unwrap();
        assert_eq!(table.counted(), Ok(u64::from(written)));
        assert_eq!(table.next_open(at(0), at(16)).is_some(), written);
        if !written {
            assert!(!table.enter_if_open(&arena, at(0)));
            table.enter(&arena, at(0)).expect("its memory came back");
            table.leave(at(0), false, false);
        }
    });
}

/// Somebody takes a reference to a shared object while the last one goes: it keeps the object, or
/// finds none.
#[test]
fn a_shared_object_is_found_while_it_goes() {
    const HASH: u32 = 9;
    fn leave(shares: &DedupIndex, number: SharedIndex, object: &Guarded64) {
        if shares.leave(&SpinHost, number) {
            object.set(0);
            shares.reclaimed(&SpinHost, number);
        }
    }
    model(|| {
        let arena = arena();
        let shares = Arc::new(DedupIndex::new(&arena, 8).expect("a table"));
        let number = shares.take(&arena, HASH).expect("room");
        let object = Arc::new(Guarded64::default());
        object.set(1);
        assert!(shares.publish(&SpinHost, HASH, number));
        let finder = {
            let (shares, object) = (Arc::clone(&shares), Arc::clone(&object));
            thread::spawn(move || {
                let found = shares.find(&SpinHost, HASH);
                if let Some(found) = found {
                    assert_eq!(object.get(), 1, "an object that has gone");
                    leave(&shares, found, &object);
                }
                found.is_some()
            })
        };
        leave(&shares, number, &object);
        finder.join().unwrap();
        assert_eq!(shares.counts(&SpinHost), (0, 0));
        assert_eq!(object.get(), 0);
    });
}
