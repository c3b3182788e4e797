//! Random operations on everything that moves frames or takes them by their place, with failures of
//! the backing: after each nothing is isolated, every object is there, and all adds up.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use crate::common::objects::Objects;
use crate::common::{Random, at_every_size, check_bytes, effort, stamp, stamp_bytes, still_host};
use std::cell::Cell;
use std::collections::HashMap;
use zs_mm::{
    Arena, ArenaOptions, Balloon, CompactOptions, Contiguous, Error, Frame, FrameId, MigrateMode,
    Movable, PageSize, ZoneId, ZoneSpecs,
};
use zs_os::testing::{Call, Fault, FaultBacking, StrictBacking};

type Tested = Arena<FaultBacking<StrictBacking>>;

const ZONES: u32 = 3;
const KINDS: usize = 18;

struct World<'a> {
    arena: &'a Tested,
    objects: Objects<'a, FaultBacking<StrictBacking>>,
    balloon: Balloon<&'a Tested>,
    held: Vec<Contiguous>,
    frames: Vec<Frame>,
    random: Random,
    frames_in_arena: usize,
    /// How often each kind of operation did something, and was refused.
    done: [u64; KINDS],
    refused: HashMap<String, u64>,
}

impl World<'_> {
    fn zone(&mut self) -> ZoneId {
        ZoneId(self.random.below(ZONES as usize) as u32)
    }

    fn frame(&mut self) -> FrameId {
        FrameId(self.random.below(self.frames_in_arena) as u32)
    }

    fn hold(&mut self, contiguous: Contiguous) {
        for frame in 0..contiguous.frames() {
            let id = FrameId(contiguous.first().0 + frame);
            stamp_bytes(self.arena, id, u64::from(id.0));
        }
        self.held.push(contiguous);
    }

    fn let_go(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let one = self.random.below(self.held.len());
        let contiguous = self.held.swap_remove(one);
        for frame in 0..contiguous.frames() {
            let id = FrameId(contiguous.first().0 + frame);
            check_bytes(self.arena, id, u64::from(id.0));
        }
        self.arena.free_contiguous(contiguous);
    }

    fn churn(&mut self) -> Result<(), Error> {
        for _ in 0..self.random.below(40) {
            let slot = self.random.below(self.objects.slots());
            if self.random.below(2) == 0 {
                self.objects.free(slot);
            } else {
                self.objects.insert(slot);
            }
        }
        Ok(())
    }

    fn compact(&mut self, mode: MigrateMode) -> Result<(), Error> {
        let options = CompactOptions {
            frames: self.random.below(500) as u64,
            ..CompactOptions::new(mode)
        };
        let (zone, arena) = (self.zone(), self.arena);
        let owners: [&dyn Movable; 2] = [&self.objects, &self.balloon];
        arena.compact_zone(zone, &owners, options).map(drop)
    }

    fn set_fault(&mut self) {
        let control = self.arena.backing().control();
        let nth = 1 + self.random.below(4) as u64;
        match self.random.below(3) {
            0 => control.set(Call::Commit, Fault::Nth(nth)),
            1 => control.set(Call::Decommit, Fault::Nth(nth)),
            _ => control.clear(),
        }
    }

    fn operate(&mut self, kind: usize) -> Result<(), Error> {
        let (arena, zone, frame) = (self.arena, self.zone(), self.frame());
        let order = self.random.below(self.frames_in_arena.ilog2() as usize) as u32;
        let len = 1 + self.random.below(60) as u32;
        let bytes = arena.capacity() / 64;
        let limit = bytes * (8 + self.random.below(57) as u64);
        let target = self.random.below(self.frames_in_arena / 8) as u64;
        let owners: [&dyn Movable; 2] = [&self.objects, &self.balloon];
        match kind {
            0 => arena
                .alloc_contiguous(order, &owners)
                .map(|one| self.hold(one)),
            1 => arena
                .alloc_range(frame, len, &owners)
                .map(|one| self.hold(one)),
            2 => arena.alloc_contiguous(order, &[]).map(|one| self.hold(one)),
            3 | 4 => {
                self.let_go();
                Ok(())
            }
            5 => self.compact(MigrateMode::Async),
            6 => self.compact(MigrateMode::SyncLight),
            7 => {
                arena.compact_proactive(&owners, &|| true);
                Ok(())
            }
            8 if frame.0.is_multiple_of(16) => arena.offline_frame(frame, &owners),
            9 => arena.offline_zone(zone, &owners),
            10 => arena.online_zone(zone),
            11 => arena.set_limit(limit),
            12 => self.balloon.inflate(target).map(drop),
            13 => {
                self.balloon.deflate(target);
                Ok(())
            }
            14 => arena.alloc_frame_in(zone).map(|frame| {
                stamp(arena, &frame, frame.id().0.into());
                self.frames.push(frame);
            }),
            15 => {
                let frames = core::mem::take(&mut self.frames);
                crate::common::free_all(arena, frames);
                arena.trim();
                Ok(())
            }
            16 => {
                self.set_fault();
                Ok(())
            }
            _ => self.churn(),
        }
    }

    fn check(&self, step: usize, what: &str) {
        for zone in self.arena.zones() {
            let moves = self.arena.zone_moves(zone).expect("a zone");
            assert_eq!((moves.isolated, moves.draining), (0, 0), "{step} {what}");
        }
        self.objects.check();
        if let Err(wrong) = self.arena.validate(self.balloon.metadata_bytes()) {
            panic!("step {step}, {what}: {wrong}");
        }
        let stats = self.arena.stats();
        assert!(
            stats.held + stats.ballooned <= stats.limit,
            "{step} {what}: {stats:?}"
        );
    }

    fn run(&mut self, steps: usize) {
        for step in 0..steps {
            let kind = self.random.below(KINDS);
            let outcome = self.operate(kind);
            match &outcome {
                Ok(()) => self.done[kind] += 1,
                Err(error) => {
                    let what = format!("{kind} {:?}", core::mem::discriminant(error));
                    *self.refused.entry(what).or_default() += 1;
                }
            }
            if step.is_multiple_of(7) {
                self.check(step, &format!("kind {kind}: {outcome:?}"));
            }
        }
    }

    /// How often each kind of operation did something, and how many sorts of refusals there were.
    fn end(mut self) -> ([u64; KINDS], usize) {
        self.arena.backing().control().clear();
        while !self.held.is_empty() {
            self.let_go();
        }
        crate::common::free_all(self.arena, core::mem::take(&mut self.frames));
        self.balloon.deflate(0);
        self.objects.free_all();
        self.check(usize::MAX, "the end");
        for zone in self.arena.zones() {
            self.arena.online_zone(zone).expect("a zone");
        }
        let capacity = self.arena.capacity();
        self.arena.set_limit(capacity).expect("nothing is held");
        let stats = self.arena.stats();
        assert_eq!((stats.in_use, stats.ballooned), (0, 0), "{stats:?}");
        (self.done, self.refused.len())
    }
}

fn world(page: PageSize, granule: usize, seed: u64) -> ([u64; KINDS], usize) {
    let options = crate::common::blocks(page, 9);
    let options = ArenaOptions {
        limit: options.limit * 2 / 3,
        reserve: Some(options.limit),
        zones: ZoneSpecs::normal(ZONES as usize),
        ..options
    };
    let arena = crate::common::arena(StrictBacking::with_granule(granule), still_host(), options);
    let frames = 9 * page.frames_per_block();
    let mut world = World {
        arena: &arena,
        objects: Objects::new(&arena, frames / 3),
        balloon: Balloon::new(&arena).expect("a balloon"),
        held: Vec::new(),
        frames: Vec::new(),
        random: Random(seed),
        frames_in_arena: frames,
        done: [0; KINDS],
        refused: HashMap::new(),
    };
    world.run(1000);
    world.end()
}

#[test]
fn nothing_is_lost_in_any_order() {
    let seeds = effort(12, 1) as u64;
    let total = Cell::new(([0; KINDS], 0));
    at_every_size(|page, granule| {
        for seed in 1..=seeds {
            let (done, refused) = world(page, granule, seed * 77 + granule as u64);
            let (mut sum, most) = total.get();
            sum.iter_mut()
                .zip(done)
                .for_each(|(sum, done)| *sum += done);
            total.set((sum, refused.max(most)));
        }
    });
    let (done, refused) = total.get();
    assert!(done.iter().all(|&done| done > 20), "{done:?}");
    assert!(refused > 10, "{refused} sorts of refusals");
}
