//! Row Z19: an object that ends exactly at its frame's end lies in one span, and is mapped and seen
//! as one slice without a copy; one byte more, and it lies in two.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use zs_mm::PageSize;
use zs_model::{TestArena, World, pattern};
use zsmalloc::{ClassIndex, Error, HandlePool, MapMode, Pool, PoolOptions};

/// Fills a zspage with objects that end where their frame does wherever their class allows it;
/// returns how many did.
fn end_at_frame_ends(pool: &HandlePool<&TestArena>, class: ClassIndex, beyond: usize) -> u64 {
    let page = pool.geometry().page_size().bytes();
    let geometry = pool.geometry().class(class);
    let (size, mut hits) = (geometry.size as usize, 0);
    let mut handles = Vec::new();
    for slot in 0..geometry.slots as usize {
        let room = page - slot * size % page;
        let ends = pool.geometry().lookup(room + beyond) == Some(class);
        let len = if ends { room + beyond } else { size };
        let handle = pool.insert(&pattern(slot as u64, len)).expect("room");
        handles.push(handle);
        let guard = pool.read(handle).expect("live");
        if ends {
            hits += 1;
            assert_eq!(guard.spans().first.len(), room, "{geometry:?}, slot {slot}");
            assert_eq!(
                guard.spans().second.len(),
                beyond,
                "{geometry:?}, slot {slot}"
            );
        }
        let one = guard.contiguous(&mut []).map(<[u8]>::to_vec);
        let mapped = pool
            .map(handle, MapMode::ReadOnly, &mut [])
            .map(|view| view.to_vec());
        assert_eq!(one, mapped);
        match one {
            Ok(bytes) => assert_eq!(bytes, pattern(slot as u64, len)),
            Err(error) => assert_eq!(error, Error::BufferTooSmall { needed: len }),
        }
        assert_eq!(mapped.is_ok(), len <= room, "a copy only over two frames");
    }
    handles
        .into_iter()
        .for_each(|handle| pool.free(handle).expect("live"));
    hits
}

#[test]
fn z19_an_object_that_ends_with_its_frame_needs_no_copy() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 16 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("ends")).expect("a pool");
        for beyond in [0, 1] {
            let hits: u64 = ClassIndex::all()
                .map(|class| end_at_frame_ends(&pool, class, beyond))
                .sum();
            assert!(
                hits > 10,
                "{hits} objects end {beyond} beyond a frame's end"
            );
        }
    }
}
