//! Who owns a frame, and who is refused it.

#![cfg(not(zs_loom))]

mod common;

use common::check;
use zs_mm::{ArenaOptions, Descriptor, Error, FrameId, FrameOwner, FrameType, MAX_POOLS, PageSize};
use zs_os::HOST;
use zs_os::testing::StrictBacking;

#[test]
fn a_wrong_owner_is_refused() {
    for page in PageSize::ALL {
        let arena = common::arena(StrictBacking::new(), &HOST, common::blocks(page, 2));
        let (pool, other) = (arena.join().expect("a pool"), arena.join().expect("a pool"));
        let owner = FrameOwner {
            pool,
            zspage: 77,
            index: 3,
        };
        let frame = arena.alloc_frame().expect("a frame");
        let id = frame.id();
        let unowned = arena.frame_descriptor(id).expect("in the arena");
        assert_eq!(unowned, Descriptor::UNOWNED);
        assert_eq!(arena.reclaim(id, owner), None, "nobody's yet");
        assert_eq!(arena.assign(frame, owner), id);
        let wrong = [
            FrameOwner {
                pool: other,
                ..owner
            },
            FrameOwner {
                zspage: 78,
                ..owner
            },
            FrameOwner { index: 4, ..owner },
        ];
        for wrong in wrong {
            assert_eq!(arena.reclaim(id, wrong), None, "{wrong:?}");
            let descriptor = arena.frame_descriptor(id).expect("in the arena");
            assert_eq!(descriptor.owner(), owner);
            assert_eq!(descriptor.frame_type(), FrameType::Zspage);
        }
        assert_eq!(
            arena.reclaim(FrameId(id.0 + 1), owner),
            None,
            "a free frame"
        );
        let frame = arena.reclaim(id, owner).expect("the owner gets it");
        assert_eq!(arena.reclaim(id, owner), None, "but once");
        arena.free_frame(frame);
        assert_eq!(arena.reclaim(id, owner), None, "nor when it is free");
        assert_eq!(arena.frame_descriptor(id), Some(Descriptor::FREE));
        check(&arena, 0);
    }
}

/// The descriptor table is committed as it grows; on the strict backing a write beyond faults.
#[test]
fn frames_that_were_never_used_read_as_free() {
    let arena = common::arena(StrictBacking::new(), &HOST, ArenaOptions::new(64 << 20));
    let owner = FrameOwner {
        pool: arena.join().expect("a pool"),
        zspage: 0,
        index: 0,
    };
    let frames = (64 << 20) / 4096;
    for id in [0, 1, 511, 512, frames / 2, frames - 1].map(FrameId) {
        assert_eq!(arena.frame_descriptor(id), Some(Descriptor::FREE));
        assert_eq!(arena.reclaim(id, owner), None);
    }
    for id in [frames, u32::MAX].map(FrameId) {
        assert_eq!(arena.frame_descriptor(id), None);
        assert_eq!(arena.reclaim(id, owner), None);
    }
    assert_eq!(arena.stats().held, arena.stats().metadata);
    check(&arena, 0);
}

#[test]
fn pool_ids_are_lowest_first_and_bounded() {
    let arena = common::arena(StrictBacking::new(), &HOST, ArenaOptions::new(8 << 20));
    let mut pools: Vec<_> = (0..MAX_POOLS)
        .map(|_| arena.join().expect("an id"))
        .collect();
    assert_eq!(arena.join(), Err(Error::TooManyPools));
    let different: std::collections::HashSet<_> = pools.iter().collect();
    assert_eq!(different.len(), MAX_POOLS);
    let (low, high) = (pools[70], pools[900]);
    pools.retain(|&pool| pool != low && pool != high);
    arena.leave(high);
    arena.leave(low);
    assert_eq!(arena.join(), Ok(low));
    assert_eq!(arena.join(), Ok(high));
    assert_eq!(arena.join(), Err(Error::TooManyPools));
}
