//! Full disks: emptied by requests of any size, and not full when they are empty.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

use crate::common::Fill;
use zram::*;
use zs_os::testing::{Call, Fault, FaultBacking, HeapBacking};

const SIZES: [BlockSize; 3] = [BlockSize::K4, BlockSize::K16, BlockSize::K64];

fn options(block_size: BlockSize) -> StoreOptions {
    let mut options = StoreOptions::new(8 << 20);
    options.max_size = Some(options.size);
    options.block_size = block_size;
    options.limit = Some(2 << 20);
    options
}

fn store(block_size: BlockSize) -> Store<HeapBacking> {
    let backing = HeapBacking::new(4096);
    Store::with_backing(backing, &zs_os::HOST, options(block_size)).expect("a store")
}

/// Writes blocks until there is no memory, of every kind; returns what the store holds then.
fn fill<B: zs_mm::Backing>(store: &Store<B>, kinds: &[fn(u64) -> Fill]) -> Vec<u8> {
    let block = store.block_size();
    let mut model = vec![0; store.size() as usize];
    let mut refused = 0;
    for (index, bytes) in (0..).zip(model.chunks_exact_mut(block)) {
        let new = kinds[index as usize % kinds.len()](index).bytes(block);
        match store.write(index * block as u64, &new) {
            Ok(()) => bytes.copy_from_slice(&new),
            Err(Error::NoMemory) => refused += 1,
            Err(error) => unreachable!("{error}"),
        }
    }
    assert!(refused > 0, "it is full");
    model
}

fn check<B: zs_mm::Backing>(store: &Store<B>, model: &[u8]) {
    let mut out = vec![0xaa; model.len()];
    store.read(0, &mut out).expect("readable");
    assert!(out == model, "the store differs from the model");
    assert_eq!(store.validate(), Ok(()));
}

fn check_empty<B: zs_mm::Backing>(store: &Store<B>) {
    let stats = store.stats();
    assert_eq!((stats.orig_bytes, stats.compr_bytes), (0, 0));
    assert_eq!((stats.huge_blocks, stats.failed_reads), (0, 0));
    assert_eq!(store.validate(), Ok(()));
}

/// A file system's view: each block discarded in pieces that are smaller. None is refused, and
/// nothing is left.
#[test]
fn small_discards_empty_a_full_disk() {
    for block_size in SIZES {
        for kinds in [
            &[Fill::Random as fn(u64) -> Fill][..],
            &[Fill::Text],
            &[Fill::Random, Fill::Text],
        ] {
            let mut small = options(block_size);
            // Text needs more than the disk to fill the limit.
            small.size = 16 << 20;
            small.max_size = Some(small.size);
            let store =
                Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, small).expect("a store");
            let mut model = fill(&store, kinds);
            let piece = store.block_size() / 4;
            for (index, bytes) in (0..).zip(model.chunks_exact_mut(piece)) {
                let at = index * piece as u64;
                store
                    .discard(at, piece as u64)
                    .expect("no memory is needed");
                bytes.fill(0);
                if index % 64 == 0 {
                    let mut out = vec![0xaa; piece];
                    store.read(at, &mut out).expect("readable");
                    assert!(out == *bytes, "zeroed, not rounded away");
                }
            }
            check(&store, &model);
            check_empty(&store);
            store
                .write(0, &Fill::Random(7).bytes(1 << 20))
                .expect("room again");
        }
    }
}

/// Zeroes and discards of every size, anywhere, at the limit: the first read as zeros; the second
/// too, or in parts of blocks as before.
#[test]
fn zeroes_of_every_size_on_a_full_disk() {
    for block_size in SIZES {
        let store = store(block_size);
        let mut model = fill(
            &store,
            &[Fill::Random, Fill::Random, Fill::Random, Fill::Text],
        );
        let mut random = fastrand::Rng::with_seed(11);
        let block = store.block_size() as u64;
        for round in 0..3000 {
            let at = random.u64(..store.size());
            let most = [1, 512, 4096, block, 3 * block][random.usize(..5)];
            let len = random.u64(1..=most).min(store.size() - at);
            let range = at as usize..(at + len) as usize;
            if random.bool() {
                let zeroes = [Zeroes::Hole, Zeroes::Allocated][random.usize(..2)];
                store
                    .write_zeroes(at, len, zeroes)
                    .expect("no memory is needed");
                model[range].fill(0);
            } else {
                store.discard(at, len).expect("no memory is needed");
                let mut out = vec![0xaa; range.len()];
                store.read(at, &mut out).expect("readable");
                assert!(
                    out.iter()
                        .zip(&model[range.clone()])
                        .all(|(new, old)| *new == 0 || new == old)
                );
                model[range].copy_from_slice(&out);
            }
            // Full again now and then.
            if round % 100 == 0 {
                for index in 0..store.size() / block {
                    let new = Fill::Random(index + round).bytes(block as usize);
                    if store.write(index * block, &new).is_ok() {
                        model[(index * block) as usize..][..block as usize].copy_from_slice(&new);
                    }
                }
            }
        }
        check(&store, &model);
        store.discard(0, store.size()).expect("no memory is needed");
        check_empty(&store);
    }
}

/// The system refuses all memory: whole blocks, and parts of blocks that are stored as they are,
/// are zeroed.
#[test]
fn zeroes_while_every_commit_fails() {
    for block_size in SIZES {
        let backing = FaultBacking::new(HeapBacking::new(4096));
        let control = backing.control();
        let store =
            Store::with_backing(backing, &zs_os::HOST, options(block_size)).expect("a store");
        let mut model = fill(&store, &[Fill::Random]);
        store.trim();
        control.set(Call::Commit, Fault::From(1));
        let block = store.block_size();
        for (index, bytes) in (0..).zip(model.chunks_exact_mut(block)) {
            let at = index * block as u64;
            let zeroes = [Zeroes::Hole, Zeroes::Allocated][index as usize % 2];
            match index % 3 {
                0 => {
                    store
                        .write_zeroes(at, block as u64, zeroes)
                        .expect("no memory is needed");
                    bytes.fill(0);
                }
                _ => {
                    store
                        .write_zeroes(at + 100, 1000, zeroes)
                        .expect("no memory is needed");
                    bytes[100..1100].fill(0);
                }
            }
        }
        control.clear();
        check(&store, &model);
    }
}

fn sparse(size: u64) -> Store<HeapBacking> {
    let mut options = StoreOptions::new(size);
    options.max_size = Some(size);
    options.limit = Some(2 << 20);
    Store::with_backing(HeapBacking::new(4096), &zs_os::HOST, options).expect("a store")
}

/// The table of the blocks takes the whole limit: allocated zeros are told as far as it goes. As
/// soon as they are discarded the disk has room, and no trim is needed.
#[test]
fn an_empty_disk_is_not_full() {
    let store = sparse(2 << 30);
    let empty = store.stats().mem_used;
    store
        .write_zeroes(0, store.size(), Zeroes::Allocated)
        .expect("no memory is needed");
    assert!(
        store.stats().mem_used > (2 << 20) - (64 << 10),
        "its table fills the limit"
    );
    assert!(store.write(1 << 30, &Fill::Random(1).bytes(4096)).is_err());
    store.discard(0, store.size()).expect("in range");
    assert!(
        store.stats().mem_used <= empty + 4096,
        "the table gives its pages back"
    );
    for at in [0, 1 << 30, (2 << 30) - 4096] {
        store
            .write(at, &Fill::Random(at).bytes(4096))
            .expect("room");
    }
    assert_eq!(store.validate(), Ok(()));
}

/// The same, one block at a time: each leaves an empty piece of the table behind, which a write
/// that needs memory finds.
#[test]
fn a_table_of_empty_pieces_gives_way() {
    let store = sparse(2 << 30);
    let mut blocks = 0_u64;
    let place = |block| block * 512 * 4096;
    while blocks < 1024 && store.write(place(blocks), &[7; 4096]).is_ok() {
        blocks += 1;
    }
    assert!(blocks > 100 && blocks < 1024, "its table fills the limit");
    for block in 0..blocks {
        store.discard(place(block), 4096).expect("in range");
    }
    for block in blocks..blocks + 40 {
        store
            .write(place(block), &Fill::Random(block).bytes(4096))
            .expect("room");
    }
    assert_eq!(store.stats().failed_writes, 1);
    assert_eq!(store.validate(), Ok(()));
}

/// Blocks of one word take memory when a part of them is zeroed: at the limit, from the reserve.
/// Once that is used up they are refused like writes, and are whole; once memory was freed the
/// reserve is there again, although writes fill the disk anew.
#[test]
fn the_reserve_is_there_again_after_a_discard() {
    let store = store(BlockSize::K4);
    let block = store.block_size() as u64;
    let count = store.size() / block;
    let words = 1500;
    let word = |index: u64| [(index % 255) as u8 + 1; 8].repeat(block as usize / 8);
    for index in 0..words {
        store.write(index * block, &word(index)).expect("no frames");
    }
    let fill = || {
        let writes = (words..count).map(|index| {
            let bytes = Fill::Random(index).bytes(block as usize);
            store.write(index * block, &bytes)
        });
        writes.filter(|written| written.is_err()).count()
    };
    let zero = |index: u64| store.write_zeroes(index * block, 512, Zeroes::Allocated);
    assert!(fill() > 0, "it is full");
    let first = (0..words).take_while(|index| zero(*index).is_ok()).count() as u64;
    assert!(0 < first && first < words, "{first} from the reserve");
    let mut out = vec![0; block as usize];
    store.read(first * block, &mut out).expect("readable");
    assert!(out == word(first), "what was refused is whole");
    let rest = words * block;
    store
        .discard(rest, store.size() - rest)
        .expect("no memory is needed");
    assert!(fill() > 0, "it is full again");
    zero(first).expect("from the reserve");
    store.read(first * block, &mut out).expect("readable");
    assert!(out[..512].iter().all(|byte| *byte == 0) && out[512..] == word(first)[512..]);
    assert_eq!(store.validate(), Ok(()));
}
