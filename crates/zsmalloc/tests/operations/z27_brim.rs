//! Row Z27: each class is filled to the brim. Slots are distinct and end before the tail waste, the
//! next object goes to a new zspage, and a hole is filled before that.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::collections::HashSet;
use zs_mm::PageSize;
use zs_model::{TestArena, World};
use zsmalloc::{ClassIndex, Handle, HandlePool, Pool, PoolOptions};

/// The payload bytes of an object: the first of each 8, which is enough to tell slots apart.
fn places(pool: &HandlePool<&TestArena>, handle: Handle) -> Vec<usize> {
    let guard = pool.read(handle).expect("live");
    let spans = guard.spans();
    let of = |span: &[u8]| span.as_ptr().addr()..span.as_ptr().addr() + span.len();
    let both = of(spans.first).chain(of(spans.second).filter(|_| !spans.second.is_empty()));
    both.step_by(8).map(|address| address / 8).collect()
}

fn brim(pool: &HandlePool<&TestArena>, class: ClassIndex) {
    let geometry = pool.geometry().class(class);
    let (size, slots) = (geometry.size as usize, geometry.slots as usize);
    let zspages = || pool.class_stats(class).zspages;
    let mut handles: Vec<_> = (0..slots)
        .map(|_| pool.allocate(size).expect("room"))
        .collect();
    let stats = pool.class_stats(class);
    assert_eq!(
        (stats.zspages, stats.objects, stats.slots),
        (1, slots as u64, slots as u64)
    );
    assert_eq!(stats.frames, u32::from(geometry.chain));
    assert_eq!(stats.groups[11], 1, "a full zspage is in the last group");
    let mut seen = HashSet::new();
    for &handle in &handles {
        assert!(
            places(pool, handle)
                .into_iter()
                .all(|place| seen.insert(place)),
            "{geometry:?}"
        );
    }
    // In multiples of 8 bytes, what is not covered is the tail waste, no more and no less.
    let page = pool.geometry().page_size();
    let covered = seen.len() * 8;
    let tail = geometry.chain as usize * page.bytes() - slots * size;
    assert_eq!(
        covered + tail,
        geometry.chain as usize * page.bytes(),
        "{geometry:?}"
    );
    handles.push(pool.allocate(size).expect("room"));
    assert_eq!(zspages(), 2, "{geometry:?}: the next goes to a new zspage");
    if slots > 1 {
        let hole = places(pool, handles[slots / 2]);
        pool.free(handles[slots / 2]).expect("live");
        handles[slots / 2] = pool.allocate(size).expect("room");
        assert_eq!(zspages(), 2);
        let fullest = places(pool, handles[slots / 2]);
        assert_eq!(
            hole, fullest,
            "{geometry:?}: the fullest zspage with room is filled first"
        );
    }
    handles
        .into_iter()
        .for_each(|handle| pool.free(handle).expect("live"));
    assert!(zspages() <= 1, "one frame is kept back at most");
}

#[test]
fn z27_classes_filled_to_the_brim() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 16 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("brim")).expect("a pool");
        for class in ClassIndex::all() {
            brim(&pool, class);
        }
        pool.validate().expect("valid");
        pool.trim();
        assert_eq!(pool.stats().zspages, 0);
    }
}
