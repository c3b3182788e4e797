//! Row M1: counters of isolated frames went negative, and everyone waited for ever. Here the
//! counter is what is held isolated after every operation, whatever its outcome.

use super::{arena, check, filled, owned, underway};
use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use zs_mm::{
    Anywhere, Destination, Frame, FrameId, FrameLock, FrameOwner, FrameStatus, FrameType, InZone,
    MigrateEnd, MigrateMode, MigrateOptions, Movable, PageSize, PoolKey, Prepared, PutBack, ZoneId,
};
use zs_model::{Numbers, TestArena, pattern, scaled, sound};
use zsmalloc::{Handle, HandlePool, Pool, PoolOptions};

/// A destination that runs out after so many frames.
#[derive(Debug)]
struct Few<'a>(&'a TestArena, usize);

impl Destination for Few<'_> {
    fn frame_for(&mut self, _source: FrameId) -> Option<Frame> {
        self.1 = self.1.checked_sub(1)?;
        self.0.alloc_frame().ok()
    }

    fn unused(&mut self, frame: Frame) {
        self.0.free_frame(frame);
    }
}

/// A pool whose frames are moved in one mode only.
struct AsyncOnly<'p, 'a>(&'p HandlePool<&'a TestArena>);

// SAFETY: all that is promised is the pool's, but for the modes.
unsafe impl Movable for AsyncOnly<'_, '_> {
    fn key(&self) -> &PoolKey {
        Movable::key(self.0)
    }

    fn serves(&self, mode: MigrateMode) -> bool {
        mode == MigrateMode::Async
    }

    fn isolate(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> bool {
        self.0.isolate(frame, owner)
    }

    fn prepare(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> Prepared {
        self.0.prepare(frame, owner)
    }

    fn commit(&self, frame: &FrameLock<'_>, owner: FrameOwner, to: Frame) -> Option<Frame> {
        self.0.commit(frame, owner, to)
    }

    fn putback(&self, frame: &FrameLock<'_>, owner: FrameOwner) -> PutBack {
        self.0.putback(frame, owner)
    }

    fn drain(&self) {
        Movable::drain(self.0);
    }
}

/// Random operations, and what came of them.
struct Run<'p, 'a> {
    arena: &'a TestArena,
    pools: &'p [HandlePool<&'a TestArena>; 2],
    numbers: Numbers,
    /// A frame that was taken out of the arena.
    offline: FrameId,
    /// Objects that come and go.
    objects: Vec<Handle>,
    outcomes: BTreeMap<&'static str, u64>,
    ends: Vec<Discriminant<MigrateEnd>>,
}

fn name(status: FrameStatus) -> &'static str {
    match status {
        FrameStatus::Pending => "pending",
        FrameStatus::Moved(_) => "moved",
        FrameStatus::Freed => "freed",
        FrameStatus::Busy => "busy",
        FrameStatus::NotInUse => "not in use",
        FrameStatus::NoSuchFrame => "no such frame",
        FrameStatus::NotMovable => "not movable",
        FrameStatus::AlreadyIsolated => "isolated",
        FrameStatus::Offline => "offline",
        FrameStatus::NoMemory => "no memory",
        FrameStatus::WrongMode => "wrong mode",
    }
}

impl<'p> Run<'p, '_> {
    /// One to three frames: most of a pool, some free, some none.
    fn frames(&mut self) -> Vec<FrameId> {
        let mut owned = owned(self.arena);
        owned.extend([FrameId(u32::MAX), FrameId(1_000_000)]);
        owned.push(FrameId(self.numbers.below(64) as u32));
        owned.push(self.offline);
        // That in which a reader may be, often: its second move finds the first still draining.
        let first = self.objects.first();
        if let Some((frame, _)) = first.and_then(|&first| self.pools[0].frames_of(first).ok()) {
            owned.extend([frame; 16]);
        }
        let count = 1 + self.numbers.below(3);
        let pick = |_| owned[self.numbers.below(owned.len())];
        (0..count).map(pick).collect()
    }

    fn churn(&mut self) {
        let page = self.arena.options().page_size.bytes();
        if self.objects.len() > 20 || self.numbers.below(2) == 0 && !self.objects.is_empty() {
            let at = self.numbers.below(self.objects.len());
            let freed = self.pools[0].free(self.objects.swap_remove(at));
            freed.expect("live");
        } else {
            let len = 1 + self.numbers.below(page);
            let object = self.pools[0].insert(&pattern(1, len));
            self.objects.push(object.expect("room"));
        }
    }

    fn migrate(&mut self) {
        let frames = self.frames();
        let modes = [
            MigrateMode::Async,
            MigrateMode::SyncLight,
            MigrateMode::Sync,
            MigrateMode::SyncNoCopy,
        ];
        let options = MigrateOptions::new(modes[self.numbers.below(4)]);
        let stopped = self.numbers.below(16) == 0;
        let options = MigrateOptions {
            wait_ns: 0,
            go_on: &move || !stopped,
            ..options
        };
        let paused = (self.numbers.below(16) == 0).then(|| self.arena.pause_moves());
        let arena = self.arena;
        let (mut anywhere, mut few) = (Anywhere(arena), Few(arena, self.numbers.below(3)));
        let mut zoned = InZone(arena, ZoneId(self.numbers.below(4) as u32));
        let to: &mut dyn Destination = match self.numbers.below(4) {
            0 => &mut few,
            1 => &mut zoned,
            _ => &mut anywhere,
        };
        let pools = self.pools;
        let async_only = AsyncOnly(&pools[0]);
        let owners: &[&dyn Movable] = match self.numbers.below(5) {
            0 => &[],
            1 => &[&pools[0]],
            2 => &[&async_only, &pools[1]],
            _ => &[&pools[0], &pools[1]],
        };
        let mut status = [FrameStatus::Pending; 3];
        let report = arena.migrate_pages(&frames, owners, to, options, &mut status);
        drop(paused);
        for &one in &status[..frames.len()] {
            *self.outcomes.entry(name(one)).or_default() += 1;
        }
        let end = discriminant(&report.end);
        if !self.ends.contains(&end) {
            self.ends.push(end);
        }
    }

    /// Moves with a reader inside an object of a frame, and isolated frames beside.
    fn beside_others(&mut self) {
        let pools = self.pools;
        let reader = self
            .objects
            .first()
            .and_then(|&object| pools[0].read(object).ok());
        let mut tokens = Vec::new();
        for frame in self.frames() {
            let owners: [&dyn Movable; 2] = [&pools[0], &pools[1]];
            match self.arena.isolate(frame, &owners, true) {
                Ok(token) => tokens.push(token),
                Err(status) => *self.outcomes.entry(name(status)).or_default() += 1,
            }
        }
        self.migrate();
        assert_eq!(underway(self.arena).0, tokens.len() as u64);
        self.churn();
        self.migrate();
        drop(tokens);
        drop(reader);
    }
}

/// A million operations at `ZS_LONG=20` (`ZS_LONG=20 cargo test --release -p zsmalloc --test
/// operations m1_`).
fn operations(page: PageSize, seed: u64) {
    let arena = arena(page);
    let pools = ["first", "second"]
        .map(|name| Pool::new(&arena, PoolOptions::named(name)).expect("a pool"));
    let stay = filled(&pools[1]);
    let offline = owned(&arena)[0];
    arena.offline_frame(offline, &[&pools[1]]).expect("movable");
    let mut run = Run {
        arena: &arena,
        pools: &pools,
        numbers: Numbers::new(seed),
        offline,
        objects: Vec::new(),
        outcomes: BTreeMap::new(),
        ends: Vec::new(),
    };
    for step in 0..scaled(50_000) / 3 {
        match run.numbers.below(4) {
            0 => run.churn(),
            1 => run.beside_others(),
            _ => run.migrate(),
        }
        assert_eq!(underway(&arena).0, 0, "step {step}: {:?}", run.outcomes);
        if step % 1000 == 0 {
            check(&pools[1], &stay);
            sound(&arena, &pools).expect("sound");
        }
    }
    let wanted = [
        "pending",
        "moved",
        "freed",
        "busy",
        "not in use",
        "no such frame",
        "not movable",
        "isolated",
        "no memory",
        "offline",
        "wrong mode",
    ];
    let met = |what: &&str| run.outcomes.contains_key(what);
    assert!(wanted.iter().all(met), "{:?}", run.outcomes);
    assert_eq!(run.ends.len(), 4, "done, no memory, stopped, paused");
    check(&pools[1], &stay);
    let offline = arena.frame_descriptor(run.offline);
    assert!(offline.is_some_and(|found| found.frame_type() == FrameType::Offline));
}

#[test]
fn m1_isolated_is_zero_after_every_outcome_at_4k() {
    operations(PageSize::K4, 1);
}

#[test]
fn m1_isolated_is_zero_after_every_outcome_at_16k() {
    operations(PageSize::K16, 2);
}

#[test]
fn m1_isolated_is_zero_after_every_outcome_at_64k() {
    operations(PageSize::K64, 3);
}
