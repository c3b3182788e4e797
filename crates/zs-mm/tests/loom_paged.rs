//! Models of a table's pages that are opened and closed: no thread works in a page without memory.
//!
//! The memory of the pages is a tracked cell each, which a commit fills and a decommit empties: an
//! access that neither is ordered with is reported.
#![cfg(zs_loom)]

use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};
use zs_mm::{Arena, ArenaOptions, Error, MetaTable, PagedTable, TablePage, Transit};
use zs_os::testing::{HeapBacking, Recorded, WatchedBacking, Watcher};
use zs_sync::{AtomicU32, Guarded64, SpinHost};

/// Metadata is committed by 64 bytes.
const GRANULE: usize = 64;
/// Cells of a page: two granules, so that a commit of a page differs from one of states.
const PAGE_CELLS: usize = 2 * GRANULE / size_of::<u64>();

/// Which of two pages have memory.
#[derive(Debug, Default)]
struct Memory {
    /// The address of the first page: of the region of two pages that was reserved last.
    first: AtomicUsize,
    pages: [Guarded64; 2],
}

impl Watcher for Memory {
    fn done(&self, call: Recorded) {
        let (place, filled) = match call {
            Recorded::Commit { place, len, .. } if len == 2 * GRANULE => (place, 1),
            Recorded::Decommit { place, len, .. } if len == 2 * GRANULE => (place, 0),
            Recorded::Reserve { place, len, .. } if len == 4 * GRANULE => {
                return self.first.store(place, Ordering::SeqCst);
            }
            _ => return,
        };
        let first = self.first.load(Ordering::SeqCst);
        self.pages[(place - first) / (2 * GRANULE)].set(filled);
    }
}

type TestArena = Arena<WatchedBacking<HeapBacking, Memory>>;
type States = PagedTable<AtomicU32, MetaTable<AtomicU32>>;

/// A table of two pages, whose states lie in a page of their own.
struct Scene {
    arena: TestArena,
    table: PagedTable<zs_sync::AtomicU64, States>,
}

impl Scene {
    fn new() -> Self {
        static HOST: SpinHost = SpinHost;
        let backing = WatchedBacking::watched(HeapBacking::new(GRANULE), Memory::default());
        let arena = Arena::new(backing, &HOST, ArenaOptions::new(128 << 10)).expect("an arena");
        let outer = arena.reserve_table(1).expect("a table");
        let states = PagedTable::new(&arena, 2, 2, outer).expect("a table");
        let table = PagedTable::new(&arena, 2 * PAGE_CELLS, PAGE_CELLS, states).expect("a table");
        Self { arena, table }
    }

    fn memory(&self, page: TablePage) -> u64 {
        self.arena.backing().watcher().pages[page.index()].get()
    }

    /// Opens a page, looks at its memory, and leaves it.
    fn work(&self, page: TablePage) {
        self.table.enter(&self.arena, page).expect("room");
        assert_eq!(self.memory(page), 1, "a page without memory was entered");
        self.table.leave(page, 1);
    }
}

const FIRST: TablePage = TablePage::new(0);
const SECOND: TablePage = TablePage::new(1);

/// Runs a model. An arena has many cells, so one run has more steps than loom's default.
fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 50_000;
    builder.check(scenario);
}

/// Two threads enter a page, and a third closes it: it has memory while a thread is in it.
#[test]
fn a_page_is_closed_beside_two_that_enter() {
    model(|| {
        let scene = Arc::new(Scene::new());
        let other = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.work(FIRST))
        };
        let closer = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.table.close_if_empty(&scene.arena, FIRST))
        };
        scene.work(FIRST);
        other.join().unwrap();
        closer.join().unwrap();
        assert_eq!(scene.table.holds(FIRST), 0);
    });
}

/// A page is held while the table is trimmed, and the other page goes: the page of states stays,
/// and goes with the last.
#[test]
fn a_table_is_trimmed_beside_a_hold() {
    model(|| {
        let scene = Arc::new(Scene::new());
        scene.work(SECOND);
        let trimmer = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.table.trim(&scene.arena))
        };
        scene.table.enter(&scene.arena, FIRST).expect("room");
        trimmer.join().unwrap();
        assert_eq!(scene.memory(FIRST), 1);
        scene.table.trim(&scene.arena);
        assert!(!scene.table.is_open(SECOND), "nobody holds it");
        assert_eq!(scene.table.states().holds(FIRST), 1, "one page is open");
        scene.table.leave(FIRST, 1);
        scene.table.trim(&scene.arena);
        assert!(!scene.table.states().is_open(FIRST));
    });
}

/// A page is closed while another thread wants to be in it unless it is closed.
#[test]
fn a_page_is_closed_beside_one_that_enters_if_it_is_open() {
    model(|| {
        let scene = Arc::new(Scene::new());
        scene.work(FIRST);
        let closer = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.table.close_if_empty(&scene.arena, FIRST))
        };
        if scene.table.enter_if_open(scene.arena.host(), FIRST) {
            assert_eq!(scene.memory(FIRST), 1, "a page without memory was entered");
            scene.table.leave(FIRST, 1);
        }
        closer.join().unwrap();
        assert!(
            scene
                .table
                .next_open(FIRST, SECOND)
                .is_none_or(|page| page == FIRST)
        );
    });
}

/// One place, which two threads take in hand and give back; a third takes it for good.
#[derive(Default)]
struct Room {
    transit: Transit,
    is_there: Mutex<bool>,
}

impl Room {
    /// Takes the place in hand, if it is there, and gives it back.
    fn travel(&self) {
        let _way = self.transit.depart();
        let taken = std::mem::take(&mut *self.is_there.lock().unwrap());
        if taken {
            thread::yield_now();
            *self.is_there.lock().unwrap() = true;
        }
    }

    /// Takes the place for good. There is no memory for another.
    fn take(&self) -> Result<(), Error> {
        let take = || match std::mem::take(&mut *self.is_there.lock().unwrap()) {
            true => Ok(()),
            false => Err(FIRST),
        };
        self.transit
            .take_or_open(&SpinHost, take, |_| Err(Error::NoMemory))
    }
}

/// A thread has the only place in hand, and ways begin and end that have nothing: the thread that
/// wants the place waits for the former, and gets it.
#[test]
fn ways_are_waited_for_beside_others_that_end() {
    model(|| {
        let room = Arc::new(Room::default());
        *room.is_there.lock().unwrap() = true;
        let traveller = {
            let room = Arc::clone(&room);
            thread::spawn(move || room.travel())
        };
        let idle = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                drop(room.transit.depart());
                drop(room.transit.depart());
            })
        };
        // The second look may meet the traveller's second part only if it did not wait for it.
        assert_eq!(room.take(), Ok(()), "the only place was under way");
        traveller.join().unwrap();
        idle.join().unwrap();
    });
}

/// A thread without room waits for a way, and finds what was done on it, by the way alone.
#[test]
fn ways_publish_what_was_done() {
    model(|| {
        let scene = Arc::new((Transit::default(), Guarded64::default()));
        let began = Arc::new(Mutex::new(false));
        let other = {
            let (scene, began) = (Arc::clone(&scene), Arc::clone(&began));
            thread::spawn(move || {
                let way = scene.0.depart();
                *began.lock().unwrap() = true;
                scene.1.set(1);
                drop(way);
            })
        };
        let has_begun = *began.lock().unwrap();
        if has_begun {
            let waited =
                scene
                    .0
                    .take_or_open::<()>(&SpinHost, || Err(FIRST), |_| Err(Error::NoMemory));
            assert_eq!(waited, Err(Error::NoMemory));
            assert_eq!(scene.1.get(), 1, "the way was waited for");
        }
        other.join().unwrap();
    });
}
