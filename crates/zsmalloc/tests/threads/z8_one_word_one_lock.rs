//! Row Z8: no word has two locks. One word is read, written, replaced, mapped and freed by many
//! threads at once, each of which leaves the others' fields alone: no update is lost.

#![cfg(not(zs_loom))]
#![expect(clippy::panic, reason = "helpers of tests, which end the test")]

use std::thread;
use zs_mm::PageSize;
use zs_model::{Numbers, SlotTable, TestArena, Words, World, scaled};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{ClientBits, Error, MapMode, Pool, PoolOptions, State, WordIndex};

/// The one word.
const WORD: WordIndex = WordIndex::new(0);

type TestPool<'a> = Pool<&'a TestArena, SlotTable>;

const THREADS: u64 = 6;
/// Rounds, until the threads have met at the word.
const MOST_ROUNDS: usize = 20;
const BITS: ClientBits = ClientBits {
    flags: 0b10101,
    generation: 0x155,
};

/// What happened to the word, by all threads.
#[derive(Debug, Default)]
struct Counts {
    stored: AtomicU64,
    freed: AtomicU64,
    read: AtomicU64,
    changed: AtomicU64,
    busy: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn hammer(pool: &TestPool<'_>, seed: u64, counts: &Counts) {
    let mut numbers = Numbers::new(seed);
    let page = pool.geometry().page_size().bytes();
    let mut buffer = vec![0; page];
    for _ in 0..scaled(4000) {
        // Of one length, so that a write covers whatever object it meets; many lie in two frames.
        let bytes = vec![numbers.draw() as u8; page * 5 / 8];
        let outcome = match numbers.below(12) {
            0..=4 => pool.read(WORD).map(|guard| {
                let spans = guard.spans();
                let all = [spans.first, spans.second].concat();
                assert!(all.iter().all(|&byte| byte == all[0]), "torn bytes");
                let word = pool.client().get(WORD);
                assert_eq!(word.flags(), BITS.flags, "flags lost");
                add(&counts.read);
                if numbers.below(16) == 0 {
                    // Others meet the reader inside, on a machine with one CPU too.
                    thread::yield_now();
                }
            }),
            5 | 6 => pool.replace(WORD, &bytes).map(|_| add(&counts.changed)),
            7 => pool.write(WORD, 0, &bytes).map(|()| add(&counts.changed)),
            8 => fill_up(pool, &mut buffer, counts),
            9 => pool.free(WORD).map(|()| add(&counts.freed)),
            _ => {
                let empty = pool.client().get(WORD);
                let stored = pool.store(WORD, empty, BITS, &bytes);
                stored.map(|()| add(&counts.stored))
            }
        };
        match outcome {
            Ok(()) | Err(Error::Stale | Error::Occupied) => {}
            Err(Error::Busy) => add(&counts.busy),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A write-only mapping makes all bytes the same.
fn fill_up(pool: &TestPool<'_>, buffer: &mut [u8], counts: &Counts) -> Result<(), Error> {
    let mut mapping = pool.map(WORD, MapMode::WriteOnly, buffer)?;
    if let Some(bytes) = mapping.bytes_mut() {
        bytes.fill(0x5a);
    }
    add(&counts.changed);
    Ok(())
}

#[test]
fn z8_one_word_under_many_threads_loses_no_update() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 4 << 20, 4096).expect("an arena");
        let pool = SlotTable::pool(&arena, PoolOptions::named("word"), 1).expect("a pool");
        let counts = Counts::default();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for _ in 0..MOST_ROUNDS {
            thread::scope(|scope| {
                let (pool, counts) = (&pool, &counts);
                let hammers: Vec<_> = (0..THREADS)
                    .map(|seed| scope.spawn(move || hammer(pool, seed, counts)))
                    .collect();
                // By handle: ThreadSanitizer does not see the end of a scope.
                for hammer in hammers {
                    hammer.join().expect("no panic");
                }
            });
            if count(&counts.busy) > 0 {
                break;
            }
        }
        let live = u64::from(pool.client().get(WORD).state() == State::Live);
        assert_eq!(
            count(&counts.stored),
            count(&counts.freed) + live,
            "{counts:?}"
        );
        for counter in [&counts.freed, &counts.read, &counts.changed, &counts.busy] {
            assert!(count(counter) > 0, "{counts:?}");
        }
        pool.validate().expect("valid");
        if live == 1 {
            assert_eq!(
                pool.client().get(WORD).bits() & 0x1f0,
                0,
                "readers and mover are out"
            );
            pool.free(WORD).expect("alone");
        }
        pool.trim();
        assert_eq!((pool.stats().objects, pool.stats().frames), (0, 0));
    }
}
