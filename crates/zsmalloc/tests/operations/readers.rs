//! Readers, mappings, and what waits for them.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::thread;
use zs_mm::PageSize;
use zs_model::{Signal, SlotTable, TestArena, Words, World, pattern};
use zsmalloc::{
    ClientBits, Error, HandlePool, HandleTable, MAX_READERS, MapMode, Mapping, Pool, PoolOptions,
    ReadGuard, State, WordIndex,
};

/// A word of a client's.
const WORD: WordIndex = WordIndex::new(2);

type Arena<'a> = &'a TestArena;

/// An arena and a pool at each page size.
fn at_every_size(test: impl Fn(&TestArena, &HandlePool<Arena<'_>>, usize)) {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 8 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("readers")).expect("a pool");
        test(&arena, &pool, page.bytes());
        pool.validate().expect("valid");
    }
}

#[test]
fn the_sixteenth_reader_is_refused_and_comes_in_when_one_leaves() {
    at_every_size(|_, pool, page| {
        let handle = pool.insert(&pattern(1, page / 3)).expect("room");
        let mut guards: Vec<_> = (0..MAX_READERS)
            .map(|_| pool.read(handle).expect("room for a reader"))
            .collect();
        assert_eq!(guards.len(), 15);
        for _ in 0..3 {
            assert_eq!(pool.read(handle).map(|_| ()), Err(Error::Busy));
            assert_eq!(
                pool.map(handle, MapMode::ReadOnly, &mut []).map(|_| ()),
                Err(Error::Busy)
            );
        }
        guards.pop();
        guards.push(pool.read(handle).expect("one has left"));
        assert_eq!(pool.for_each(|_, _| ()), 1, "skipped: it cannot be read");
        pool.free(handle).expect("readers do not keep a free away");
        for guard in &guards {
            assert_eq!(
                guard.contiguous(&mut vec![0; page]),
                Ok(&pattern(1, page / 3)[..])
            );
        }
        guards.drain(1..);
        assert_eq!(pool.stats().objects, 1);
        drop(guards);
        assert_eq!(pool.stats().objects, 0);
    });
}

#[test]
fn a_free_with_readers_inside_is_finished_by_the_last_of_them() {
    at_every_size(|arena, pool, page| {
        let handle = pool.insert(&pattern(5, page)).expect("room");
        pool.trim();
        let (held, metadata) = (arena.stats().held, pool.metadata());
        let (one, two) = (
            pool.read(handle).expect("live"),
            pool.read(handle).expect("live"),
        );
        pool.free(handle).expect("live");
        assert_eq!(pool.free(handle), Err(Error::Stale), "a second free");
        assert_eq!(pool.read(handle).map(|_| ()), Err(Error::Stale));
        assert_eq!(pool.replace(handle, &[1]), Err(Error::Stale));
        assert_eq!((pool.stats().objects, pool.stats().frames), (1, 1));
        pool.trim();
        assert_eq!(arena.stats().held, held);
        drop(one);
        assert_eq!(two.spans().first, pattern(5, page), "the bytes stay");
        assert_eq!(pool.stats().frames, 1);
        drop(two);
        assert_eq!(pool.stats().objects, 0);
        pool.trim();
        assert_eq!((pool.stats().frames, arena.frames_in_use()), (0, 0));
        // The pages of words and records went with the object.
        let tables = metadata.total() - pool.metadata().total();
        assert!(tables > 0);
        assert_eq!(arena.stats().held, held - page as u64 - tables);
    });
}

#[test]
fn a_reader_makes_replace_write_and_map_busy() {
    at_every_size(|_, pool, page| {
        let handle = pool.insert(&pattern(1, 40)).expect("room");
        let guard = pool.read(handle).expect("live");
        let mut buffer = vec![0; page];
        assert_eq!(pool.replace(handle, &[2]), Err(Error::Busy));
        assert_eq!(pool.write(handle, 0, &[2]), Err(Error::Busy));
        assert_eq!(
            pool.write(handle, 41, &[2]),
            Err(Error::Busy),
            "busy before too large"
        );
        for mode in [MapMode::ReadWrite, MapMode::WriteOnly] {
            assert_eq!(
                pool.map(handle, mode, &mut buffer).map(|_| ()),
                Err(Error::Busy)
            );
        }
        let view = pool
            .map(handle, MapMode::ReadOnly, &mut buffer)
            .expect("readers share");
        assert_eq!(*view, pattern(1, 40));
        drop((view, guard));
        pool.replace(handle, &[2]).expect("alone");
    });
}

#[test]
fn map_modes_do_what_they_say() {
    at_every_size(|_, pool, page| {
        let len = page / 2 + 1;
        let handle = pool.insert(&pattern(1, len)).expect("room");
        let mut buffer = vec![0xcc; page];
        let needed = Err(Error::BufferTooSmall { needed: len });
        for mode in [MapMode::ReadWrite, MapMode::WriteOnly] {
            let short = pool.map(handle, mode, &mut buffer[..len - 1]).map(|_| ());
            assert_eq!(short, needed);
            let mut mapping = pool.map(handle, mode, &mut buffer).expect("alone");
            assert_eq!(mapping.len(), len);
            match mode {
                MapMode::WriteOnly => assert!(mapping.iter().all(|&byte| byte == 0)),
                _ => assert_eq!(*mapping, pattern(1, len)),
            }
            mapping.bytes_mut().expect("writes")[0] = 77;
            assert_eq!(pool.read(handle).map(|_| ()), Err(Error::Busy));
            assert_eq!(pool.free(handle), Err(Error::Busy));
            assert_eq!(pool.replace(handle, &[1]), Err(Error::Busy));
            assert_eq!(pool.write(handle, 0, &[1]), Err(Error::Busy));
            assert_eq!(pool.for_each(|_, _| ()), 1, "skipped while mapped");
            mapping.unmap();
            assert_eq!(pool.read(handle).expect("live").spans().first[0], 77);
            pool.write(handle, 0, &pattern(1, 1)).expect("alone");
        }
        // The last map was write-only: all but the first byte is zero now.
        let mut copy = vec![1; len];
        assert_eq!(pool.read_into(handle, &mut copy), Ok(len));
        assert!(copy[1..].iter().all(|&byte| byte == 0));
        let mut view = pool
            .map(handle, MapMode::ReadOnly, &mut buffer)
            .expect("live");
        assert!(view.bytes_mut().is_none());
    });
}

/// `replace_wait` answers when the reader has left, not before, and not Busy.
#[test]
fn replace_wait_ends_when_another_threads_reader_leaves() {
    at_every_size(|_, pool, page| {
        let handle = pool.insert(&pattern(1, page)).expect("room");
        let (inside, leave) = (Signal::default(), Signal::default());
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let guard = pool.read(handle).expect("live");
                inside.raise();
                leave.wait();
                // The other thread is in `replace_wait`, or about to be.
                assert_eq!(guard.spans().first, pattern(1, page));
            });
            inside.wait();
            assert_eq!(pool.replace(handle, &[2; 7]), Err(Error::Busy));
            leave.raise();
            assert_eq!(pool.replace_wait(handle, &[2; 7]), Ok(page));
            reader.join().expect("no panic");
        });
        assert_eq!(pool.read(handle).expect("live").spans().first, [2; 7]);
    });
}

#[test]
fn a_guard_may_be_dropped_by_another_thread() {
    const fn is_send<T: Send>() {}
    const {
        is_send::<ReadGuard<'_, Arena<'_>, HandleTable>>();
        is_send::<Mapping<'_, '_, Arena<'_>, HandleTable>>();
        is_send::<HandlePool<TestArena>>();
    }
    at_every_size(|_, pool, page| {
        let handle = pool.insert(&pattern(3, page)).expect("room");
        let guard = pool.read(handle).expect("live");
        pool.free(handle).expect("live");
        thread::scope(|scope| {
            scope.spawn(move || {
                assert_eq!(guard.spans().first, pattern(3, page));
                drop(guard);
            });
        });
        assert_eq!(pool.stats().objects, 0);
    });
}

/// A store to a client's word whose old object has a reader waits for that reader.
#[test]
fn a_store_to_a_word_that_is_being_freed_waits_for_the_last_reader() {
    let (arena, _) = World::arena(PageSize::K4, 4 << 20, 4096).expect("an arena");
    let pool = SlotTable::pool(&arena, PoolOptions::named("words"), 4).expect("a pool");
    let bits = ClientBits {
        flags: 0x1f,
        generation: 9,
    };
    pool.store(WORD, pool.client().get(WORD), bits, &[1; 50])
        .expect("room");
    let guard = pool.read(WORD).expect("live");
    let gone = SlotTable::gone(&pool.layout(), pool.client().get(WORD));
    pool.free(WORD).expect("live");
    let leave = Signal::default();
    thread::scope(|scope| {
        let leave = &leave;
        let reader = scope.spawn(move || {
            leave.wait();
            assert_eq!(guard.spans().first, [1; 50]);
        });
        leave.raise();
        assert_eq!(pool.store(WORD, gone, bits, &[2; 60]), Ok(()));
        reader.join().expect("no panic");
    });
    assert_eq!(pool.read(WORD).expect("live").spans().first, [2; 60]);
    assert_eq!(pool.stats().objects, 1);
    pool.validate().expect("valid");
}

/// A client that looks while its word is being freed sees the old object's word: a store with that
/// is for what the word becomes, before the last reader has left and after.
#[test]
fn a_word_that_was_being_freed_when_it_was_seen_counts_as_empty() {
    let (arena, _) = World::arena(PageSize::K4, 4 << 20, 4096).expect("an arena");
    let pool = SlotTable::pool(&arena, PoolOptions::named("words"), 4).expect("a pool");
    let bits = ClientBits {
        flags: 0x15,
        generation: 3,
    };
    let fresh = pool.client().get(WORD);
    pool.store(WORD, fresh, bits, &[1; 50]).expect("room");
    let guard = pool.read(WORD).expect("live");
    pool.free(WORD).expect("live");
    let seen = pool.client().get(WORD);
    assert_eq!(seen.state(), State::Freeing);
    drop(guard);
    // Not for another that the word has held before.
    assert_eq!(pool.store(WORD, fresh, bits, &[2; 60]), Err(Error::Busy));
    assert_eq!(pool.store(WORD, seen, bits, &[2; 60]), Ok(()));
    assert_eq!(pool.read(WORD).expect("live").spans().first, [2; 60]);
    assert_eq!(pool.store(WORD, seen, bits, &[3; 60]), Err(Error::Occupied));
    pool.validate().expect("valid");
}

#[test]
fn only_the_bits_of_objects_are_the_clients() {
    let (arena, _) = World::arena(PageSize::K4, 4 << 20, 4096).expect("an arena");
    let pool = SlotTable::pool(&arena, PoolOptions::named("words"), 4).expect("a pool");
    let asked = std::cell::Cell::new(0);
    let change = |bits: ClientBits| {
        asked.set(asked.get() + 1);
        Some(ClientBits { flags: 7, ..bits })
    };
    assert_eq!(pool.change_bits(WORD, change), Err(Error::Stale));
    assert_eq!(asked.get(), 0, "asked about a word without an object");
    let bits = ClientBits {
        flags: 0x1f,
        generation: 9,
    };
    pool.store(WORD, pool.client().get(WORD), bits, &[1; 50])
        .expect("room");
    assert_eq!(pool.change_bits(WORD, change), Ok((bits, true)));
    assert_eq!(asked.get(), 1);
    pool.free(WORD).expect("live");
}
