//! What only somebody inside the crate can arrange: a reader that stays inside, a lock that is
//! held.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::block::content::{Content, Form};
use crate::ids::BlockIndex;
use crate::store::Store;
use crate::store::lock::Coded;
use crate::store::options::StoreOptions;
use std::thread::{scope, yield_now};
use zs_os::testing::HeapBacking;

const BLOCK: usize = 4096;

fn store(blocks: u64) -> Store<HeapBacking> {
    let mut options = StoreOptions::new(blocks * BLOCK as u64);
    options.max_size = Some(256 * BLOCK as u64);
    options.limit = Some(16 << 20);
    Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options).expect("a store")
}

fn bytes(stamp: u8) -> Vec<u8> {
    (0..BLOCK).map(|at| stamp ^ (at / 32) as u8).collect()
}

fn at(block: u32) -> BlockIndex {
    BlockIndex::new(block)
}

fn read(store: &Store<HeapBacking>, block: u32) -> Vec<u8> {
    let mut out = vec![0xaa; BLOCK];
    let at = u64::from(block) * BLOCK as u64;
    store.read(at, &mut out).expect("readable");
    out
}

fn write(store: &Store<HeapBacking>, block: u32, bytes: &[u8]) {
    let at = u64::from(block) * BLOCK as u64;
    store.write(at, bytes).expect("room");
}

fn discard(store: &Store<HeapBacking>, block: u32) {
    let at = u64::from(block) * BLOCK as u64;
    store.discard(at, BLOCK as u64).expect("in range");
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        yield_now();
    }
}

/// Threads sleep until the block, or one that shares its bucket, is unlocked.
fn wait_for_sleepers(store: &Store<HeapBacking>, block: u32, count: u32) {
    wait_until(|| store.waiters.sleepers(at(block)) >= count);
}

/// Readers that come after a writer has met one wait for it: else it would never end while anybody
/// reads.
#[test]
fn r3_overwritten_with_a_reader_inside() {
    let store = store(8);
    write(&store, 3, &bytes(1));
    let inside = store.read_pinned(at(3).word()).expect("an object");
    let before = inside.spans().first.to_vec();
    scope(|scope| {
        let writer = scope.spawn(|| write(&store, 3, &bytes(2)));
        wait_until(|| matches!(store.content(at(3)).0, Content::Object(mark) if mark.wanted));
        let reader = scope.spawn(|| read(&store, 3));
        wait_for_sleepers(&store, 3, 1);
        assert!(inside.spans().first == before && !writer.is_finished());
        drop(inside);
        writer.join().expect("no panic");
        assert!(reader.join().expect("no panic") == bytes(2));
    });
    assert_eq!(store.validate(), Ok(()));
}

#[test]
fn r3_discarded_with_a_reader_inside() {
    let store = store(8);
    write(&store, 3, &bytes(1));
    let inside = store.read_pinned(at(3).word()).expect("an object");
    let before = inside.spans().first.to_vec();
    scope(|scope| {
        let discard = scope.spawn(|| discard(&store, 3));
        wait_until(|| store.content(at(3)).0 == Content::Between);
        let reader = scope.spawn(|| read(&store, 3));
        wait_for_sleepers(&store, 3, 1);
        assert!(inside.spans().first == before && !discard.is_finished());
        drop(inside);
        discard.join().expect("no panic");
        assert!(reader.join().expect("no panic") == vec![0; BLOCK]);
    });
    assert_eq!(store.stats().compr_bytes, 0);
    assert_eq!(store.validate(), Ok(()));
}

/// A discard of the last block, which is shown in part, waits for its lock; meanwhile the block is
/// shown as a whole, and written: what was not shown when the discard came stays.
#[test]
fn a_discard_spares_what_a_resize_shows() {
    let store = store(8);
    store.resize(8 * BLOCK as u64 + 1024).expect("larger");
    store.write(8 * BLOCK as u64, &[7; 1024]).expect("room");
    let plain: Vec<u8> = bytes(5);
    scope(|scope| {
        let lock = store.lock(at(8)).expect("room");
        let discard = scope.spawn(|| store.discard(8 * BLOCK as u64, 1024));
        wait_for_sleepers(&store, 8, 1);
        store.resize(9 * BLOCK as u64).expect("larger");
        store
            .put(&lock, at(8), Coded::Object(Form::Raw, &plain))
            .expect("room");
        drop(lock);
        discard.join().expect("no panic").expect("in range");
    });
    let out = read(&store, 8);
    assert!(out[..1024] == [0; 1024] && out[1024..] == plain[1024..]);
    assert_eq!(store.validate(), Ok(()));
}

/// A discard that meets a held lock, and one with a reader inside: the memory comes back.
#[test]
fn r24_memory_falls_after_a_discard_that_had_to_wait() {
    let store = store(200);
    let empty = store.stats().mem_used;
    for block in 0..200 {
        write(&store, block, &bytes(block as u8));
    }
    let full = store.stats().mem_used;
    scope(|scope| {
        let lock = store.lock(at(7)).expect("room");
        let inside = store.read_pinned(at(8).word()).expect("an object");
        let first = scope.spawn(|| discard(&store, 7));
        let second = scope.spawn(|| discard(&store, 8));
        wait_for_sleepers(&store, 7, 1);
        wait_until(|| store.content(at(8)).0 == Content::Between);
        drop((lock, inside));
        first.join().expect("no panic");
        second.join().expect("no panic");
    });
    store.discard(0, store.size()).expect("in range");
    store.trim();
    let stats = store.stats();
    assert_eq!((stats.compr_bytes, stats.orig_bytes), (0, 0));
    assert!(stats.mem_used < full && stats.mem_used <= empty + (64 << 10));
    assert_eq!(store.validate(), Ok(()));
}

/// One block is locked, and threads sleep until it is not: requests for others are answered, also
/// for those that share its bucket, and wake nobody for good.
#[test]
fn r26_others_go_on_while_a_block_is_locked() {
    let store = store(256);
    scope(|scope| {
        let lock = store.lock(at(5)).expect("room");
        let store = &store;
        let waiting: Vec<_> = (1..4)
            .map(|stamp| scope.spawn(move || write(store, 5, &bytes(stamp))))
            .collect();
        wait_for_sleepers(store, 5, 3);
        let others = scope.spawn(move || {
            for block in (0..256).filter(|block| *block != 5) {
                write(store, block, &bytes(1));
                write(store, block, &bytes(2));
                assert!(read(store, block) == bytes(2));
                discard(store, block);
            }
        });
        others.join().expect("no panic");
        assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
        assert_eq!(lock.content(), Content::Hole);
        drop(lock);
        for waiter in waiting {
            waiter.join().expect("no panic");
        }
    });
    assert!((1..4).any(|stamp| read(&store, 5) == bytes(stamp)));
    assert_eq!(store.stats().orig_bytes, BLOCK as u64);
    assert_eq!(store.validate(), Ok(()));
}

/// Everything that is all zeros after a part of it was zeroed is what was asked for.
#[test]
fn parts_that_are_zeroed() {
    use crate::ways::zero::Zeroes::{Allocated, Hole};
    let store = store(8);
    let zeros = |zeroes| match zeroes {
        Hole => Content::Hole,
        Allocated => Content::Same(0),
    };
    for before in [Hole, Allocated] {
        for zeroes in [Hole, Allocated] {
            store.write_zeroes(0, BLOCK as u64, before).expect("room");
            store.write_zeroes(512, 512, zeroes).expect("room");
            assert_eq!(store.content(at(0)), (zeros(zeroes), false), "{before:?}");
            store.write(512, &[1; 512]).expect("room");
            store.write_zeroes(500, 600, zeroes).expect("room");
            assert_eq!(store.content(at(0)), (zeros(zeroes), false));
        }
    }
    assert_eq!(store.validate(), Ok(()));
}

/// A pattern of 32 bits, twice, needs no object, whatever its highest byte.
#[test]
fn patterns_of_32_bits_need_no_object() {
    let store = store(8);
    for pattern in [u64::MAX, 0xff00_00aa_ff00_00aa, 0x8000_0000_8000_0000, 77] {
        let block: Vec<u8> = pattern.to_ne_bytes().repeat(BLOCK / 8);
        write(&store, 1, &block);
        assert_eq!(store.content(at(1)).0, Content::Same(pattern));
        assert!(read(&store, 1) == block && store.stats().compr_bytes == 0);
    }
    write(&store, 1, &(u64::MAX - 1).to_ne_bytes().repeat(BLOCK / 8));
    let stats = store.stats();
    assert_eq!((stats.compr_bytes, stats.same_blocks), (8, 1));
    assert_eq!(store.validate(), Ok(()));
}

/// A word that changes under its lock is an error, and the block stays as it was.
#[test]
fn a_locked_block_that_is_on_its_way_is_an_error() {
    let store = store(8);
    let (mut out, mut joined) = (vec![0; BLOCK], vec![0; BLOCK]);
    let outcome = store.read_locked(at(3), Content::Between, &mut out, &mut joined);
    assert!(matches!(
        outcome,
        Err(crate::Error::Corrupt { block: 3, .. })
    ));
}

/// What is written into an object that is longer: read, loaded from a snapshot, written back in
/// both forms, recompressed, zeroed again, it is what it was.
#[test]
fn padded_objects_are_what_they_were() {
    use crate::backing::file::BackingFile;
    use crate::codecs::scratch::{Scratch, with_scratch};
    use crate::passes::writeback::{RecordForm, WritebackRequest};
    use crate::{BlockFilter, Recompress, SnapshotOptions};
    let store = store(8);
    let zstd = "zstd:3".parse().expect("an algorithm");
    store.set_secondary(1, zstd, None).expect("set once");
    let backing = BackingFile::temporary(&std::env::temp_dir(), 1 << 20);
    store
        .set_backing(backing.expect("a file"))
        .expect("the first");
    let mut random = fastrand::Rng::with_seed(9);
    let raw: Vec<u8> = (0..BLOCK).map(|_| random.u8(..)).collect();
    let text = |stamp| -> Vec<u8> {
        let words = (0..BLOCK).map(|at| if at % 3 == 0 { raw[at] } else { stamp });
        words.collect()
    };
    let befores = [raw.clone(), text(1), text(2), text(3)];
    let mut model = befores.clone();
    for (block, bytes) in (0..).zip(&befores) {
        write(&store, block, bytes);
    }
    let wanted = Recompress {
        priority: 1,
        which: BlockFilter::All,
        threshold: 0,
        max_blocks: Some(1),
    };
    assert_eq!(store.recompress(&wanted).expect("alone").tried, 1);
    for from in [4000, 2000, 100] {
        for (block, bytes) in (0..).zip(&mut model) {
            bytes[from..].fill(0);
            let lock = store.lock(at(block)).expect("open");
            with_scratch(BLOCK, |scratch: &mut Scratch| {
                scratch.block.copy_from_slice(bytes);
                store.put_in_place(&lock, at(block), scratch)
            })
            .expect("shorter");
            drop(lock);
            let Content::Object(mark) = store.content(at(block)).0 else {
                unreachable!("it stays an object");
            };
            assert_eq!(mark.form == Form::Padded, bytes[..50] != raw[..50]);
            assert!(read(&store, block) == *bytes, "block {block} from {from}");
        }
        assert_eq!(store.validate(), Ok(()));
    }
    let mut file = Vec::new();
    store.snapshot(&mut file).expect("memory");
    let options = SnapshotOptions::default();
    let loaded =
        Store::load_with_backing(HeapBacking::new(4096), &zs_os::HOST, &file[..], &options)
            .expect("a snapshot");
    for form in [RecordForm::Compressed, RecordForm::Raw] {
        let request = WritebackRequest {
            max_blocks: 2,
            form,
            ..WritebackRequest::new(BlockFilter::All)
        };
        assert_eq!(store.writeback(&request).expect("alone").blocks, 2);
    }
    let mut again = Vec::new();
    store.snapshot(&mut again).expect("memory");
    for (block, bytes) in (0..).zip(&model) {
        assert!(read(&store, block) == *bytes && read(&loaded, block) == *bytes);
    }
    assert!(again.len() >= file.len());
    assert_eq!(store.validate(), Ok(()));
    store.discard(0, store.size()).expect("in range");
    assert_eq!(store.stats().compr_bytes, 0);
}
