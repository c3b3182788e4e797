//! What the tests share: operations, a model, a small store, bytes of every kind.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses a part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests"
)]

pub(crate) mod file;

use proptest::prelude::*;
use std::time::Duration;
use zram::*;
use zs_os::testing::HeapBacking;

/// Blocks of the stores of the tests, and a last one that is shown in part.
pub(crate) const BLOCKS: u64 = 24;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write(u64, u64, Fill),
    Read(u64, u64),
    Zero(u64, u64, bool),
    Status(u64, u64),
    Resize(u64),
    MarkIdle,
    MarkOld,
    Recompress(u8, u8, bool),
    Writeback(u8, bool, u8),
    Compact,
    Maintain,
    Trim,
    Snapshot,
}

/// What is written: a seed says which.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fill {
    Pattern(u64),
    Random(u64),
    Text(u64),
}

impl Fill {
    pub(crate) fn bytes(self, len: usize) -> Vec<u8> {
        match self {
            Self::Pattern(word) => word.to_ne_bytes().into_iter().cycle().take(len).collect(),
            Self::Random(seed) => {
                let mut random = fastrand::Rng::with_seed(seed);
                std::iter::repeat_with(|| random.u8(..)).take(len).collect()
            }
            Self::Text(seed) => {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut text = String::new();
                while text.len() < len {
                    text.push_str(&format!("line {} of a text; ", random.u32(..500)));
                }
                text.into_bytes()[..len].to_vec()
            }
        }
    }
}

fn fill() -> impl Strategy<Value = Fill> {
    prop_oneof![
        prop_oneof![
            Just(0),
            Just(1),
            any::<u64>(),
            (0..256_u64).prop_map(|b| b * 0x0101_0101_0101_0101)
        ]
        .prop_map(Fill::Pattern),
        (0..4_u64).prop_map(Fill::Random),
        (0..8_u64).prop_map(Fill::Text),
    ]
}

/// Offsets in 512ths of a block, mostly aligned to a block.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![3 => (0..BLOCKS).prop_map(|b| b * 512), 1 => 0..BLOCKS * 512 + 9]
}

fn len() -> impl Strategy<Value = u64> {
    prop_oneof![3 => (0..4_u64).prop_map(|b| b * 512), 1 => 0..2048_u64]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (offset(), len(), fill()).prop_map(|(o, l, f)| Op::Write(o, l, f)),
        3 => (offset(), len()).prop_map(|(o, l)| Op::Read(o, l)),
        3 => (offset(), len(), any::<bool>()).prop_map(|(o, l, b)| Op::Zero(o, l, b)),
        1 => (offset(), len()).prop_map(|(o, l)| Op::Status(o, l)),
        1 => (0..9_u64).prop_map(Op::Resize),
        1 => Just(Op::MarkIdle),
        1 => Just(Op::MarkOld),
        2 => (1..4_u8, 0..5_u8, any::<bool>()).prop_map(|(p, w, b)| Op::Recompress(p, w, b)),
        2 => (0..5_u8, any::<bool>(), 0..40_u8).prop_map(|(w, r, n)| Op::Writeback(w, r, n)),
        1 => Just(Op::Compact),
        1 => Just(Op::Maintain),
        1 => Just(Op::Trim),
        1 => Just(Op::Snapshot),
    ];
    proptest::collection::vec(op, 1..60)
}

pub(crate) fn which(n: u8) -> BlockFilter {
    [
        BlockFilter::All,
        BlockFilter::Idle,
        BlockFilter::Huge,
        BlockFilter::HugeIdle,
        BlockFilter::Incompressible,
    ][n as usize % 5]
}

pub(crate) fn options(block_size: BlockSize) -> StoreOptions {
    let block = block_size.bytes() as u64;
    let mut options = StoreOptions::new(BLOCKS * block - block / 2);
    options.block_size = block_size;
    options.max_size = Some((BLOCKS + 8) * block);
    options.limit = Some(16 << 20);
    options.track_access = true;
    options
}

pub(crate) fn small_store(block_size: BlockSize, dedup: bool) -> Store<HeapBacking> {
    let capacity = 40 * block_size.bytes() as u64;
    let file = BackingFile::temporary(&std::env::temp_dir(), capacity);
    small_store_on(block_size, dedup, file.expect("a file"))
}

/// The same with a backing that is soon full, and loses what it was given at each third sync.
pub(crate) fn store_on_a_bad_file(block_size: BlockSize, dedup: bool) -> Store<HeapBacking> {
    let file = file::TestFile::new();
    file.lose_unsynced(true);
    file.bad_every(3);
    let file = BackingFile::new(file, 10 * block_size.bytes() as u64);
    small_store_on(block_size, dedup, file)
}

fn small_store_on(block_size: BlockSize, dedup: bool, file: BackingFile) -> Store<HeapBacking> {
    let mut options = options(block_size);
    options.dedup = dedup;
    let store =
        Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options).expect("a store");
    for (number, name) in [(1, "lz4hc"), (2, "zstd:3"), (3, "deflate")] {
        store
            .set_secondary(number, name.parse().expect("an algorithm"), None)
            .expect("set once");
    }
    store.set_backing(file).expect("the first");
    store
}

/// What the store must hold.
pub(crate) struct Model {
    bytes: Vec<u8>,
    unit: u64,
    dedup: bool,
}

impl Model {
    pub(crate) fn new(store: &Store<HeapBacking>, dedup: bool) -> Self {
        Self {
            bytes: vec![0; store.size() as usize],
            unit: store.block_size() as u64 / 512,
            dedup,
        }
    }

    fn range(&self, offset: u64, len: u64) -> (u64, usize) {
        // An odd unit makes requests of odd places and lengths.
        (offset * self.unit, (len * self.unit) as usize)
    }

    fn fits(&self, offset: u64, len: usize) -> bool {
        offset + len as u64 <= self.bytes.len() as u64
    }

    /// A store with deduplication refuses passes over objects.
    fn outcome<T>(&self, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Err(Error::Invalid(why)) if self.dedup => {
                assert!(why.contains("deduplication"), "{why}");
                None
            }
            outcome => {
                assert!(!self.dedup, "not refused");
                Some(outcome.expect("alone"))
            }
        }
    }

    pub(crate) fn step(&mut self, store: &Store<HeapBacking>, op: &Op) {
        match op {
            Op::Write(offset, len, fill) => {
                let (at, len) = self.range(*offset, *len);
                let bytes = fill.bytes(len);
                let outcome = store.write(at, &bytes);
                assert_eq!(outcome.is_ok(), self.fits(at, len), "{outcome:?}");
                if outcome.is_ok() {
                    self.bytes[at as usize..][..len].copy_from_slice(&bytes);
                }
            }
            Op::Read(offset, len) => {
                let (at, len) = self.range(*offset, *len);
                let mut out = vec![0xaa; len];
                let outcome = store.read(at, &mut out);
                assert_eq!(outcome.is_ok(), self.fits(at, len), "{outcome:?}");
                if outcome.is_ok() {
                    assert!(
                        out == self.bytes[at as usize..][..len],
                        "read at {at}, {len} bytes"
                    );
                }
            }
            Op::Zero(offset, len, allocate) => {
                let (at, len) = self.range(*offset, *len);
                let zeroes = if *allocate {
                    Zeroes::Allocated
                } else {
                    Zeroes::Hole
                };
                let outcome = store.write_zeroes(at, len as u64, zeroes);
                assert_eq!(outcome.is_ok(), self.fits(at, len), "{outcome:?}");
                if outcome.is_ok() {
                    self.bytes[at as usize..][..len].fill(0);
                }
            }
            Op::Status(offset, len) => self.status(store, *offset, *len),
            Op::Resize(more) => {
                let size = self.bytes.len() as u64 + more * store.block_size() as u64 / 2;
                let outcome = store.resize(size);
                assert_eq!(
                    outcome.is_ok(),
                    size <= (BLOCKS + 8) * store.block_size() as u64
                );
                if outcome.is_ok() {
                    self.bytes.resize(size as usize, 0);
                }
            }
            Op::Snapshot => self.snapshot(store),
            _ => self.housekeeping(store, op),
        }
    }

    fn housekeeping(&self, store: &Store<HeapBacking>, op: &Op) {
        match op {
            Op::MarkIdle => {
                let _ = self.outcome(store.mark_idle(IdleRule::All));
            }
            Op::MarkOld => {
                let _ = self.outcome(store.mark_idle(IdleRule::OlderThan(Duration::ZERO)));
            }
            Op::Recompress(priority, n, bounded) => {
                let wanted = Recompress {
                    priority: *priority,
                    which: which(*n),
                    threshold: 0,
                    max_blocks: bounded.then_some(3),
                };
                if let Some(report) = self.outcome(store.recompress(&wanted)) {
                    assert!(report.bytes_after <= report.bytes_before);
                    assert!(report.smaller <= report.tried);
                }
            }
            Op::Writeback(n, raw, most) => {
                let form = if *raw {
                    RecordForm::Raw
                } else {
                    RecordForm::Compressed
                };
                let request = WritebackRequest {
                    form,
                    max_blocks: u64::from(*most),
                    ..WritebackRequest::new(which(*n))
                };
                if let Some(report) = self.outcome(store.writeback(&request)) {
                    assert_eq!(report.changed, 0);
                }
            }
            Op::Compact => drop(store.compact(CompactBudget::UNLIMITED)),
            Op::Maintain => drop(store.maintain(MaintainBudget::UNLIMITED)),
            _ => drop(store.trim()),
        }
    }

    fn status(&self, store: &Store<HeapBacking>, offset: u64, len: u64) {
        let (at, len) = self.range(offset, len);
        if !self.fits(at, len) {
            assert!(store.status(at, len as u64, 9).is_err());
            return;
        }
        let ranges = store.status(at, len as u64, usize::MAX).expect("in range");
        assert_eq!(
            ranges.iter().map(|range| range.len).sum::<u64>(),
            len as u64
        );
        let mut at = at as usize;
        for range in ranges {
            if range.kind != RangeKind::Data {
                assert!(
                    self.bytes[at..][..range.len as usize]
                        .iter()
                        .all(|byte| *byte == 0)
                );
            }
            at += range.len as usize;
        }
    }

    fn snapshot(&self, store: &Store<HeapBacking>) {
        let mut file = Vec::new();
        store.snapshot(&mut file).expect("memory holds it");
        let mut options = SnapshotOptions::default();
        options.limit = Some(16 << 20);
        options.max_size = Some((BLOCKS + 8) * store.block_size() as u64);
        let copy =
            Store::load_with_backing(HeapBacking::new(4096), &zs_os::HOST, &file[..], &options)
                .expect("a snapshot");
        self.compare(&copy);
        assert_eq!(copy.validate(), Ok(()));
    }

    pub(crate) fn compare(&self, store: &Store<HeapBacking>) {
        assert_eq!(store.size(), self.bytes.len() as u64);
        let mut out = vec![0xaa; self.bytes.len()];
        store.read(0, &mut out).expect("all of it");
        assert!(out == self.bytes, "the store differs from the model");
    }
}

pub(crate) const BLOCK: usize = 4096;

pub(crate) fn store() -> Store<HeapBacking> {
    small_store(BlockSize::K4, false)
}

pub(crate) fn bare() -> Store<HeapBacking> {
    Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options(BlockSize::K4))
        .expect("a store")
}

pub(crate) fn text(seed: u64) -> Vec<u8> {
    Fill::Text(seed).bytes(BLOCK)
}

pub(crate) fn block(store: &Store<HeapBacking>, index: u64) -> Vec<u8> {
    let mut out = vec![0xaa; BLOCK];
    store
        .read(index * BLOCK as u64, &mut out)
        .expect("readable");
    out
}

pub(crate) fn write(store: &Store<HeapBacking>, index: u64, bytes: &[u8]) {
    store.write(index * BLOCK as u64, bytes).expect("room");
}
