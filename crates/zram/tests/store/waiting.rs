//! Who waits for whom while something slow has a block.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::file::{TestFile, with_file};
use crate::common::{BLOCK, bare, block, text, write};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use zram::*;
use zs_os::testing::HeapBacking;

/// A block is locked for as long as its backing takes: others go on, and so does a reader of the
/// block itself.
#[test]
fn r26_nobody_waits_for_another_block() {
    let file = TestFile::new();
    let store = with_file(&file);
    write(&store, 0, &text(0));
    write(&store, 1, &text(1));
    file.hold(true);
    let started = Barrier::new(2);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| {
            started.wait();
            store.writeback(&WritebackRequest::new(BlockFilter::All))
        });
        started.wait();
        file.wait_until_somebody_waits();
        // The pass hangs: every request on every block is answered.
        for index in 0..4 {
            assert!(
                block(&store, index)
                    == if index < 2 {
                        text(index)
                    } else {
                        vec![0; BLOCK]
                    }
            );
        }
        for index in 0..4 {
            write(&store, index, &text(index + 10));
        }
        store.discard(0, store.size()).expect("in range");
        file.hold(false);
        pass.join().expect("no panic").expect("it can be written");
    });
    assert_eq!(store.stats().orig_bytes, 0);
    assert_eq!(store.validate(), Ok(()));
}

/// A file whose reads wait until they are let go.
#[derive(Clone, Default)]
struct SlowFile(Arc<Slow>);

#[derive(Default)]
struct Slow {
    bytes: Mutex<Vec<u8>>,
    let_go: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicU64,
}

impl SlowFile {
    fn let_go(&self) {
        *self.0.let_go.lock().unwrap() = true;
        self.0.changed.notify_all();
    }
}

impl BlockFile for SlowFile {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let mut let_go = self.0.let_go.lock().unwrap();
        while !*let_go {
            let_go = self.0.changed.wait(let_go).unwrap();
        }
        drop(let_go);
        buffer.copy_from_slice(&self.0.bytes.lock().unwrap()[offset as usize..][..buffer.len()]);
        Ok(buffer.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut file = self.0.bytes.lock().unwrap();
        let end = offset as usize + bytes.len();
        let len = file.len().max(end);
        file.resize(len, 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// All that a control connection may ask for, with objects of other blocks beside.
fn upkeep_goes_on(store: &Store<HeapBacking>) {
    let size = 32 * BLOCK as u64;
    assert_eq!(store.stats().backing_blocks, 1);
    assert!(store.stored_sizes(0, size, 99).is_ok());
    assert!(store.mark_idle(IdleRule::All).expect("alone") > 0);
    let wanted = Recompress {
        priority: 1,
        which: BlockFilter::All,
        threshold: 0,
        max_blocks: None,
    };
    assert!(store.recompress(&wanted).expect("alone").tried > 0);
    assert!(store.recompress(&wanted).expect("alone").tried == 0);
    store.compact(CompactBudget::UNLIMITED);
    store.maintain(MaintainBudget::UNLIMITED);
    store.trim();
    store.set_limit(15 << 20).expect("more than is held");
    store.set_limit(16 << 20).expect("more than is held");
    store.set_writeback_limit(Some(1 << 20));
    // The hanging block is no object: a writeback passes it by.
    let report = store
        .writeback(&WritebackRequest::new(BlockFilter::All))
        .expect("alone");
    assert_eq!((report.failed, report.changed), (0, 0));
    assert!(report.blocks > 20);
    let client = store.attach().expect("no reset");
    assert!(matches!(store.reset(), Err(Error::Busy(_))));
    drop(client);
}

/// A block is locked for as long as its backing takes to give it: blocks beside it are read,
/// written, discarded and asked about meanwhile.
#[test]
fn r26_a_slow_backing_holds_up_its_block_alone() {
    let file = SlowFile::default();
    let store = bare();
    store
        .resize((store.size()).max(32 * BLOCK as u64))
        .expect("as large as it gets");
    store
        .set_backing(BackingFile::new(file.clone(), 1 << 20))
        .expect("the first");
    store
        .set_secondary(1, "zstd:9".parse().expect("an algorithm"), None)
        .expect("set once");
    write(&store, 2, &text(2));
    store
        .writeback(&WritebackRequest::new(BlockFilter::All))
        .expect("alone");
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..3).map(|_| scope.spawn(|| block(&store, 2))).collect();
        while file.0.waiting.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        for index in (0..32).filter(|index| *index != 2) {
            write(&store, index, &text(index));
            assert!(block(&store, index) == text(index));
            store.discard(index * BLOCK as u64, 100).expect("in range");
            assert!(store.status(0, 32 * BLOCK as u64, 99).is_ok());
        }
        upkeep_goes_on(&store);
        assert_eq!(
            file.0.waiting.load(Ordering::SeqCst),
            1,
            "one reads, others wait"
        );
        assert!(slow.iter().all(|reader| !reader.is_finished()));
        file.let_go();
        for reader in slow {
            assert!(reader.join().expect("no panic") == text(2));
        }
    });
    assert_eq!(store.validate(), Ok(()));
}
