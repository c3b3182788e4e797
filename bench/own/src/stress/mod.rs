//! `stress`: threads that allocate, map and free, with every byte checked, while objects move.
//!
//! `threads -> slots of their own -> objects in one pool or several of one arena -> nothing left`
//!
//! The protocol is that of the kernel's zsmalloc of March 2026: 24 threads, 936034 operations each,
//! allocate, map and free 1:1:1 by xorshift32 from seed 12345, at most 1048576 live objects of 32
//! bytes to the largest that shares a frame.
//!
//! | module | responsibility |
//! |---|---|
//! | `shared` | the options, and what threads share |
//! | `worker` | one thread's operations |
//! | `contents` | the bytes of an object |
//!
//! # Locking
//!
//! None of its own: a thread frees and writes its own objects only; one that reads another's may be
//! told Stale or Busy.

pub mod contents;
mod shared;
mod worker;

use crate::machine::{self, process_cpu, thread_cpu};
use anyhow::{Context as _, Result, bail};
use shared::{Pool, Shared};
pub use shared::{Pools, Stress};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
pub use worker::Counts;
use worker::Worker;
use zs_mm::{Arena, ArenaOptions, PageSize};
use zs_os::{AnonBacking, HOST};
use zsmalloc::{CompactBudget, PoolOptions};

/// A slot has 24 bits in an object's tag.
const MAX_SLOTS: u32 = 1 << 24;

/// What a run did; every check of it has passed.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// What all threads did.
    pub counts: Counts,
    /// Objects moved beside them.
    pub moved: u64,
    /// Compactions that moved something.
    pub compactions: u64,
    /// Objects that stayed because a thread used them just then.
    pub left_in_use: u64,
    /// From the first operation to the last.
    pub wall: Duration,
    /// CPU time of the threads, the compacting one not counted.
    pub cpu: Duration,
    /// Memory after the last operation.
    pub at_end: Memory,
    /// The same after a last compaction and a trim.
    pub compacted: Memory,
}

/// Bytes of live objects, and bytes held for them.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Live objects.
    pub objects: u64,
    /// Their bytes.
    pub payload: u64,
    /// Everything committed, metadata among it.
    pub held: u64,
}

/// What the compacting thread did.
#[derive(Debug, Default)]
struct Compacted {
    moved: u64,
    compactions: u64,
    left_in_use: u64,
    cpu: Duration,
}

/// Runs the protocol.
///
/// # Errors
/// The first thing that was not as it should be: an option, an operation's answer, wrong bytes,
/// something left.
pub fn run(options: &Stress) -> Result<Outcome> {
    let shared = Shared::new(options)?;
    let mut workers: Vec<Worker<'_>> = (0..options.threads as usize)
        .map(|number| Worker::new(&shared, number))
        .collect();
    let stop = AtomicBool::new(false);
    let (cpu, start) = (process_cpu(), Instant::now());
    let (done, moved) = thread::scope(|scope| {
        let compactor = options
            .compact
            .then(|| scope.spawn(|| shared.compact_until(&stop)));
        let done = all(&mut workers, Worker::operate);
        let wall = start.elapsed();
        // Release pairs with the Acquire in `compact_until`.
        stop.store(true, Ordering::Release);
        let moved = compactor.map(|thread| thread.join());
        (done.map(|()| wall), moved)
    });
    let wall = done?;
    let Ok(moved) = moved.transpose() else {
        bail!("the compacting thread panicked");
    };
    let moved = moved.unwrap_or_default();
    let cpu = (process_cpu() - cpu).saturating_sub(moved.cpu);
    let at_end = shared.memory();
    shared.validate()?;
    for pool in &shared.pools {
        pool.compact(CompactBudget::UNLIMITED);
        pool.trim();
    }
    let compacted = shared.memory();
    all(&mut workers, Worker::finish)?;
    let counts = workers.iter().map(|worker| worker.counts);
    let counts = counts.fold(Counts::default(), Counts::plus);
    drop(workers);
    shared.end()?;
    Ok(Outcome {
        counts,
        moved: moved.moved,
        compactions: moved.compactions,
        left_in_use: moved.left_in_use,
        wall,
        cpu,
        at_end,
        compacted,
    })
}

/// Has every worker do something in a thread of its own; the first error of any.
fn all<'a>(
    workers: &mut [Worker<'a>],
    work: impl Fn(&mut Worker<'a>) -> Result<()> + Copy + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let spawn = |(number, worker)| (number, scope.spawn(move || work(worker)));
        let threads: Vec<_> = workers.iter_mut().enumerate().map(spawn).collect();
        let joined = threads
            .into_iter()
            .map(|(number, thread)| match thread.join() {
                Ok(outcome) => outcome.with_context(|| format!("thread {number}")),
                Err(_) => bail!("thread {number} panicked"),
            });
        // All are joined, whatever the first one says.
        joined.collect::<Vec<_>>().into_iter().collect()
    })
}

impl Shared {
    fn new(options: &Stress) -> Result<Self> {
        let slots = options.live / options.threads.max(1);
        if slots == 0 || slots > MAX_SLOTS {
            bail!(
                "{} live objects of {} threads: each has at least 1 and at most {MAX_SLOTS}",
                options.live,
                options.threads
            );
        }
        if options.threads == 0 || options.threads > 256 {
            bail!("{} threads: 1 to 256 are allowed", options.threads);
        }
        let page = PageSize::K4;
        // Room for all slots with the largest objects, twice over.
        let limit = 2 * u64::from(options.live) * page.bytes() as u64 + (256 << 20);
        let arena = Arena::new(
            AnonBacking::new(),
            &HOST,
            ArenaOptions {
                page_size: page,
                ..ArenaOptions::new(limit)
            },
        )?;
        let arena = Arc::new(arena);
        let count = if options.pools == Pools::Shared {
            1
        } else {
            options.threads
        };
        let pool = |_| Pool::new(Arc::clone(&arena), PoolOptions::named("stress"));
        let pools: Vec<Pool> = (0..count).map(pool).collect::<Result<_, _>>()?;
        let max_len = pools
            .first()
            .map_or(0, |pool| pool.geometry().huge_threshold()) as u32;
        let places = if options.pools == Pools::Shared {
            slots * options.threads
        } else {
            0
        };
        Ok(Self {
            options: options.clone(),
            arena,
            pools,
            slots,
            max_len,
            board: (0..places).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn compact_until(&self, stop: &AtomicBool) -> Compacted {
        let mut done = Compacted::default();
        // Acquire pairs with the Release of the thread that waits for the others.
        let go_on = || !stop.load(Ordering::Acquire);
        while go_on() {
            for pool in &self.pools {
                let report = pool.compact_while(CompactBudget::UNLIMITED, go_on);
                done.moved += report.objects_moved;
                done.compactions += u64::from(report.objects_moved > 0);
                done.left_in_use += report.objects_busy;
            }
        }
        done.cpu = thread_cpu();
        done
    }

    fn memory(&self) -> Memory {
        let stats = self.pools.iter().map(Pool::stats);
        let (objects, payload) = stats.fold((0, 0), |(objects, payload), stats| {
            (objects + stats.objects, payload + stats.payload_bytes)
        });
        Memory {
            objects,
            payload,
            held: self.arena.stats().held,
        }
    }

    fn validate(&self) -> Result<()> {
        for pool in &self.pools {
            pool.validate().context("a pool")?;
        }
        let metadata = self.pools.iter().map(|pool| pool.metadata().total()).sum();
        self.arena.validate(metadata).context("the arena")?;
        // What neither of them sees: a frame that nobody owns any more.
        let in_use = self.arena.stats().in_use;
        let attached: u64 = self.pools.iter().map(|pool| pool.stats().frame_bytes).sum();
        if in_use != attached {
            bail!("{in_use} bytes of frames are in use, {attached} of them by pools");
        }
        Ok(())
    }

    /// Destroys the pools, which are empty, and sees that nothing is left in the arena.
    fn end(self) -> Result<()> {
        self.validate()?;
        for pool in self.pools {
            pool.destroy()
                .map_err(|refused| anyhow::anyhow!("{refused}"))?;
        }
        self.arena.validate(0).context("the arena, without pools")?;
        match self.arena.stats().in_use {
            0 => Ok(()),
            left => bail!("{left} bytes of frames are in use though no pool is left"),
        }
    }
}

/// Runs the command.
pub(crate) fn run_and_print(options: &Stress) -> Result<()> {
    let mut out = io::stdout().lock();
    for line in machine::described("bench-own") {
        writeln!(out, "{line}")?;
    }
    let outcome = run(options)?;
    let Outcome {
        counts, wall, cpu, ..
    } = outcome;
    let done = options.ops.saturating_mul(options.threads.into());
    let each = |time: Duration| time.as_nanos() as f64 / done.max(1) as f64;
    writeln!(
        out,
        "operations: {done} by {} threads, seed {}, pools {:?}",
        options.threads, options.seed, options.pools
    )?;
    writeln!(out, "{counts:?}")?;
    writeln!(
        out,
        "time: {:.1} s; an operation with filling and comparing its bytes: {:.0} ns wall, {:.0} ns CPU",
        wall.as_secs_f64(),
        each(wall),
        each(cpu)
    )?;
    writeln!(
        out,
        "compaction: {} objects moved in {} compactions, {} left where they were in use",
        outcome.moved, outcome.compactions, outcome.left_in_use
    )?;
    for (when, memory) in [
        ("at the end", outcome.at_end),
        ("compacted", outcome.compacted),
    ] {
        let Memory {
            objects,
            payload,
            held,
        } = memory;
        let utilisation = 100.0 * payload as f64 / held.max(1) as f64;
        writeln!(
            out,
            "{when}: {objects} objects, payload {payload} of {held} bytes held: {utilisation:.1} % utilisation"
        )?;
    }
    writeln!(
        out,
        "every object compared, freed; pools destroyed; the arena is valid and nothing is left"
    )?;
    Ok(())
}
