//! Passes over the store: idle marks, recompression, writeback, dictionaries, codecs (R15, R23).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::file::{FILE, TestFile, with_file, write_back};
use crate::common::{BLOCK, Fill, bare, block, options, store, text, write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use zram::*;
use zs_os::testing::{HeapBacking, TestHost};

const SECOND: u64 = 1_000_000_000;

fn recompress(store: &Store<HeapBacking>, priority: u8) -> RecompressReport {
    let wanted = Recompress {
        priority,
        which: BlockFilter::All,
        threshold: 0,
        max_blocks: None,
    };
    store.recompress(&wanted).expect("alone")
}

fn secondary(store: &Store<HeapBacking>, priority: u8, name: &str) {
    store
        .set_secondary(priority, name.parse().expect("an algorithm"), None)
        .expect("set once");
}

#[test]
fn r15_idle_marks_are_exact() {
    let store = store();
    for index in 0..6 {
        write(&store, index, &text(index));
    }
    write(&store, 6, &[1; BLOCK]);
    assert_eq!(store.mark_idle(IdleRule::All).expect("marks"), 6);
    drop(block(&store, 0));
    write(&store, 1, &text(9));
    let wanted = Recompress {
        priority: 2,
        which: BlockFilter::Idle,
        threshold: 0,
        max_blocks: Some(1),
    };
    assert_eq!(store.recompress(&wanted).expect("alone").tried, 1);
    let request = WritebackRequest {
        max_blocks: 1,
        ..WritebackRequest::new(BlockFilter::Idle)
    };
    assert_eq!(store.writeback(&request).expect("alone").blocks, 1);
    // Two of six are left.
    let rest = store
        .writeback(&WritebackRequest::new(BlockFilter::Idle))
        .expect("alone");
    assert_eq!(rest.blocks, 2);
    assert_eq!(
        store
            .mark_idle(IdleRule::OlderThan(Duration::from_secs(3600)))
            .expect("marks"),
        0
    );
    assert_eq!(store.validate(), Ok(()));
}

/// One thread reads a block that is old, another marks the old ones: whoever comes first, the block
/// is not idle afterwards.
#[test]
fn r15_an_access_beside_the_marking() {
    let host = TestHost::leak(1);
    let store =
        Store::with_backing(HeapBacking::new(4096), host, options(BlockSize::K4)).expect("a store");
    store
        .set_backing(BackingFile::new(TestFile::new(), FILE))
        .expect("the first");
    write(&store, 0, &text(0));
    let older = IdleRule::OlderThan(Duration::from_secs(5));
    let (mut before, mut after) = (0, 0);
    let both = Barrier::new(2);
    let rounds = 4000;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..rounds {
                both.wait();
                assert!(block(&store, 0) == text(0));
                both.wait();
            }
        });
        for _ in 0..rounds {
            host.advance_ns(10 * SECOND);
            both.wait();
            match store.mark_idle(older).expect("marks") {
                0 => after += 1,
                _ => before += 1,
            }
            both.wait();
            let idle = store.writeback(&WritebackRequest::new(BlockFilter::Idle));
            assert_eq!(
                idle.expect("alone").blocks,
                0,
                "{before} before, {after} after"
            );
        }
        reader.join().expect("no panic");
    });
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}

/// Neither training nor a snapshot is an access.
#[test]
fn r15_training_is_no_access() {
    for by_age in [false, true] {
        let host = TestHost::leak(1);
        let store =
            Store::with_backing(HeapBacking::new(4096), host, trained_options(BlockSize::K4))
                .expect("a store");
        store
            .set_backing(BackingFile::new(TestFile::new(), FILE))
            .expect("the first");
        fill_to_train(&store);
        let count = store.size() / BLOCK as u64;
        host.advance_ns(100 * SECOND);
        assert_eq!(store.mark_idle(IdleRule::All).expect("marks"), count);
        store.train_dictionary(4096).expect("something in common");
        store.snapshot(std::io::sink()).expect("memory holds it");
        if by_age {
            let older = IdleRule::OlderThan(Duration::from_secs(100));
            assert_eq!(store.mark_idle(older).expect("marks"), count);
        }
        let idle = store.writeback(&WritebackRequest::new(BlockFilter::Idle));
        assert_eq!(idle.expect("alone").blocks, count);
    }
}

fn trained_options(size: BlockSize) -> StoreOptions {
    let mut options = options(size);
    options.size = 1 << 20;
    options.max_size = Some(1 << 20);
    options
}

fn fill_to_train(store: &Store<HeapBacking>) {
    let block = store.block_size();
    for index in 0..(store.size() as usize / block) as u64 {
        let bytes = Fill::Text(index).bytes(block);
        store.write(index * block as u64, &bytes).expect("room");
    }
}

/// Stores with dictionaries, of each block size: trained, set, used, saved and loaded.
#[test]
fn dictionaries() {
    for size in [BlockSize::K4, BlockSize::K16, BlockSize::K64] {
        let mut wanted = trained_options(size);
        let plain = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, wanted.clone())
            .expect("a store");
        for len in [0, 255, (1 << 20) + 1] {
            assert!(matches!(
                plain.train_dictionary(len),
                Err(Error::Invalid(_))
            ));
        }
        assert!(
            matches!(plain.train_dictionary(4096), Err(Error::Codec(_))),
            "nothing to learn from"
        );
        fill_to_train(&plain);
        let dictionary = plain.train_dictionary(4096).expect("something in common");
        let held = plain.stats().mem_used;
        plain
            .set_secondary(
                1,
                "zstd:3".parse().expect("an algorithm"),
                Some(dictionary.clone()),
            )
            .expect("set once");
        assert!(
            plain.stats().mem_used >= held + (100 << 10),
            "codecs are counted"
        );
        let refused =
            plain.set_secondary(2, "lz4hc".parse().expect("one"), Some(dictionary.clone()));
        assert!(matches!(refused, Err(Error::Codec(_))));
        let report = recompress(&plain, 1);
        assert!(
            report.smaller > report.tried / 2 && report.failed == 0,
            "{report:?}"
        );
        wanted.algorithm = "zstd:3".parse().expect("an algorithm");
        wanted.dictionary = Some(dictionary);
        let primary =
            Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, wanted).expect("a store");
        fill_to_train(&primary);
        for store in [&plain, &primary] {
            let mut file = Vec::new();
            store.snapshot(&mut file).expect("memory holds it");
            let mut options = SnapshotOptions::default();
            (options.limit, options.max_size) = (Some(16 << 20), Some(1 << 20));
            let copy =
                Store::load_with_backing(HeapBacking::new(4096), &zs_os::HOST, &file[..], &options)
                    .expect("a snapshot");
            for store in [store, &copy] {
                let mut out = vec![0; store.block_size()];
                for index in 0..store.size() / out.len() as u64 {
                    store
                        .read(index * out.len() as u64, &mut out)
                        .expect("readable");
                    assert!(out == Fill::Text(index).bytes(out.len()));
                }
                assert_eq!(store.validate(), Ok(()));
            }
        }
    }
}

/// Each algorithm is tried once for a block, whichever came first; incompressible is what none made
/// smaller.
#[test]
fn algorithms_are_tried_each() {
    let store = with_file(&TestFile::new());
    secondary(&store, 1, "zstd:3");
    secondary(&store, 2, "lz4hc");
    write(&store, 0, &Fill::Random(0).bytes(BLOCK));
    write(&store, 1, &text(1));
    let request = WritebackRequest::new(BlockFilter::Incompressible);
    let tried = |priority| recompress(&store, priority).tried;
    // The higher one first: the lower one is still tried.
    assert_eq!(tried(2), 2);
    assert_eq!(
        store.writeback(&request).expect("alone").blocks,
        0,
        "one was not tried yet"
    );
    let report = recompress(&store, 1);
    assert!(report.tried >= 1 && report.smaller <= 1);
    assert_eq!((tried(1), tried(2)), (0, 0));
    assert_eq!(store.writeback(&request).expect("alone").blocks, 1);
    assert_eq!(store.stats().huge_blocks, 0, "it was the random one");
    assert!(block(&store, 0) == Fill::Random(0).bytes(BLOCK) && block(&store, 1) == text(1));
    // Written anew, it is another block.
    write(&store, 0, &Fill::Random(1).bytes(BLOCK));
    assert_eq!((tried(1), tried(2)), (1, 1));
    // One that a secondary algorithm made smaller, and another did not, is not incompressible.
    let store = with_file(&TestFile::new());
    secondary(&store, 1, "zstd:3");
    secondary(&store, 3, "lz4hc:3");
    write(&store, 0, &text(0));
    assert_eq!(recompress(&store, 1).smaller, 1);
    assert_eq!(recompress(&store, 3).smaller, 0);
    assert_eq!(store.writeback(&request).expect("alone").blocks, 0);
}

/// At the memory limit, with nothing left for a smaller object beside the larger one, recompression
/// works.
#[test]
fn recompression_at_the_limit() {
    let mut full = StoreOptions::new(32 << 20);
    (full.limit, full.max_size) = (Some(4 << 20), Some(32 << 20));
    let store = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, full).expect("a store");
    secondary(&store, 1, "zstd:9");
    let mut count = 0;
    while store.write(count * BLOCK as u64, &text(count)).is_ok() {
        count += 1;
    }
    let report = recompress(&store, 1);
    assert_eq!(report.tried, count);
    assert!(report.smaller > count * 9 / 10, "{report:?}");
    assert!(report.smaller + report.failed <= count);
    assert_eq!(report.first_error.is_some(), report.failed > 0);
    for index in 0..count {
        assert!(block(&store, index) == text(index));
    }
    store.maintain(MaintainBudget::UNLIMITED);
    for index in count..count + count / 20 {
        write(&store, index, &text(index));
    }
    assert_eq!(store.validate(), Ok(()));
}

/// More threads than streams: what streams take is counted, and stays below a sixteenth of the
/// limit.
#[test]
fn streams_are_counted() {
    let mut wanted = options(BlockSize::K4);
    wanted.algorithm = "zstd".parse().expect("an algorithm");
    wanted.threads = std::num::NonZeroUsize::new(64);
    wanted.limit = Some(8 << 20);
    let store = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, wanted).expect("a store");
    let one = store.stats().mem_used;
    assert!(one > 150 << 10, "{one}");
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, together) = (&store, &together);
            scope.spawn(move || {
                for round in 0..300 {
                    if round % 10 == 0 {
                        together.wait();
                    }
                    write(store, thread, &text(round));
                    assert!(block(store, thread) == text(round));
                }
            });
        }
    });
    store.reset().expect("nobody is attached");
    let more = store.stats().mem_used.saturating_sub(one);
    // The table and caches may have kept something.
    assert!(more <= (8 << 20) / 16 + (256 << 10), "{more}");
    assert_eq!(store.validate(), Ok(()));
}

fn is_enough(counter: &AtomicU64) -> bool {
    counter.load(Ordering::SeqCst) > 20
}

/// Ends the threads of a test.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writeback, recompression, marking, overwrites and reads of the same blocks, all at once.
#[test]
fn r23_all_at_once() {
    const COUNT: u64 = 64;
    let file = TestFile::new();
    let mut wanted = options(BlockSize::K4);
    (wanted.size, wanted.max_size) = (COUNT * BLOCK as u64, Some(COUNT * BLOCK as u64));
    let store = Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, wanted).expect("a store");
    secondary(&store, 1, "zstd:3");
    store
        .set_backing(BackingFile::new(file.clone(), FILE))
        .expect("the first");
    for index in 0..COUNT {
        write(&store, index, &text(index));
    }
    let stop = AtomicBool::new(false);
    let [written, smaller, marked] = [const { AtomicU64::new(0) }; 3];
    // Passes that were under way while the other kind was.
    let (passes, met) = (AtomicU64::new(0), AtomicU64::new(0));
    let pass = |run: &dyn Fn()| {
        if passes.fetch_add(1, Ordering::SeqCst) > 0 {
            met.fetch_add(1, Ordering::SeqCst);
        }
        run();
        passes.fetch_sub(1, Ordering::SeqCst);
    };
    let add = |counter: &AtomicU64, by| {
        counter.fetch_add(by, Ordering::SeqCst);
    };
    let running = || !stop.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        // Also when an assertion fails.
        let ending = Ending(&stop);
        scope.spawn(|| {
            while running() {
                pass(&|| add(&written, write_back(&store).blocks));
            }
        });
        scope.spawn(|| {
            while running() {
                pass(&|| add(&smaller, recompress(&store, 1).smaller));
            }
        });
        scope.spawn(|| {
            while running() {
                add(&marked, store.mark_idle(IdleRule::All).expect("marks"));
            }
        });
        let mut random = fastrand::Rng::with_seed(3);
        let mut model: Vec<u64> = (0..COUNT).collect();
        let mut rounds = 0_u64;
        while rounds < 3000
            || ![&written, &smaller, &marked, &met]
                .into_iter()
                .all(is_enough)
        {
            rounds += 1;
            assert!(
                rounds < 10_000_000,
                "{written:?} {smaller:?} {marked:?} {met:?}"
            );
            let index = random.u64(..COUNT);
            if random.bool() {
                model[index as usize] = rounds + COUNT;
                write(&store, index, &text(rounds + COUNT));
            } else {
                assert!(block(&store, index) == text(model[index as usize]));
            }
        }
        drop(ending);
        for (index, seed) in (0..).zip(model) {
            assert!(block(&store, index) == text(seed));
        }
    });
    assert_eq!(store.validate(), Ok(()));
}

/// Two passes of one kind do not.
#[test]
fn one_writeback_at_a_time() {
    let file = TestFile::new();
    let store = with_file(&file);
    write(&store, 0, &text(0));
    file.hold(true);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| write_back(&store));
        file.wait_until_somebody_waits();
        let second = store.writeback(&WritebackRequest::new(BlockFilter::All));
        assert!(matches!(second, Err(Error::Busy(_))));
        assert!(matches!(store.reset(), Err(Error::Busy(_))));
        file.hold(false);
        assert_eq!(pass.join().expect("no panic").blocks, 1);
    });
}

#[test]
fn status_with_few_ranges() {
    let store = bare();
    write(&store, 1, &text(1));
    let hole = RangeStatus {
        len: BLOCK as u64,
        kind: RangeKind::Hole,
    };
    let size = store.size();
    assert_eq!(store.status(0, size, 0).expect("in range"), []);
    assert_eq!(store.status(0, size, 1).expect("in range"), [hole]);
    assert_eq!(store.status(0, size, 2).expect("in range").len(), 2);
    assert_eq!(store.status(0, 0, 9).expect("in range"), []);
    assert_eq!(store.status(size, 0, 9).expect("in range"), []);
}
