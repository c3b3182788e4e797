//! The options of a run, and what its threads share.

use clap::{Args, ValueEnum, value_parser};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use zs_mm::Arena;
use zs_os::AnonBacking;
use zsmalloc::HandlePool;

/// The shortest object.
pub(super) const MIN_LEN: u32 = 32;

/// The pool of an arena that threads share.
pub(super) type Pool = HandlePool<Arc<Arena<AnonBacking>>>;

/// Which pools the threads use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pools {
    /// A pool for each thread.
    PerThread,
    /// One pool for all, which read each other's objects.
    Shared,
    /// As many pools as threads; each thread's objects go to one after the other.
    RoundRobin,
}

/// Threads allocate, map and free, with every byte checked.
#[derive(Debug, Clone, Args)]
pub struct Stress {
    /// Threads
    #[arg(long, default_value = "24", value_parser = value_parser!(u32).range(1..=256))]
    pub threads: u32,

    /// Operations of each thread
    #[arg(long, default_value = "936034")]
    pub ops: u64,

    /// Most live objects of all threads together
    #[arg(long, default_value = "1048576")]
    pub live: u32,

    /// The first thread's seed; the others count on from it
    #[arg(long, default_value = "12345")]
    pub seed: u32,

    /// Which pools the threads use
    #[arg(long, value_enum, default_value = "shared")]
    pub pools: Pools,

    /// Have another thread compact the pools all the while
    #[arg(long)]
    pub compact: bool,
}

/// What all threads know.
pub(super) struct Shared {
    pub(super) options: Stress,
    pub(super) arena: Arc<Arena<AnonBacking>>,
    pub(super) pools: Vec<Pool>,
    /// Slots of each thread.
    pub(super) slots: u32,
    pub(super) max_len: u32,
    /// The latest handle of every slot of every thread, 0 for none, also when its object was
    /// freed: whoever uses it then must be told. Empty if threads do not read each other's
    /// objects.
    pub(super) board: Vec<AtomicU64>,
}
