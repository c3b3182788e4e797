//! A run: its options, its report, its end.

use crate::model::Model;
use crate::op::{MapKind, Op};
use crate::words::Words;
use core::fmt;
use zs_mm::{Arena, Backing, Isolated};
use zsmalloc::{Error, Mapping, Pool, PoolOptions, ReadGuard};

/// Mappings that one run can hold at a time or one after the other.
const HELD_MAPS: usize = 12;

/// The world around a run: faults, and a clock. `()` has neither.
pub trait Environment {
    /// Lets the commit after `after` more fail, and if `lasting` all that follow.
    fn fail_commits(&self, _after: u64, _lasting: bool) {}

    /// Lets the decommit after `after` more fail, and if `lasting` all that follow.
    fn fail_decommits(&self, _after: u64, _lasting: bool) {}

    /// Lets nothing fail any more.
    fn clear_faults(&self) {}

    /// Returns how many calls were made to fail so far.
    fn injected(&self) -> u64 {
        0
    }

    /// Moves the arena's clock forward.
    fn advance_ns(&self, _by: u64) {}
}

impl Environment for () {}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Pools on the arena: 1 to 3.
    pub pools: usize,
    /// The option of the pools.
    pub zero_freed: bool,
    /// The most objects of one pool; the words of a client of its own.
    pub max_objects: u32,
    /// So many bytes are left of the arena's limit when the pools are made, if there are more: the
    /// rest is charged elsewhere.
    pub room: Option<u64>,
    /// Recount everything after every so many steps; 1 is after each.
    pub validate_every: usize,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            pools: 2,
            zero_freed: false,
            max_objects: 1500,
            room: None,
            validate_every: 1,
        }
    }
}

/// What a run met: a test asserts that what it is about did happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct Report {
    pub inserted: u64,
    pub replaced: u64,
    pub read: u64,
    /// Reads of objects in two frames.
    pub spanning: u64,
    pub mapped: u64,
    pub freed: u64,
    /// Frees with a reader inside.
    pub deferred: u64,
    pub busy: u64,
    pub stale: u64,
    pub no_memory: u64,
    pub occupied: u64,
    pub scribbled: u64,
    /// Objects that a compaction moved, frames that it freed, objects that it found in use.
    pub moved: u64,
    pub compacted: u64,
    pub kept_busy: u64,
    /// Frames that were moved; of those, how many with a reader inside.
    pub migrated: u64,
    pub drained: u64,
    /// Frames that a mover freed, frames that were isolated already or drain.
    pub freed_by_movers: u64,
    pub refused_to_movers: u64,
    /// The pools could not be made, by an injected fault or the limit.
    pub unmade: u64,
}

impl Report {
    /// Adds up two reports.
    pub fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.replaced += other.replaced;
        self.read += other.read;
        self.spanning += other.spanning;
        self.mapped += other.mapped;
        self.freed += other.freed;
        self.deferred += other.deferred;
        self.busy += other.busy;
        self.stale += other.stale;
        self.no_memory += other.no_memory;
        self.occupied += other.occupied;
        self.scribbled += other.scribbled;
        self.moved += other.moved;
        self.compacted += other.compacted;
        self.kept_busy += other.kept_busy;
        self.migrated += other.migrated;
        self.drained += other.drained;
        self.freed_by_movers += other.freed_by_movers;
        self.refused_to_movers += other.refused_to_movers;
        self.unmade += other.unmade;
    }

    pub(crate) fn count(&mut self, error: Error) {
        match error {
            Error::Busy => self.busy += 1,
            Error::Stale => self.stale += 1,
            Error::NoMemory => self.no_memory += 1,
            Error::Occupied => self.occupied += 1,
            _ => {}
        }
    }
}

/// Where pool and model went apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The operation's number, or how many there were for what is found at the end.
    pub step: usize,
    /// The operation.
    pub op: Option<Op>,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}, {:?}: {}", self.step, self.op, self.what)
    }
}

impl std::error::Error for Mismatch {}

/// A reader inside an object.
pub(crate) struct HeldReader<'p, 'a, B: Backing, W: Words> {
    pub(crate) object: u64,
    pub(crate) guard: ReadGuard<'p, &'a Arena<B>, W>,
}

/// A mapping of an object.
pub(crate) struct HeldMap<'p, 'a, B: Backing, W: Words> {
    pub(crate) object: u64,
    pub(crate) kind: MapKind,
    pub(crate) mapping: Mapping<'p, 'p, &'a Arena<B>, W>,
}

/// A run under way.
pub(crate) struct Driver<'p, 'a, B: Backing, W: Words> {
    pub(crate) arena: &'a Arena<B>,
    pub(crate) pools: &'p [Pool<&'a Arena<B>, W>],
    pub(crate) environment: &'p dyn Environment,
    pub(crate) model: Model<W>,
    pub(crate) readers: Vec<HeldReader<'p, 'a, B, W>>,
    pub(crate) maps: Vec<HeldMap<'p, 'a, B, W>>,
    /// Frames that are held isolated.
    pub(crate) tokens: Vec<Isolated<'p, B>>,
    /// For mappings to come; one that ended does not return its buffer.
    pub(crate) buffers: Vec<&'p mut [u8]>,
    /// Bytes that were charged elsewhere.
    pub(crate) elsewhere: u64,
    pub(crate) report: Report,
}

/// Runs `ops` on new pools of `arena`, which nobody else uses, and on the model; then frees
/// everything and looks that nothing is left.
///
/// # Errors
/// The first place where pool and model differ, or where something does not add up.
pub fn run<B: Backing, W: Words>(
    arena: &Arena<B>,
    environment: &dyn Environment,
    options: &RunOptions,
    ops: &[Op],
) -> Result<Report, Mismatch> {
    let at = |step: usize| {
        move |what: String| Mismatch {
            step,
            op: ops.get(step).copied(),
            what,
        }
    };
    let Some(pools) = make_pools::<B, W>(arena, environment, options).map_err(at(0))? else {
        return Ok(Report {
            unmade: 1,
            ..Report::default()
        });
    };
    let stats = arena.stats();
    let left = options.room.unwrap_or(stats.limit);
    let elsewhere = (stats.limit - stats.held).saturating_sub(left);
    let charge = arena.charge(elsewhere);
    let charge = charge.map_err(|error| at(0)(error.to_string()))?;
    let page = arena.options().page_size;
    let mut buffers = vec![vec![0; page.bytes()]; HELD_MAPS];
    let mut driver = Driver {
        arena,
        pools: &pools,
        environment,
        model: Model::<W>::new(page, u64::from(options.max_objects)),
        readers: Vec::new(),
        maps: Vec::new(),
        tokens: Vec::new(),
        buffers: buffers.iter_mut().map(Vec::as_mut_slice).collect(),
        elsewhere,
        report: Report::default(),
    };
    for (step, &op) in ops.iter().enumerate() {
        driver.step(op).map_err(at(step))?;
        if step.is_multiple_of(options.validate_every.max(1)) {
            driver.check().map_err(at(step))?;
        }
    }
    environment.clear_faults();
    driver.empty().map_err(at(ops.len()))?;
    let report = driver.report;
    drop(driver);
    arena.uncharge(charge);
    destroy(arena, pools).map_err(at(ops.len()))?;
    Ok(report)
}

type Pools<'a, B, W> = Vec<Pool<&'a Arena<B>, W>>;

fn make_pools<'a, B: Backing, W: Words>(
    arena: &'a Arena<B>,
    environment: &dyn Environment,
    options: &RunOptions,
) -> Result<Option<Pools<'a, B, W>>, String> {
    let names = ["first", "second", "third"];
    let injected = environment.injected();
    let pools: Result<Vec<_>, Error> = names
        .iter()
        .take(options.pools.max(1))
        .map(|name| {
            let wanted = PoolOptions {
                zero_freed: options.zero_freed,
                ..PoolOptions::named(name)
            };
            W::pool(arena, wanted, options.max_objects)
        })
        .collect();
    match pools {
        Ok(pools) => Ok(Some(pools)),
        Err(Error::NoMemory) if environment.injected() > injected => {
            arena.validate(0).map_err(|error| error.to_string())?;
            Ok(None)
        }
        Err(error) => Err(format!("the pools could not be made: {error}")),
    }
}

fn destroy<B: Backing, W: Words>(arena: &Arena<B>, pools: Pools<'_, B, W>) -> Result<(), String> {
    for pool in pools {
        pool.destroy()
            .map_err(|error| format!("destroy: {error}"))?;
    }
    arena.trim();
    arena.validate(0).map_err(|error| error.to_string())?;
    let stats = arena.stats();
    if stats.held != stats.metadata || arena.frames_in_use() != 0 {
        return Err(format!(
            "something is left when all pools are gone: {stats:?}"
        ));
    }
    Ok(())
}
