//! `stress`: the kernel's stress protocol of March 2026 on blobs of whoever stores them.
//!
//! Threads allocate, map and free, 1:1:1, objects of 32 bytes to the largest that shares a page
//! frame of 4 KiB; each object's bytes follow from its tag, and are filled and compared by the same
//! code for every store. Every thread has objects of its own.

mod blobs;
mod mimalloc;
mod worker;
mod zs;

use anyhow::{Context as _, Result, bail};
use bench_own::machine;
use bench_own::numbers::median;
use blobs::Blobs;
use clap::{Args, ValueEnum, value_parser};
use mimalloc::Mimalloc;
use std::env;
use std::io::{self, Write as _};
use std::process::Command;
use std::thread;
use std::time::Instant;
use worker::Worker;
use zs::Zsmalloc;

/// The least share of mimalloc's speed.
const BAR: f64 = 0.6;

/// Who stores the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// `libzsmalloc`, by its C functions.
    Zs,
    /// mimalloc, a block of the exact size for each blob.
    Mimalloc,
}

/// The stress protocol.
#[derive(Debug, Clone, Args)]
pub struct Stress {
    /// Threads
    #[arg(long, default_value = "2", value_parser = value_parser!(u32).range(1..=256))]
    pub threads: u32,

    /// Operations of each thread
    #[arg(long, default_value = "936034", value_parser = value_parser!(u64).range(1..))]
    pub ops: u64,

    /// Most live objects of all threads together
    #[arg(long, default_value = "1048576")]
    pub live: u32,

    /// The first thread's seed; the others count on from it
    #[arg(long, default_value = "12345")]
    pub seed: u32,

    /// Runs of each store, in turn; the figures are medians
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(1..=1000))]
    pub runs: u32,
}

/// Measures both in turn, each run in a process of its own, and prints medians and the bar.
pub(crate) fn run(options: &Stress) -> Result<()> {
    let mut out = io::stdout().lock();
    for line in machine::described("bench-rivals") {
        writeln!(out, "{line}")?;
    }
    let mut times = [Vec::new(), Vec::new()];
    let stores = [Store::Zs, Store::Mimalloc];
    for run in 1..=options.runs {
        for (store, times) in stores.into_iter().zip(&mut times) {
            let ns = in_a_child(store, options)?;
            writeln!(out, "run {run}: {store:?}: {ns:.0} ns an operation")?;
            times.push(ns);
        }
    }
    let [zs, mimalloc] = times.map(median);
    let (zs, mimalloc) = (zs.context("no run")?, mimalloc.context("no run")?);
    let speed = mimalloc / zs;
    let verdict = if speed >= BAR { "met" } else { "missed" };
    writeln!(
        out,
        "medians: libzsmalloc {zs:.0} ns, mimalloc {mimalloc:.0} ns"
    )?;
    writeln!(
        out,
        "bar: at least {BAR} x the speed of mimalloc: {speed:.2}: {verdict}"
    )?;
    Ok(())
}

fn in_a_child(store: Store, options: &Stress) -> Result<f64> {
    let store = store.to_possible_value().context("a store has a name")?;
    let said = Command::new(env::current_exe()?)
        .args(["measure", store.get_name()])
        .arg(format!("--threads={}", options.threads))
        .arg(format!("--ops={}", options.ops))
        .arg(format!("--live={}", options.live))
        .arg(format!("--seed={}", options.seed))
        .output()?;
    if !said.status.success() {
        bail!("{}", String::from_utf8_lossy(&said.stderr).trim());
    }
    let text = String::from_utf8(said.stdout)?;
    text.trim().parse().with_context(|| format!("{text:?}"))
}

/// One run, in this process; prints what [`nanoseconds`] says.
pub(crate) fn measure(store: Store, options: &Stress) -> Result<()> {
    writeln!(io::stdout(), "{}", nanoseconds(store, options)?)?;
    Ok(())
}

/// Runs the protocol once, compares every object, and frees it.
///
/// # Errors
/// The first thing that was not as it should be.
pub fn nanoseconds(store: Store, options: &Stress) -> Result<f64> {
    let slots = options.live / options.threads.max(1);
    if slots == 0 || slots >= 1 << 24 || options.threads > 256 {
        bail!(
            "{} live objects of {} threads: each of 1 to 256 threads has 1 to 2^24 - 1",
            options.live,
            options.threads
        );
    }
    match store {
        Store::Zs => {
            let blobs = Zsmalloc::new(options.live)?;
            let ns = time(&blobs, options, slots)?;
            blobs.end()?;
            Ok(ns)
        }
        Store::Mimalloc => time(&Mimalloc, options, slots),
    }
}

/// Nanoseconds of wall clock for each operation.
fn time<B: Blobs>(blobs: &B, options: &Stress, slots: u32) -> Result<f64> {
    let worker = |number| Worker::new(blobs, number as u8, options.seed, slots);
    let mut workers: Vec<_> = (0..options.threads).map(worker).collect();
    let start = Instant::now();
    all(&mut workers, |worker| worker.operate(options.ops))?;
    let took = start.elapsed();
    all(&mut workers, Worker::finish)?;
    Ok(took.as_nanos() as f64 / (options.ops as f64 * f64::from(options.threads)))
}

/// Has every worker do something in a thread of its own; the first error of any.
fn all<'a, B: Blobs>(
    workers: &mut [Worker<'a, B>],
    work: impl Fn(&mut Worker<'a, B>) -> Result<()> + Copy + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let spawn = |worker| scope.spawn(move || work(worker));
        let threads: Vec<_> = workers.iter_mut().map(spawn).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a thread panicked"),
        });
        // All are joined, whatever the first one says.
        joined.collect::<Vec<_>>().into_iter().collect()
    })
}
