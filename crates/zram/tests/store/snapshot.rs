//! Stores that go to a file and come back: beside changes, damaged, made up, larger than the limit.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::file::{TestFile, with_file, write_back};
use crate::common::{BLOCK, Fill, bare, store, text, write};
use std::io::{self, Write};
use std::time::Duration;
use zram::*;
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking, TestHost};

fn small() -> SnapshotOptions {
    let mut options = SnapshotOptions::default();
    options.limit = Some(8 << 20);
    options.max_size = Some(1 << 20);
    options
}

fn load(file: &[u8], options: &SnapshotOptions) -> Result<Store<HeapBacking>, Error> {
    Store::load_with_backing(HeapBacking::new(4096), &zs_os::HOST, file, options)
}

fn saved(store: &Store<HeapBacking>) -> Vec<u8> {
    let mut file = Vec::new();
    store.snapshot(&mut file).expect("memory holds it");
    file
}

fn whole(store: &Store<HeapBacking>) -> Vec<u8> {
    let mut out = vec![0; store.size() as usize];
    store.read(0, &mut out).expect("readable");
    out
}

fn recompress(store: &Store<HeapBacking>, priority: u8) -> RecompressReport {
    let wanted = Recompress {
        priority,
        which: BlockFilter::All,
        threshold: 0,
        max_blocks: None,
    };
    store.recompress(&wanted).expect("alone")
}

/// A file whose first write, that of the header, is the moment for something else.
struct Meanwhile<F>(Vec<u8>, Option<F>);

impl<F: FnOnce()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(other) = self.1.take() {
            other();
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The store grows behind the header, and its last block gets bytes that the header does not show.
#[test]
fn during_a_resize() {
    let store = bare();
    let size = store.size();
    assert_ne!(size % BLOCK as u64, 0);
    for index in 0..4 {
        write(&store, index, &text(index));
    }
    let last = size / BLOCK as u64;
    store
        .write(last * BLOCK as u64, &text(50)[..100])
        .expect("room");
    let before = whole(&store);
    let mut file = Meanwhile(
        Vec::new(),
        Some(|| {
            store.resize(size + 5 * BLOCK as u64).expect("larger");
            store
                .write(last * BLOCK as u64 + 100, &text(51)[100..])
                .expect("room");
            write(&store, last + 2, &text(9));
        }),
    );
    store.snapshot(&mut file).expect("memory holds it");
    let copy = load(&file.0, &small()).expect("a snapshot");
    assert_eq!(copy.size(), size);
    // Of the last block the part that was shown.
    assert!(whole(&copy)[..last as usize * BLOCK + 100] == before[..last as usize * BLOCK + 100]);
    copy.resize(size + 5 * BLOCK as u64).expect("larger");
    assert!(
        whole(&copy)[size as usize..].iter().all(|byte| *byte == 0),
        "nothing was behind the end"
    );
    assert_eq!(copy.validate(), Ok(()));
}

/// An algorithm is set, and used, behind the header.
#[test]
fn during_a_change_of_algorithms() {
    let store = bare();
    for index in 0..6 {
        write(&store, index, &text(index));
    }
    let before = whole(&store);
    let mut file = Meanwhile(
        Vec::new(),
        Some(|| {
            store
                .set_secondary(2, "zstd:9".parse().expect("an algorithm"), None)
                .expect("set once");
            assert_eq!(recompress(&store, 2).smaller, 6);
        }),
    );
    store.snapshot(&mut file).expect("memory holds it");
    let copy = load(&file.0, &small()).expect("a snapshot");
    assert!(whole(&copy) == before);
    assert_eq!(copy.algorithms().count(), 1);
    assert_eq!(copy.validate(), Ok(()));
}

/// Blocks of every form: patterns, raw, by the primary and a secondary algorithm, written back.
fn mixed() -> Store<HeapBacking> {
    let store = with_file(&TestFile::new());
    store
        .set_secondary(1, "zstd:3".parse().expect("an algorithm"), None)
        .expect("set once");
    let small = |seed: u64| {
        let mut bytes = vec![seed as u8; BLOCK];
        bytes[100..108].copy_from_slice(&seed.to_le_bytes());
        bytes
    };
    write(&store, 0, &text(0));
    assert_eq!(recompress(&store, 1).smaller, 1);
    write(&store, 1, &small(1));
    assert_eq!(write_back(&store).blocks, 2);
    write(&store, 2, &small(2));
    write(&store, 3, &[0; BLOCK]);
    write(&store, 4, &u64::MAX.to_le_bytes().repeat(BLOCK / 8));
    write(
        &store,
        5,
        &0x0102_0304_0506_0708_u64.to_le_bytes().repeat(BLOCK / 8),
    );
    store
}

/// Cut at every byte, with every bit of the header turned and one of each byte behind it: refused,
/// and for a reason.
#[test]
fn truncated_and_bit_flipped() {
    let store = mixed();
    let file = saved(&store);
    assert!(whole(&load(&file, &small()).expect("whole")) == whole(&store));
    let refused = |file: &[u8], what: &str| match load(file, &small()) {
        Err(Error::Snapshot(_)) => {}
        other => unreachable!("{what}: {other:?}"),
    };
    for len in 0..file.len() {
        refused(&file[..len], &format!("{len} bytes"));
    }
    let mut changed = file;
    for at in 0..changed.len() {
        let bits = if at < 64 { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            changed[at] ^= 1 << bit;
            refused(&changed, &format!("bit {bit} of byte {at}"));
            changed[at] ^= 1 << bit;
        }
    }
}

/// A part of a snapshot, with its checksum.
fn part(file: &mut Vec<u8>, pieces: &[&[u8]]) {
    let bytes = pieces.concat();
    file.extend_from_slice(&bytes);
    file.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
}

fn header(size: u64, algorithms: [&str; 4]) -> Vec<u8> {
    let mut codecs = Vec::new();
    for name in algorithms {
        codecs.push(name.len() as u8);
        codecs.extend_from_slice(name.as_bytes());
        if !name.is_empty() {
            codecs.extend_from_slice(&[0; 4]);
        }
    }
    let mut file = Vec::new();
    let size = size.to_le_bytes();
    let fixed: [&[u8]; 4] = [
        b"zramsnap",
        &1_u32.to_le_bytes(),
        &4096_u32.to_le_bytes(),
        &size,
    ];
    part(&mut file, &[&fixed.concat(), &codecs]);
    file
}

/// A few bytes do not make a store take more memory than its limit.
#[test]
fn what_a_small_one_claims() {
    let mut tight = small();
    (tight.limit, tight.max_size) = (Some(2 << 20), None);
    tight.threads = std::num::NonZeroUsize::new(1000);
    let claims = |algorithms| {
        let mut file = header(1 << 30, algorithms);
        part(&mut file, &[&[0], &0_u32.to_le_bytes()]);
        load(&file, &tight)
    };
    for algorithms in [
        ["deflate:12", "", "", ""],
        ["lz4", "deflate:12", "deflate:12", "deflate:12"],
        ["zstd:22", "zstd:22", "zstd:22", "deflate:9"],
        ["zstd:22", "deflate:9", "deflate:9", "deflate:9"],
    ] {
        match claims(algorithms) {
            Err(Error::NoMemory) => {}
            Err(error) => unreachable!("{algorithms:?}: {error}"),
            Ok(store) => assert!(store.stats().mem_used <= 2 << 20, "{algorithms:?}"),
        }
    }
    let store = claims(["lz4", "zstd", "zstd", ""]).expect("room for two streams");
    let stats = store.stats();
    assert!(
        (300 << 10..2 << 20).contains(&stats.mem_used),
        "{}",
        stats.mem_used
    );
    // A dictionary of a megabyte, of which nothing comes.
    let mut file = header(1 << 20, ["zstd", "", "", ""]);
    let end = file.len() - 4 - 3 - 4;
    file.truncate(end);
    file.extend_from_slice(&(1_u32 << 20).to_le_bytes());
    assert!(matches!(load(&file, &tight), Err(Error::Snapshot(_))));
}

/// Bytes behind the end of the store are not taken in.
#[test]
fn nothing_behind_the_end() {
    let mut random = vec![0; BLOCK];
    random[..512].copy_from_slice(&Fill::Random(1).bytes(512));
    for (at, good) in [(511, true), (512, false), (BLOCK - 1, false)] {
        let mut file = header(512, ["lz4", "", "", ""]);
        let mut bytes = random.clone();
        bytes[at] = 1;
        let len = (BLOCK as u32).to_le_bytes();
        part(&mut file, &[&[2], &[0; 4], &[4], &len, &bytes]);
        part(&mut file, &[&[0], &1_u32.to_le_bytes()]);
        let loaded = load(&file, &small());
        assert_eq!(loaded.is_ok(), good, "{loaded:?}");
    }
    for pattern in [0_u64, 7] {
        let mut file = header(512, ["lz4", "", "", ""]);
        part(&mut file, &[&[1], &[0; 4], &pattern.to_le_bytes()]);
        part(&mut file, &[&[0], &1_u32.to_le_bytes()]);
        assert_eq!(load(&file, &small()).is_ok(), pattern == 0);
    }
}

/// A store with most of its blocks in the backing holds more than the limit: it can be loaded with
/// a backing only.
#[test]
fn larger_than_the_limit() {
    const COUNT: u64 = 1500;
    let mut large = StoreOptions::new(COUNT * BLOCK as u64);
    (large.limit, large.max_size) = (Some(4 << 20), Some(COUNT * BLOCK as u64));
    let store = Store::new(large).expect("a store");
    let folder = std::env::temp_dir();
    let backing = || BackingFile::temporary(&folder, 16 << 20).expect("a file");
    store.set_backing(backing()).expect("the first");
    let bytes = |index| Fill::Random(index).bytes(BLOCK);
    for index in 0..COUNT {
        store
            .write(index * BLOCK as u64, &bytes(index))
            .expect("room");
        if index % 400 == 399 {
            store
                .writeback(&WritebackRequest::new(BlockFilter::All))
                .expect("alone");
        }
    }
    let mut file = Vec::new();
    store.snapshot(&mut file).expect("memory holds it");
    let mut options = small();
    (options.limit, options.max_size) = (Some(4 << 20), Some(COUNT * BLOCK as u64));
    assert!(matches!(
        Store::load(&file[..], &options),
        Err(Error::NoMemory)
    ));
    let copy = Store::load_with_file(&file[..], &options, backing()).expect("room in the backing");
    let mut out = vec![0; BLOCK];
    for index in 0..COUNT {
        copy.read(index * BLOCK as u64, &mut out).expect("readable");
        assert!(out == bytes(index), "block {index}");
    }
    let stats = copy.stats();
    assert!(stats.backing_blocks > 0 && stats.mem_used_max <= 4 << 20);
    assert_eq!(copy.validate(), Ok(()));
    // Neither has room.
    let tiny = BackingFile::temporary(&folder, 1 << 20).expect("a file");
    assert!(matches!(
        Store::load_with_file(&file[..], &options, tiny),
        Err(Error::NoMemory)
    ));
}

/// What the options say of codecs goes into the loaded store, and loading is an access.
#[test]
fn options_and_times() {
    let first = store();
    write(&first, 0, &text(0));
    let file = saved(&first);
    let mut options = small();
    options.raw_above = Some(8);
    options.track_access = true;
    let host = TestHost::leak(1);
    host.set_now_ns(100 * 1_000_000_000);
    let copy = Store::load_with_backing(HeapBacking::new(4096), host, &file[..], &options)
        .expect("a snapshot");
    host.advance_ns(50 * 1_000_000_000);
    let older = |seconds| IdleRule::OlderThan(Duration::from_secs(seconds));
    assert_eq!(copy.mark_idle(older(60)).expect("marks"), 0);
    assert_eq!(copy.mark_idle(older(40)).expect("marks"), 1);
    assert_eq!(copy.stats().huge_blocks, 0);
    write(&copy, 1, &text(1));
    assert_eq!(
        copy.stats().huge_blocks,
        1,
        "nothing of more than 8 bytes is compressed"
    );
    options.raw_above = Some(7);
    assert!(matches!(load(&file, &options), Err(Error::Invalid(_))));
}

/// Every reservation and commit of a load fails once: an error or the store, and nothing is held
/// any more afterwards.
#[test]
fn every_failure_of_a_load() {
    let store = mixed();
    let file = saved(&store);
    let expected = whole(&store);
    let mut failures = 0;
    for call in [Call::Reserve, Call::Commit] {
        for n in 1..200 {
            let backing = FaultBacking::new(HeapBacking::new(4096));
            let control = backing.control();
            control.set(call, Fault::Nth(n));
            let loaded = Store::load_with_backing(backing, &zs_os::HOST, &file[..], &small());
            match loaded {
                Err(Error::NoMemory) => {
                    failures += 1;
                    assert_eq!(control.failed(call), 1);
                }
                Err(error) => unreachable!("{error}"),
                Ok(copy) => {
                    let mut out = vec![0; expected.len()];
                    copy.read(0, &mut out).expect("readable");
                    assert!(out == expected);
                    assert_eq!(copy.validate(), Ok(()));
                    if control.failed(call) == 0 {
                        break;
                    }
                }
            }
        }
    }
    assert!(failures > 3);
}

/// A file that cannot be written is an error, whichever write it is.
#[test]
fn every_write_of_a_snapshot_fails() {
    struct Short(usize);
    impl Write for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.write(&[]).map(drop)
        }
    }
    let store = mixed();
    // The header, six blocks, the end, and the flush.
    for good in 0..10 {
        let outcome = store.snapshot(Short(good));
        assert_eq!(outcome.is_ok(), good == 9, "{outcome:?}");
        assert!(matches!(outcome, Ok(()) | Err(Error::Io { .. })));
        assert_eq!(store.validate(), Ok(()));
    }
}
