//! Reads of many objects: each is what a read by itself is, whatever the hints looked at.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::thread;
use zs_mm::PageSize;
use zs_model::{Numbers, SlotTable, TestArena, Words, World, pattern, scaled};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{
    ClientBits, CompactBudget, Error, Handle, HandlePool, MapMode, Pool, PoolOptions, WordIndex,
};

type Arena<'a> = &'a TestArena;

fn at_every_size(test: impl Fn(&HandlePool<Arena<'_>>, &HandlePool<Arena<'_>>, usize)) {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 16 << 20, 4096).expect("an arena");
        let [one, other] = ["one", "other"].map(|name| Pool::new(&arena, PoolOptions::named(name)));
        test(&one.expect("a pool"), &other.expect("a pool"), page.bytes());
    }
}

/// What a read gives: its bytes, or its error.
fn bytes(
    pool: &HandlePool<Arena<'_>>,
    handles: &[Handle],
    many: bool,
) -> Vec<Result<Vec<u8>, Error>> {
    let copied = |guard: zsmalloc::ReadGuard<'_, Arena<'_>, _>| {
        let spans = guard.spans();
        [spans.first, spans.second].concat()
    };
    if many {
        pool.read_many(handles)
            .map(|read| read.map(copied))
            .collect()
    } else {
        let one = |&handle| pool.read(handle).map(copied);
        handles.iter().map(one).collect()
    }
}

#[test]
fn many_reads_are_the_single_ones() {
    at_every_size(|pool, other, page| {
        let mut numbers = Numbers::new(7);
        let lens: Vec<usize> = (0..300).map(|_| 1 + numbers.below(page)).collect();
        let insert = |pool: &HandlePool<_>, n: usize, len: usize| {
            pool.insert(&pattern(n as u64, len)).expect("room")
        };
        let mut handles: Vec<Handle> = (0..300).map(|n| insert(pool, n, lens[n])).collect();
        // Freed ones, some of them with another object in their word; one of another pool; one that
        // is mapped.
        for n in (0..300).step_by(7) {
            pool.free(handles[n]).expect("live");
        }
        insert(pool, 1000, 100);
        handles.push(insert(other, 1, 100));
        let mapped = handles[1];
        let mut buffer = vec![0; page];
        let mapping = pool
            .map(mapped, MapMode::ReadWrite, &mut buffer)
            .expect("nobody inside");
        let (single, many) = (bytes(pool, &handles, false), bytes(pool, &handles, true));
        assert_eq!(single, many);
        drop(mapping);
        let errors = |due| many.iter().filter(|read| **read == Err(due)).count();
        assert_eq!((errors(Error::Stale), errors(Error::Busy)), (44, 1));
        assert!(
            (2..300)
                .filter(|n| n % 7 != 0)
                .all(|n| many[n] == Ok(pattern(n as u64, lens[n])))
        );
    });
}

#[test]
fn as_many_come_as_were_asked_for() {
    at_every_size(|pool, _, _| {
        let handle = pool.insert(b"bytes").expect("room");
        for count in [0, 1, 3, 4, 11, 12, 13] {
            let handles = vec![handle; count];
            let mut reads = pool.read_many(&handles);
            assert_eq!(reads.len(), count);
            assert_eq!(reads.by_ref().filter(|read| read.is_ok()).count(), count);
            assert_eq!(reads.len(), 0);
            assert!(reads.next().is_none() && reads.next().is_none());
        }
        // Guards that are kept are readers.
        let handles = vec![handle; 16];
        let guards: Vec<_> = pool.read_many(&handles).collect();
        let busy = guards.iter().filter(|guard| guard.is_err()).count();
        assert_eq!(busy, 1);
    });
}

/// No number makes the hints look where nothing is.
#[test]
fn numbers_that_are_no_handles_are_stale() {
    at_every_size(|pool, _, page| {
        let live = pool.insert(&pattern(1, page)).expect("room");
        let mut numbers = Numbers::new(3);
        let forged = |n: u64| match n % 3 {
            0 => Handle::from_bits(u64::MAX << (n % 64)),
            1 => Handle::from_bits(numbers.draw()),
            // Another generation of the live object's word.
            _ => Handle::from_bits(live.to_bits() ^ 1 << (32 + n % 32)),
        };
        let forged: Vec<Handle> = (0..600).filter_map(forged).collect();
        assert!(pool.read_many(&forged).all(|read| read.is_err()));
    });
}

#[test]
fn words_of_a_client_are_read_too() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 8 << 20, 4096).expect("an arena");
        let pool = SlotTable::pool(&arena, PoolOptions::named("words"), 64).expect("a pool");
        for index in (0..64).step_by(2).map(WordIndex::new) {
            let (empty, bytes) = (
                pool.client().get(index),
                pattern(index.number().into(), page.bytes()),
            );
            pool.store(index, empty, ClientBits::default(), &bytes)
                .expect("room");
        }
        // Beyond the end, too.
        let indices: Vec<WordIndex> = (0..80).map(WordIndex::new).collect();
        for (read, index) in pool.read_many(&indices).zip(0_u32..) {
            let read = read.map(|guard| guard.len());
            let due = if index < 64 && index % 2 == 0 {
                Ok(page.bytes())
            } else {
                Err(Error::Stale)
            };
            assert_eq!(read, due, "word {index}");
        }
    }
}

/// The hints look at words, records and entries that others change: objects move, go, and come in
/// their place.
#[test]
fn objects_move_and_go_under_the_hints() {
    const OBJECTS: usize = 600;
    let (arena, _) = World::arena(PageSize::K4, 16 << 20, 4096).expect("an arena");
    let pool = Pool::new(&arena, PoolOptions::named("moving")).expect("a pool");
    let len = |n: usize| 700 + n % 1500;
    let all: Vec<Handle> = (0..OBJECTS)
        .map(|n| pool.insert(&pattern(n as u64, len(n))).expect("room"))
        .collect();
    let (stale, moved, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..scaled(200) as usize {
                if let Some(&handle) = all[..OBJECTS / 2].get(round) {
                    pool.free(handle).expect("live");
                }
                let fill: Vec<Handle> = (0..50)
                    .map(|n| pool.insert(&pattern(1 << 20, 900 + 40 * n)).expect("room"))
                    .collect();
                fill.iter()
                    .for_each(|&handle| pool.free(handle).expect("live"));
                let report = pool.compact(CompactBudget::UNLIMITED);
                moved.fetch_add(report.objects_moved, Ordering::Relaxed);
                pool.trim();
            }
            done.store(1, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut buffer = vec![0; 4096];
                // Once more when all is done, so that what is gone is met for sure.
                let mut last = false;
                while !last {
                    last = done.load(Ordering::Acquire) != 0;
                    for (read, n) in pool.read_many(&all).zip(0..) {
                        match read.map(|guard| guard.copy_to(&mut buffer)) {
                            Ok(copied) => {
                                let expected = pattern(n as u64, len(n));
                                assert!(buffer[..copied.expect("room")] == expected, "object {n}");
                            }
                            Err(Error::Stale) => {
                                stale.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => assert_eq!(error, Error::Stale),
                        }
                    }
                }
            });
        }
    });
    let (stale, moved) = (stale.load(Ordering::Relaxed), moved.load(Ordering::Relaxed));
    assert!(stale > 0 && moved > 0, "{stale} stale, {moved} moved");
    pool.validate().expect("valid");
}
