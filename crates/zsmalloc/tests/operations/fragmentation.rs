//! How much is held for how much is stored, and that metadata is what the design says.

#![cfg(not(zs_loom))]

use zs_mm::PageSize;
use zs_model::{Numbers, TestArena, World};
use zsmalloc::{ClassIndex, HandlePool, Pool, PoolOptions};

/// Sizes like those of compressed pages: a few small, most around a third of a page, some whole.
fn size(numbers: &mut Numbers, page: usize) -> usize {
    match numbers.below(10) {
        0 => 1 + numbers.below(page / 16),
        1..=6 => page / 5 + numbers.below(page / 3),
        7 | 8 => page / 2 + numbers.below(page / 2),
        _ => page,
    }
}

/// Bytes of a zspage's record: 11 cells, one for each frame and each slot, in units of 64 bytes.
fn record_bytes(chain: u8, slots: u8) -> u64 {
    ((11 + u64::from(chain) + u64::from(slots)) * 4).next_multiple_of(64)
}

fn check_metadata(pool: &HandlePool<&TestArena>, most: u64) {
    let metadata = pool.metadata();
    let words = (8 * most).next_multiple_of(4096);
    // Beside the words, a cell for each 512 of them.
    let side = (8 * most.div_ceil(512) + 8 * most.div_ceil(64 * 512)).next_multiple_of(4096);
    assert!(
        metadata.words <= words + side,
        "{metadata:?} for {most} objects"
    );
    assert!(metadata.words >= 8 * most);
    let records: u64 = ClassIndex::all()
        .map(|class| pool.class_stats(class))
        .map(|class| u64::from(class.zspages) * record_bytes(class.class.chain, class.class.slots))
        .sum();
    // Records of up to 10 units lie in pages of 64: at most 9 units of each page are lost.
    let pages = (records * 64).div_ceil(64 - 9) + 3 * 4096;
    assert!(
        metadata.records >= records,
        "{metadata:?}, computed {records}"
    );
    assert!(
        metadata.records <= pages,
        "{metadata:?}, computed {records}"
    );
    assert!(metadata.structure < 32 << 10, "{metadata:?}");
}

/// Held bytes per payload byte, in thousandths.
fn held_per_payload(arena: &TestArena, pool: &HandlePool<&TestArena>) -> u64 {
    arena.stats().held * 1000 / pool.stats().payload_bytes
}

#[test]
fn mixed_objects_are_held_in_little_more_than_their_bytes() {
    // The design's table says 1.037 for 64 MiB of real pages; these sizes are harsher (a tenth are
    // tiny), and few objects of a class make half-filled chains weigh more.
    for (page, objects, bound) in [
        (PageSize::K4, 20_000, 1045),
        (PageSize::K16, 5000, 1050),
        (PageSize::K64, 2000, 1070),
    ] {
        let (arena, _) = World::arena(page, 256 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("mixed")).expect("a pool");
        let mut numbers = Numbers::new(20);
        let mut handles: Vec<_> = (0..objects)
            .map(|_| {
                pool.allocate(size(&mut numbers, page.bytes()))
                    .expect("room")
            })
            .collect();
        pool.trim();
        let held = held_per_payload(&arena, &pool);
        assert!(
            held < bound,
            "{held} thousandths at {page}: {:?}",
            pool.stats()
        );
        check_metadata(&pool, objects);
        // Half of them go: what is left is spread over the frames until somebody compacts.
        for _ in 0..objects / 2 {
            let handle = handles.swap_remove(numbers.below(handles.len()));
            pool.free(handle).expect("live");
        }
        pool.trim();
        let after = held_per_payload(&arena, &pool);
        assert!(
            after < 2000,
            "{after} thousandths at {page} after half of them went"
        );
        pool.validate().expect("valid");
        // And the holes are filled before anything new is taken.
        let frames = pool.stats().frames;
        while (handles.len() as u64) < objects * 9 / 10 {
            handles.push(
                pool.allocate(size(&mut numbers, page.bytes()))
                    .expect("room"),
            );
        }
        pool.trim();
        assert!(
            held_per_payload(&arena, &pool) < bound + 80,
            "{frames} frames before"
        );
        check_metadata(&pool, objects);
    }
}
