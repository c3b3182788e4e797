//! An insert while `trim` takes the last table page back: what it does in the middle of that.
//!
//! The backing begins to take the page's memory when the insert may begin, and does it when the
//! insert has ended, or waits for the page: no order of the threads misses the window.

#![cfg(not(any(zs_loom, zs_schedule)))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::sync::Arc;
use std::thread;
use zs_mm::{Arena, ArenaOptions, RegionKind};
use zs_model::{Signal, pattern};
use zs_os::testing::{Call, HeapBacking, Recorded, TestHost, WatchedBacking, Watcher};
use zs_sync::{AtomicU32, Ordering};
use zsmalloc::{Error, HandlePool, PoolOptions};

/// The time in which a page is on its way.
#[derive(Debug, Default)]
struct Window {
    open: Signal,
    inserted: Signal,
    shut: Signal,
}

/// Holds one decommit of a table for as long as an insert beside it takes or waits.
#[derive(Debug)]
struct Holder {
    host: &'static TestHost,
    window: Arc<Window>,
    /// Decommits of tables that go through before that one.
    before: AtomicU32,
}

impl Watcher for Holder {
    fn fails(&self, call: Call, kind: RegionKind) -> bool {
        let is_table = call == Call::Decommit && kind == RegionKind::Table;
        // Relaxed: one thread trims.
        if is_table && self.before.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.window.open.raise();
            while self.host.yields() == 0 && !self.window.inserted.is_raised() {
                thread::yield_now();
            }
        }
        false
    }

    fn done(&self, call: Recorded) {
        let kind = RegionKind::Table;
        let is_table = matches!(call, Recorded::Decommit { kind: found, .. } if found == kind);
        if is_table && self.window.open.is_raised() {
            self.window.shut.raise();
        }
    }
}

/// The table whose page is on its way. Trim gives pages of records back before those of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    Records,
    Words,
}

/// Inserts into an empty pool of at most `objects` objects while the only page of a table is on its
/// way; returns whether the insert ended before the page had gone.
fn inserted_meanwhile(going: Going, objects: u32) -> bool {
    let (window, host) = (Arc::new(Window::default()), TestHost::leak(0));
    let holder = Holder {
        host,
        window: Arc::clone(&window),
        before: AtomicU32::new(u32::from(going == Going::Words)),
    };
    let backing = WatchedBacking::watched(HeapBacking::new(4096), holder);
    let arena = Arena::new(backing, host, ArenaOptions::new(8 << 20)).expect("an arena");
    let options = PoolOptions {
        max_objects: Some(objects),
        ..PoolOptions::named("beside")
    };
    let pool = HandlePool::new(&arena, options).expect("a pool");
    let old = pool.insert(&pattern(1, 900)).expect("room");
    pool.free(old).expect("live");
    let full = pool.metadata();

    let (new, meanwhile, now) = thread::scope(|scope| {
        let trimmer = scope.spawn(|| pool.trim());
        while !window.open.is_raised() {
            assert!(!trimmer.is_finished(), "no page of {going:?} went");
            thread::yield_now();
        }
        let now = pool.metadata();
        let new = pool.insert(&pattern(2, 900));
        let meanwhile = !window.shut.is_raised();
        window.inserted.raise();
        assert!(trimmer.join().expect("no panic") > 0);
        (new, meanwhile, now)
    });
    assert_eq!(now.words, full.words, "words go last");
    assert_eq!(now.records < full.records, going == Going::Words);
    let new = new.expect("there is room for an object");
    let guard = pool.read(new).expect("live");
    assert_eq!(guard.spans().first, pattern(2, 900));
    assert_eq!(pool.read(old).err(), Some(Error::Stale));
    drop(guard);
    assert_eq!(pool.stats().objects, 1);
    zs_model::sound(&arena, std::slice::from_ref(&pool)).expect("sound");
    pool.free(new).expect("live");
    pool.destroy().expect("empty");
    assert_eq!(arena.frames_in_use(), 0);
    assert_eq!(
        host.yields() > 0,
        !meanwhile,
        "whoever waits lets others run"
    );
    meanwhile
}

#[test]
fn an_insert_waits_for_the_only_page_of_words() {
    assert!(!inserted_meanwhile(Going::Words, 100));
}

#[test]
fn an_insert_opens_the_next_page_of_words() {
    assert!(inserted_meanwhile(Going::Words, 2000));
}

#[test]
fn an_insert_opens_the_next_page_of_records() {
    assert!(inserted_meanwhile(Going::Records, 2000));
}
