//! Models of compaction against everything that meets it, on the shipped modules.
//!
//! As in `loom_pool`: every interleaving of up to two preemptions, payload bytes tracked, and for
//! each model a mutation in `xtask/mutations.toml` under which it fails.
//!
//! The common scene: slots of 1536 bytes, eight to three frames. Objects in slots 0, 1 and 2 take
//! two frames; when the one in slot 0 goes, moving the one in slot 2 there frees the second.
#![cfg(zs_loom)]

mod loom_support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use loom_support::{TestArena, handle_pool, validate};
use zsmalloc::{CompactBudget, CompactEnd, CompactReport, Error, Handle, HandlePool};

const LEN: usize = 1500;

type Pool = HandlePool<TestArena>;

fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 50_000;
    builder.check(scenario);
}

fn bytes(stamp: u8) -> Vec<u8> {
    vec![stamp; LEN]
}

/// Reads an object if it is still there: the bytes are all of one stamp.
fn read_stamp(pool: &Pool, handle: Handle) -> Option<u8> {
    let guard = pool.read(handle).ok()?;
    let mut buffer = vec![0; LEN];
    guard.copy_to(&mut buffer).expect("it fits");
    assert!(buffer.iter().all(|&byte| byte == buffer[0]), "torn");
    Some(buffer[0])
}

/// Objects stamped 1 and 2 in slots 1 and 2, and a hole in slot 0.
fn scene() -> (Arc<Pool>, [Handle; 2]) {
    let pool = handle_pool();
    let [hole, low, high] = [0, 1, 2].map(|stamp| pool.insert(&bytes(stamp)).expect("room"));
    pool.free(hole).expect("live");
    (Arc::new(pool), [low, high])
}

fn one_move(pool: &Pool) -> CompactReport {
    pool.compact(CompactBudget::objects(1))
}

/// Runs `other` beside one move.
fn beside_a_move<T: 'static>(
    pool: &Arc<Pool>,
    other: impl FnOnce(&Pool) -> T + 'static,
) -> (CompactReport, T) {
    let thread = {
        let pool = Arc::clone(pool);
        thread::spawn(move || other(&pool))
    };
    let report = one_move(pool);
    (report, thread.join().expect("no panic"))
}

/// A reader in the object that moves; its old slot is filled anew at once.
#[test]
fn pin_against_compact() {
    model(|| {
        let (pool, [low, high]) = scene();
        let reader = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || read_stamp(&pool, high))
        };
        let report = one_move(&pool);
        let filler = [pool.insert(&bytes(7)), pool.insert(&bytes(8))].map(|new| new.expect("room"));
        assert_eq!(reader.join().expect("no panic"), Some(2));
        assert!(
            report.objects_moved == 1 || report.objects_busy > 0,
            "{report:?}"
        );
        assert_eq!(read_stamp(&pool, low), Some(1));
        assert_eq!(read_stamp(&pool, high), Some(2));
        assert_eq!(
            filler.map(|handle| read_stamp(&pool, handle)),
            [Some(7), Some(8)]
        );
        validate(&pool);
    });
}

/// Row Z1: the object that moves is freed meanwhile; both of its slots are cleared, once.
#[test]
fn z1_free_against_compact() {
    model(|| {
        let (pool, [low, high]) = scene();
        let (_, freed) = beside_a_move(&pool, move |pool| pool.free(high));
        assert_eq!(freed, Ok(()));
        assert_eq!(pool.free(high), Err(Error::Stale));
        assert_eq!(read_stamp(&pool, low), Some(1));
        assert_eq!(pool.stats().objects, 1);
        validate(&pool);
    });
}

/// New contents for the object that moves: they are never the old ones again.
#[test]
fn replace_against_compact() {
    model(|| {
        let (pool, [_, high]) = scene();
        let (_, replaced) = beside_a_move(&pool, move |pool| pool.replace(high, &bytes(9)));
        assert_eq!(replaced.map(|_| ()), Ok(()), "a mover is waited for");
        assert_eq!(read_stamp(&pool, high), Some(9));
        assert_eq!(pool.stats().objects, 2);
        validate(&pool);
    });
}

/// An in-place write to the object that moves: it is not lost.
#[test]
fn write_against_compact() {
    model(|| {
        let (pool, [_, high]) = scene();
        let (_, written) = beside_a_move(&pool, move |pool| pool.write(high, 0, &bytes(9)));
        assert_eq!(written, Ok(()), "a mover is waited for");
        assert_eq!(read_stamp(&pool, high), Some(9));
        validate(&pool);
    });
}

/// An insert into the zspage that objects move to: never into the same slot.
#[test]
fn insert_against_compact() {
    model(|| {
        let (pool, [low, high]) = scene();
        let (_, new) = beside_a_move(&pool, |pool| pool.insert(&bytes(3)).expect("room"));
        let stamps = [low, high, new].map(|handle| read_stamp(&pool, handle));
        assert_eq!(stamps, [Some(1), Some(2), Some(3)]);
        assert_eq!(pool.stats().objects, 3);
        validate(&pool);
    });
}

/// The frame that compaction empties, and an insert that would use it.
#[test]
fn attach_against_compact() {
    model(|| {
        let (pool, [low, high]) = scene();
        let thread = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || [3, 4].map(|stamp| pool.insert(&bytes(stamp)).expect("room")))
        };
        pool.compact(CompactBudget::UNLIMITED);
        let [third, fourth] = thread.join().expect("no panic");
        let stamps = [low, high, third, fourth].map(|handle| read_stamp(&pool, handle));
        assert_eq!(stamps, [Some(1), Some(2), Some(3), Some(4)]);
        validate(&pool);
    });
}

/// Rows Z7 and Z11: of two compactors one works at a time, and what they report adds up.
#[test]
fn z11_two_compactors() {
    model(|| {
        let (pool, _) = scene();
        let frames = pool.stats().frames;
        let inside = Arc::new(AtomicBool::new(false));
        let compact = |pool: Arc<Pool>, inside: Arc<AtomicBool>| {
            move || {
                pool.compact_while(CompactBudget::objects(2), || {
                    assert!(!inside.swap(true, Ordering::AcqRel), "two at work");
                    inside.swap(false, Ordering::AcqRel);
                    true
                })
            }
        };
        let other = thread::spawn(compact(Arc::clone(&pool), Arc::clone(&inside)));
        let reports = [
            compact(Arc::clone(&pool), inside)(),
            other.join().expect("no panic"),
        ];
        let done = |report: &&CompactReport| report.end != CompactEnd::Elsewhere;
        assert!(reports.iter().any(|report| done(&report)));
        let last = pool.compact(CompactBudget::objects(0));
        assert_eq!(last.end, CompactEnd::Budget, "nobody is at work any more");
        let freed: u64 = reports.iter().map(|report| report.frames_freed).sum();
        assert_eq!(pool.stats().frames + freed, frames);
        validate(&pool);
    });
}

/// A freed object with a reader inside, who leaves while it would be moved.
#[test]
fn deferred_free_against_compact() {
    model(|| {
        let (pool, [low, high]) = scene();
        let reader = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || read_stamp(&pool, high))
        };
        let freer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.free(high))
        };
        one_move(&pool);
        assert_eq!(freer.join().expect("no panic"), Ok(()));
        assert!(matches!(reader.join().expect("no panic"), None | Some(2)));
        assert_eq!(read_stamp(&pool, low), Some(1));
        assert_eq!(pool.stats().objects, 1);
        validate(&pool);
    });
}

/// While moves are paused nothing moves; what was under way when the pause began is over.
#[test]
fn pause_against_compact() {
    model(|| {
        let (pool, [_, high]) = scene();
        let place = move |pool: &Pool| pool.read(high).expect("live").spans().first.as_ptr();
        beside_a_move(&pool, move |pool| {
            let _paused = pool.arena().pause_moves();
            let first = place(pool);
            thread::yield_now();
            assert_eq!(place(pool), first, "moved during the pause");
        });
        validate(&pool);
    });
}

/// The last page of words is closed while an insert wants a word of it.
#[test]
fn trim_against_insert_of_a_word() {
    model(|| {
        let pool = Arc::new(handle_pool());
        let old = pool.insert(&bytes(1)).expect("room");
        pool.free(old).expect("live");
        let trimmer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.trim())
        };
        let new = pool.insert(&bytes(2)).expect("room");
        trimmer.join().expect("no panic");
        assert_eq!(read_stamp(&pool, new), Some(2));
        assert_eq!(pool.read(old).err(), Some(Error::Stale));
        validate(&pool);
    });
}
