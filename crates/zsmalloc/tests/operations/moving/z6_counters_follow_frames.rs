//! Row Z6: counters stayed with the old zone when a frame moved to another.

use super::{arena, check, filled, move_frames, owned, pool, settled};
use zs_mm::{MigrateMode, PageSize, ZoneId};
use zs_model::TestArena;

/// Frames in use of each zone, by their descriptors.
fn in_use(arena: &TestArena) -> [u64; 3] {
    let mut found = [0; 3];
    for frame in owned(arena) {
        let zone = arena.zone_of_frame(frame).expect("of a zone");
        found[zone.0 as usize] += 1;
    }
    found
}

#[test]
fn z6_counters_are_exact_after_moves_across_zones() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let pools = [pool(&arena)];
        let [pool] = &pools;
        let objects = filled(pool);
        let all = owned(&arena).len() as u64;
        assert_eq!(in_use(&arena), [all, 0, 0]);
        let (mut moved_in, mut moved_out) = ([0; 3], [0; 3]);
        // Every frame on, every other one with a reader inside.
        for step in 0..7 {
            let (from, to) = (step % 3, (step + 1) % 3);
            let frames: Vec<_> = owned(&arena).into_iter().collect();
            let readers: Vec<_> = objects
                .iter()
                .step_by(2)
                .map(|&object| pool.read(object).expect("live"))
                .collect();
            let mode = [
                MigrateMode::Async,
                MigrateMode::SyncLight,
                MigrateMode::Sync,
                MigrateMode::SyncNoCopy,
            ][step % 4];
            let (report, status) = move_frames(&arena, &frames, &[pool], mode, Some(to as u32));
            assert_eq!(report.moved, all, "{status:?}");
            moved_out[from] += all;
            moved_in[to] += all;
            let draining = arena
                .zone_moves(ZoneId(from as u32))
                .expect("a zone")
                .draining;
            assert!(draining > 0, "readers are inside");
            drop(readers);
            settled(&arena, &pools);
            let mut expected = [0; 3];
            expected[to] = all;
            assert_eq!(in_use(&arena), expected);
            for zone in 0..3 {
                let moves = arena.zone_moves(ZoneId(zone as u32)).expect("a zone");
                let found = (moves.moved_in, moves.moved_out);
                assert_eq!(found, (moved_in[zone], moved_out[zone]), "zone {zone}");
                assert_eq!((moves.isolated, moves.draining, moves.failed), (0, 0, 0));
            }
        }
        check(pool, &objects);
    }
}
