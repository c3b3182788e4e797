//! Row Z14: the place of every slot, at every page size and class, equals a naive walk over the
//! zspage's bytes. Rows Z19 and Z27 walk the same way.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use zs_mm::PageSize;
use zs_model::{TestArena, World, pattern};
use zsmalloc::{CLASSES, ClassIndex, Geometry, HandlePool, Pool, PoolOptions, Spans};

/// Where bytes lie in the payload.
fn offset(arena: &TestArena, bytes: &[u8]) -> usize {
    // SAFETY: no byte is borrowed, only the place where the payload starts.
    let base = unsafe { arena.payload().bytes(0, 0) };
    bytes.as_ptr().addr() - base.as_ptr().addr()
}

/// The bytes of an object in the payload, one by one.
fn walk(arena: &TestArena, spans: Spans<'_>) -> Vec<usize> {
    let of = |span: &[u8]| {
        let start = if span.is_empty() {
            0
        } else {
            offset(arena, span)
        };
        start..start + span.len()
    };
    of(spans.first).chain(of(spans.second)).collect()
}

/// Fills one zspage of a class, slot by slot, and follows each byte.
fn fill_one_zspage(arena: &TestArena, pool: &HandlePool<&TestArena>, class: ClassIndex) {
    let page = pool.geometry().page_size().bytes();
    let geometry = pool.geometry().class(class);
    let (size, slots) = (geometry.size as usize, geometry.slots as usize);
    let handles: Vec<_> = (0..slots)
        .map(|slot| pool.insert(&pattern(slot as u64, size)).expect("room"))
        .collect();
    let stats = pool.class_stats(class);
    assert_eq!(
        (stats.zspages, stats.frames),
        (1, u32::from(geometry.chain)),
        "{geometry:?}"
    );
    let mut frames = vec![None; geometry.chain as usize];
    for (slot, &handle) in handles.iter().enumerate() {
        let guard = pool.read(handle).expect("live");
        let spans = guard.spans();
        assert_eq!(
            [spans.first, spans.second].concat(),
            pattern(slot as u64, size)
        );
        for (at, place) in walk(arena, spans).into_iter().enumerate() {
            let naive = slot * size + at;
            let frame = *frames[naive / page].get_or_insert(place / page);
            assert_eq!(
                (frame, naive % page),
                (place / page, place % page),
                "{geometry:?} {slot}"
            );
        }
    }
    let mut distinct: Vec<_> = frames
        .into_iter()
        .collect::<Option<_>>()
        .expect("all are touched");
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), geometry.chain as usize, "each frame once");
    handles
        .into_iter()
        .for_each(|handle| pool.free(handle).expect("live"));
    pool.validate().expect("valid");
}

#[test]
fn z14_spans_equal_a_naive_walk_at_every_page_size_and_class() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 16 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("walk")).expect("a pool");
        for class in ClassIndex::all() {
            fill_one_zspage(&arena, &pool, class);
        }
        pool.trim();
        assert_eq!(pool.stats().frames, 0);
        assert_eq!(Geometry::of(page).classes().len(), CLASSES);
    }
}
