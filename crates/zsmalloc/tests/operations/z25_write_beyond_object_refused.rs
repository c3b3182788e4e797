//! Row Z25: a write beyond the object is refused, whatever its offset, and the neighbours stay.

#![cfg(not(zs_loom))]

use zs_mm::PageSize;
use zs_model::{World, pattern};
use zsmalloc::{ClassIndex, Error, Pool, PoolOptions};

#[test]
fn z25_a_write_beyond_the_object_is_refused_and_changes_nothing() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 16 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("beyond")).expect("a pool");
        for class in ClassIndex::all() {
            let slot = pool.geometry().class(class).size as usize;
            // One byte short of the slot: the byte beyond the object is nobody's, but still beyond.
            let len = slot - usize::from(class.number() % 2 == 1 && slot > 1);
            let handles: Vec<_> = (0..5)
                .map(|seed| pool.insert(&pattern(seed, len)).expect("room"))
                .collect();
            let long = vec![0xee; page.bytes() + 1];
            let ranges = [
                (0, len + 1),
                (1, len),
                (len, 1),
                (len - 1, 2),
                (len + 1, 0),
                (0, page.bytes() + 1),
                (usize::MAX, 1),
                (usize::MAX, 0),
                (usize::MAX - len + 1, len),
                (usize::MAX / 2 + 1, page.bytes()),
            ];
            for (offset, count) in ranges {
                let size = offset.saturating_add(count);
                let refused = Err(Error::TooLarge { size, max: len });
                assert_eq!(pool.write(handles[2], offset, &long[..count]), refused);
            }
            assert_eq!(pool.write(handles[2], len, &[]), Ok(()));
            pool.write(handles[2], 0, &pattern(9, len)).expect("within");
            pool.write(handles[2], len - 1, &pattern(9, len)[len - 1..])
                .expect("within");
            let mut copy = vec![0; len];
            for (seed, &handle) in [0, 1, 9, 3, 4].iter().zip(&handles) {
                assert_eq!(pool.read_into(handle, &mut copy), Ok(len));
                assert_eq!(copy, pattern(*seed, len), "{len} bytes at {page}");
            }
            handles
                .into_iter()
                .for_each(|handle| pool.free(handle).expect("live"));
        }
    }
}
