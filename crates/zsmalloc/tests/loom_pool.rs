//! Models of the paths that meet on one word or one zspage, on the shipped modules.
//!
//! Loom runs every interleaving (up to `LOOM_MAX_PREEMPTIONS`, 2 in `cargo xtask loom`); payload
//! bytes are tracked cells, so an access that nothing orders is reported even where the bytes
//! happen to be right. Each model has a mutation in `xtask/mutations.toml` under which it fails.
#![cfg(zs_loom)]

mod loom_support;
#[path = "loom_support/words.rs"]
mod words;

use loom::sync::Arc;
use loom::thread;
use loom_support::{handle_pool, validate};
use words::{empty, word_pool};
use zsmalloc::{ClientBits, Error, Handle, HandlePool, WordIndex};

/// The one word.
const WORD: WordIndex = WordIndex::new(0);

const LEN: usize = 1500;

/// Runs a model. A whole page is 128 tracked cells, so one run has more steps than loom's default.
fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.check(scenario);
}

fn bytes(stamp: u8) -> Vec<u8> {
    vec![stamp; LEN]
}

/// Reads an object if it is still there: the bytes are all of one stamp.
fn read_stamp(pool: &HandlePool<loom_support::TestArena>, handle: Handle) -> Option<u8> {
    let guard = pool.read(handle).ok()?;
    let mut buffer = vec![0; LEN];
    guard.copy_to(&mut buffer).expect("it fits");
    assert!(buffer.iter().all(|&byte| byte == buffer[0]), "torn");
    Some(buffer[0])
}

/// A reader, and a free whose slot is filled anew at once: the reader sees the old bytes or is
/// refused, and the new object's copy waits for it.
#[test]
fn pin_against_free_and_reuse() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let old = pool.insert(&bytes(1)).expect("room");
        let reader = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || read_stamp(&pool, old))
        };
        pool.free(old).expect("live");
        let new = pool.insert(&bytes(2)).expect("room");
        assert_eq!(pool.free(old), Err(Error::Stale));
        assert!(matches!(reader.join().expect("no panic"), None | Some(1)));
        assert_eq!(read_stamp(&pool, new), Some(2));
        assert_eq!(pool.stats().objects, 1);
        validate(&pool);
    });
}

/// Two readers inside a freed object: exactly one of them finishes the free.
#[test]
fn the_last_of_two_readers_finishes_a_free() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let handle = pool.insert(&bytes(1)).expect("room");
        let reader = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || read_stamp(&pool, handle))
        };
        let guard = pool.read(handle).expect("live");
        pool.free(handle).expect("live");
        drop(guard);
        reader.join().expect("no panic");
        assert_eq!(pool.stats().objects, 0);
        assert_eq!(pool.read(handle).err(), Some(Error::Stale));
        validate(&pool);
    });
}

/// An insert and a free on one zspage.
#[test]
fn insert_against_free_on_one_zspage() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let kept = pool.insert(&bytes(1)).expect("room");
        let gone = pool.insert(&bytes(2)).expect("room");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.free(gone).expect("live"))
        };
        let new = pool.insert(&bytes(3)).expect("room");
        other.join().expect("no panic");
        assert_eq!(read_stamp(&pool, kept), Some(1));
        assert_eq!(read_stamp(&pool, new), Some(3));
        assert_eq!(pool.stats().objects, 2);
        validate(&pool);
    });
}

/// A store into a client's word, and a reader of that word: nothing, or the whole object.
#[test]
fn store_against_read_of_one_word() {
    model(|| {
        let pool = Arc::new(word_pool());
        let writer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.store(WORD, empty(), ClientBits::default(), &bytes(7)))
        };
        let mut buffer = vec![0; LEN];
        match pool.read_into(WORD, &mut buffer) {
            Ok(len) => assert_eq!((len, &buffer), (LEN, &bytes(7))),
            Err(error) => assert_eq!(error, Error::Stale),
        }
        writer.join().expect("no panic").expect("room");
        assert_eq!(pool.read_into(WORD, &mut buffer), Ok(LEN));
        validate(&pool);
    });
}

/// Two stores into one word: one wins, the other is refused and leaves nothing behind.
#[test]
fn two_stores_into_one_word() {
    model(|| {
        let pool = Arc::new(word_pool());
        let store = |stamp| {
            let pool = Arc::clone(&pool);
            move || pool.store(WORD, empty(), ClientBits::default(), &bytes(stamp))
        };
        let other = thread::spawn(store(1));
        let outcomes = [store(2)(), other.join().expect("no panic")];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let refused = outcomes.iter().find_map(|outcome| outcome.err());
        assert!(matches!(refused, Some(Error::Busy | Error::Occupied)));
        assert_eq!(pool.stats().objects, 1);
        validate(&pool);
    });
}

/// Detaching the frame of the last object that touches it, and an insert that needs one.
#[test]
fn attach_against_detach() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let page = vec![9; 4096];
        let first = pool.insert(&page).expect("room");
        let second = pool.insert(&page).expect("room");
        let third = pool.insert(&page).expect("room");
        // The class keeps this one's frame back, so the next free detaches.
        pool.free(third).expect("live");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.free(second).expect("live"))
        };
        let new = [
            pool.insert(&page).expect("room"),
            pool.insert(&page).expect("room"),
        ];
        other.join().expect("no panic");
        for handle in [first, new[0], new[1]] {
            assert_eq!(pool.read(handle).expect("live").spans().first, page);
        }
        validate(&pool);
    });
}

/// A slot whose frames go with it, and a slot that shares one of them.
#[test]
fn detach_against_insert_into_a_shared_frame() {
    model(|| {
        let pool = Arc::new(handle_pool());
        // Slots of 3072 bytes: the second spans frames 0 and 1, the third 1 and 2.
        let object = vec![5; 3072];
        let first = pool.insert(&object).expect("room");
        let second = pool.insert(&object).expect("room");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.free(second).expect("live"))
        };
        let new = pool.insert(&object).expect("room");
        other.join().expect("no panic");
        for handle in [first, new] {
            let mut buffer = [0; 3072];
            assert_eq!(pool.read_into(handle, &mut buffer), Ok(3072));
            assert_eq!(buffer[..], object);
        }
        validate(&pool);
    });
}

/// An in-place write and a reader: all of the write or nothing of it.
#[test]
fn write_against_read() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let handle = pool.insert(&bytes(1)).expect("room");
        let writer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.write(handle, 0, &bytes(2)))
        };
        assert!(matches!(read_stamp(&pool, handle), Some(1 | 2)));
        let written = writer.join().expect("no panic");
        assert!(matches!(written, Ok(()) | Err(Error::Busy)));
        let expected = if written.is_ok() { 2 } else { 1 };
        assert_eq!(read_stamp(&pool, handle), Some(expected));
        validate(&pool);
    });
}

/// A replace and a reader: old bytes or new ones, and the old slot is not reused under the reader.
#[test]
fn replace_against_read() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let handle = pool.insert(&bytes(1)).expect("room");
        let reader = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || read_stamp(&pool, handle))
        };
        let replaced = pool.replace(handle, &bytes(2));
        let filler = pool.insert(&bytes(3)).expect("room");
        assert!(matches!(reader.join().expect("no panic"), Some(1 | 2)));
        assert!(matches!(replaced, Ok(_) | Err(Error::Busy)));
        assert_eq!(
            read_stamp(&pool, handle),
            Some(if replaced.is_ok() { 2 } else { 1 })
        );
        assert_eq!(read_stamp(&pool, filler), Some(3));
        assert_eq!(pool.stats().objects, 2);
        validate(&pool);
    });
}

/// A replace and a free of one object: both slots are cleared, once.
#[test]
fn replace_against_free() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let handle = pool.insert(&bytes(1)).expect("room");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.free(handle))
        };
        let replaced = pool.replace(handle, &bytes(2));
        other
            .join()
            .expect("no panic")
            .expect("live, and freed once");
        assert!(matches!(replaced, Ok(_) | Err(Error::Stale)));
        assert_eq!(pool.stats().objects, 0);
        validate(&pool);
    });
}

/// A free waits for an in-place write, and then goes through.
#[test]
fn free_against_write() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let handle = pool.insert(&bytes(1)).expect("room");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.write(handle, 3, &[2; 5]))
        };
        pool.free(handle).expect("live");
        let written = other.join().expect("no panic");
        assert!(matches!(written, Ok(()) | Err(Error::Stale)));
        assert_eq!(pool.stats().objects, 0);
        validate(&pool);
    });
}

const fn flagged(flags: u8) -> ClientBits {
    ClientBits {
        flags,
        generation: 0,
    }
}

fn set_flag(pool: &zsmalloc::Pool<loom_support::TestArena, words::TwoWords>, flag: u8) -> bool {
    let change = |before: ClientBits| Some(flagged(before.flags | flag));
    pool.change_bits(WORD, change).expect("live").1
}

/// Two threads change different flags of one word: no change is lost.
#[test]
fn change_bits_against_change_bits() {
    model(|| {
        let pool = Arc::new(word_pool());
        pool.store(WORD, empty(), flagged(4), &bytes(1))
            .expect("room");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(set_flag(&pool, 1)))
        };
        assert!(set_flag(&pool, 2));
        other.join().expect("no panic");
        assert_eq!(pool.look_at(WORD).expect("a word").flags(), 7);
        validate(&pool);
    });
}

/// A flag is set while the object is replaced with bits of its own: the bits that come with the new
/// bytes are there with them.
#[test]
fn change_bits_against_replace() {
    model(|| {
        let pool = Arc::new(word_pool());
        pool.store(WORD, empty(), flagged(4), &bytes(1))
            .expect("room");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(set_flag(&pool, 1)))
        };
        let replaced = pool.replace_with_bits(WORD, flagged(8), &bytes(2));
        other.join().expect("no panic");
        let flags = pool.look_at(WORD).expect("a word").flags();
        let guard = pool.read(WORD).expect("live");
        let stamp = guard.spans().first[0];
        match replaced {
            // A flag that was set before the replace went with the old bytes.
            Ok(_) => assert!(stamp == 2 && flags & 12 == 8, "{stamp} {flags}"),
            Err(Error::Busy) => assert_eq!((stamp, flags), (1, 5)),
            Err(error) => unreachable!("{error}"),
        }
        drop(guard);
        validate(&pool);
    });
}

/// An object is overwritten in its place, with bits of its own, while it is read: the reader finds
/// the old bytes with the old bits, or the new ones with the new.
#[test]
fn write_with_bits_against_a_reader() {
    model(|| {
        let pool = Arc::new(word_pool());
        pool.store(WORD, empty(), flagged(4), &bytes(1))
            .expect("room");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let Ok(guard) = pool.read(WORD) else { return };
                // While it is pinned nobody writes, so that these bits are of these bytes.
                let flags = pool.look_at(WORD).expect("a word").flags();
                let stamp = guard.spans().first[0];
                assert!(matches!((stamp, flags), (1, 4) | (2, 8)), "{stamp} {flags}");
            })
        };
        let written = pool.write_with_bits(WORD, flagged(8), &bytes(2));
        assert!(matches!(written, Ok(()) | Err(Error::Busy)));
        other.join().expect("no panic");
        validate(&pool);
    });
}

/// A flag as a lock: who finds it clear sees what its last holder did.
#[test]
fn bits_publish() {
    model(|| {
        let pool = Arc::new(word_pool());
        let cell = Arc::new(loom::cell::UnsafeCell::new(0));
        let locked = ClientBits {
            flags: 1,
            generation: 0,
        };
        pool.store(WORD, empty(), locked, &bytes(1)).expect("room");
        let holder = {
            let (pool, cell) = (Arc::clone(&pool), Arc::clone(&cell));
            thread::spawn(move || {
                // SAFETY: the flag is this thread's.
                cell.with_mut(|value| unsafe { *value = 7 });
                let unlock = |_| Some(ClientBits::default());
                pool.change_bits(WORD, unlock).expect("live");
            })
        };
        let lock = |bits: ClientBits| (bits.flags == 0).then_some(locked);
        if pool.change_bits(WORD, lock).expect("live").1 {
            // SAFETY: the flag is this thread's.
            assert_eq!(cell.with(|value| unsafe { *value }), 7);
        }
        holder.join().expect("no panic");
        validate(&pool);
    });
}
