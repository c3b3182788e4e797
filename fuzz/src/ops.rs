//! Operations on pools, against the reference model.

use zs_mm::{Arena, ArenaOptions, PageSize};
use zs_model::{Environment, Op, Report, RunOptions, SlotTable, Words, World, run};
use zs_os::testing::{FaultBacking, HeapBacking, TestHost};
use zsmalloc::HandleTable;

/// One for all runs: a process makes millions of arenas, and a host outlives its arena.
static HOST: TestHost = TestHost::new(0);

/// Runs the operations that the bytes stand for on handle pools.
///
/// Byte 0 chooses, from its lowest bits up: page size (2 bits), granule (2), pools (2), whether
/// freed bytes are zeroed (1), the arena's limit (1). Byte 1: the room below the limit (2 bits),
/// the most objects (2), how often everything is recounted (1). The rest is for [`Op::decode`].
///
/// # Panics
/// If pool and model differ.
pub fn handle_pools(bytes: &[u8]) -> Report {
    drive::<HandleTable, _>(bytes, |world| world)
}

/// As [`handle_pools`], on pools whose words are the client's own.
///
/// # Panics
/// If pool and model differ.
pub fn client_words(bytes: &[u8]) -> Report {
    drive::<SlotTable, _>(bytes, |world| world)
}

/// A run in the environment that `environment` makes of the arena's world.
#[expect(clippy::panic, reason = "a fuzzer learns of a find by a panic")]
pub(crate) fn drive<W: Words, E: Environment>(
    bytes: &[u8],
    environment: impl FnOnce(World) -> E,
) -> Report {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
        return Report::default();
    };
    let (page, granule) = (PageSize::ALL[choice(first, 3)], choice(first >> 2, 3));
    let limit = if first >> 7 == 0 { 2 << 20 } else { 4 << 20 };
    let options = RunOptions {
        pools: 1 + choice(first >> 4, 3),
        zero_freed: first >> 6 & 1 == 1,
        max_objects: [600, 12, 5000][choice(second >> 2, 3)],
        room: [None, Some(60 << 10), Some(200 << 10), Some(900 << 10)][choice(second, 4)],
        // The property tests recount after every step; here that would take most of the time.
        validate_every: [64, 8][choice(second >> 4, 2)],
    };
    let ops = Op::decode(rest);
    let (arena, world) = arena(page, limit, 4096 << (2 * granule));
    let outcome = run::<_, W>(&arena, &environment(world), &options, &ops);
    outcome.unwrap_or_else(|mismatch| {
        panic!(
            "{page} frames, limit {limit}, granule 4 KiB << {granule} * 2, {options:?}: {mismatch}"
        )
    })
}

/// One of so many (at most 4), by the two lowest bits.
fn choice(bits: u8, of: usize) -> usize {
    usize::from(bits & 3) % of
}

/// An arena as `World::arena` makes it, at time 0 on CPU 0 of the one host.
#[expect(clippy::expect_used, reason = "every setup above is a valid one")]
fn arena(
    page_size: PageSize,
    limit: u64,
    granule: usize,
) -> (Arena<FaultBacking<HeapBacking>>, World) {
    HOST.set_now_ns(0);
    HOST.set_cpu(0);
    let backing = FaultBacking::new(HeapBacking::new(granule));
    let world = World {
        faults: backing.control(),
        host: &HOST,
    };
    let options = ArenaOptions {
        page_size,
        ..ArenaOptions::new(limit)
    };
    let arena = Arena::new(backing, &HOST, options).expect("an arena of heap memory");
    (arena, world)
}
