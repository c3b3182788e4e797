//! Row Z21: the class that lookup names for a size is the one that insert, allocate, replace and a
//! client's store use, at every size and page size.

#![cfg(not(zs_loom))]

use zs_mm::PageSize;
use zs_model::{TestArena, World};
use zsmalloc::{ClassIndex, Client, Pool, PoolOptions};

fn objects<C: Client>(pool: &Pool<&TestArena, C>, class: ClassIndex) -> u64 {
    pool.class_stats(class).objects
}

#[test]
fn z21_insert_uses_the_class_of_lookup_at_every_size() {
    for page in PageSize::ALL {
        let (arena, _) = World::arena(page, 16 << 20, 4096).expect("an arena");
        let pool = Pool::new(&arena, PoolOptions::named("sizes")).expect("a pool");
        let bytes = vec![1; page.bytes()];
        let moving = pool.insert(&[1]).expect("room");
        assert_eq!(objects(&pool, ClassIndex::checked(0).expect("a class")), 1);
        for size in 1..=page.bytes() {
            let class = pool.geometry().lookup(size).expect("a class");
            let before = objects(&pool, class);
            let handle = match size % 16 {
                0 => pool.insert(&bytes[..size]),
                _ => pool.allocate(size),
            };
            assert_eq!(objects(&pool, class), before + 1, "{size} at {page}");
            assert_eq!(pool.stats().objects, 2);
            pool.free(handle.expect("room")).expect("live");
            if size % 16 < 2 {
                pool.replace(moving, &bytes[..size]).expect("room");
                assert_eq!(objects(&pool, class), 1, "{size} at {page}");
            }
        }
        pool.validate().expect("valid");
    }
}
