//! The child: a pool filled, its frames moved, most of it freed, maintained, checked.

use super::pool::{PAGE, Pool};
use super::{moving, windows};
use crate::figures::Figures;
use crate::load::Load;
use crate::measured::say;
use crate::numbers::XorShift32;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};
use zs_mm::{Arena, ArenaOptions};
use zs_os::{AnonBacking, HOST, ProcessMeter};
use zs_pages::PageFile;
use zsmalloc::{Handle, HandlePool, MaintainBudget, MaintainEnd, MaintainReport, PoolOptions};

/// When memory is read after maintenance: the system may take some back, and bring some back.
const SETTLE: Duration = Duration::from_secs(1);

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) copies: u32,
    /// In percent.
    pub(super) free: u32,
    pub(super) seed: u32,
    pub(super) readers: u32,
}

/// Measures, and tells the parent.
pub(crate) fn run(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job).context("the job")?;
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let pages = PageFile::inherited(input, PAGE)?.map()?;
    let mut load = Load::new(&pages, job.copies, job.seed)?;
    let mut meter = ProcessMeter::new(pages.addresses())?;
    let mut objects = Objects::new(load.objects(), &job)?;
    let mut figures = Figures::default();
    // Once for all that is paid once: code read from disk, the growth of stack and heap.
    maintain(&mut load, &mut meter, &mut objects, &mut Figures::default())?;
    maintain(&mut load, &mut meter, &mut objects, &mut figures)?;
    let pool = objects.fill(&mut load)?;
    figures.extend(moving::measure(&pool, job.seed)?);
    drop(pool);
    if job.readers > 0 {
        let pool = objects.fill(&mut load)?;
        objects.free_some(&pool)?;
        let live = objects
            .live()
            .map(|number| objects.handles[number as usize]);
        let live: Vec<Handle> = live.collect();
        figures.extend(windows::measure(&pool, &live, job.readers)?);
    }
    say(&figures)
}

/// What a client knows of its objects: made and written to before anything is measured, as it is
/// none of the pool's memory.
struct Objects {
    handles: Vec<Handle>,
    /// All numbers, shuffled: the first so many are freed.
    order: Vec<u32>,
    gone: usize,
}

impl Objects {
    fn new(count: u32, job: &Job) -> Result<Self> {
        let stand_in = Handle::from_bits(u64::MAX).context("no handle has these bits")?;
        Ok(Self {
            handles: vec![stand_in; count as usize],
            order: XorShift32::new(job.seed).shuffled(count),
            gone: (u64::from(count) * u64::from(job.free) / 100) as usize,
        })
    }

    /// A pool with all of them, in an arena of its own.
    fn fill(&mut self, load: &mut Load<'_>) -> Result<Box<Pool>> {
        // Room for each of them whatever its length, and for frames to move to.
        let objects = self.handles.len() as u64;
        let limit = objects * (PAGE.bytes() as u64 + 64) + (64 << 20);
        let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(limit))?;
        let pool = Box::new(HandlePool::new(arena, PoolOptions::named("frames"))?);
        for (handle, number) in self.handles.iter_mut().zip(0..) {
            *handle = pool.insert(load.object(number)?)?;
        }
        Ok(pool)
    }

    /// Frees a random share.
    fn free_some(&self, pool: &Pool) -> Result<()> {
        for &number in &self.order[..self.gone] {
            pool.free(self.handles[number as usize])?;
        }
        Ok(())
    }

    fn live(&self) -> impl Iterator<Item = u32> + '_ {
        self.order[self.gone..].iter().copied()
    }
}

/// One maintenance without a budget, of a pool of which most was freed; what it leaves in memory.
fn maintain(
    load: &mut Load<'_>,
    meter: &mut ProcessMeter,
    objects: &mut Objects,
    figures: &mut Figures,
) -> Result<()> {
    let before = meter.measure()?;
    let pool = objects.fill(load)?;
    objects.free_some(&pool)?;
    let start = Instant::now();
    let report = pool.maintain(MaintainBudget::UNLIMITED);
    let wall = start.elapsed();
    if report.end != MaintainEnd::Done {
        bail!("the maintenance ended early: {report:?}");
    }
    // What is measured is what the system does with the memory as time goes by.
    thread::sleep(SETTLE);
    let resident = meter.measure()?.saturating_sub(before) as f64;
    let payload = pool.stats().payload_bytes as f64;
    figures.push("maintain_wall_ms", wall.as_secs_f64() * 1e3);
    figures.push("resident_over_payload", resident / payload);
    let held = pool.arena().stats().held as f64;
    figures.push("held_over_payload", held / payload);
    count(figures, &pool, &report);
    verify(&pool, load, objects)
}

fn count(figures: &mut Figures, pool: &Pool, report: &MaintainReport) {
    let blocks: Vec<_> = pool.arena().blocks().collect();
    let free = blocks.iter().filter(|block| block.in_use() == 0).count();
    let frames: u32 = blocks.iter().map(|block| block.in_use()).sum();
    let needed = frames.div_ceil(PAGE.frames_per_block() as u32) as usize;
    let possible = blocks.len() - needed;
    figures.push("blocks_free", free as f64);
    figures.push("blocks_possible", possible as f64);
    figures.push("blocks_free_share", free as f64 / possible.max(1) as f64);
    figures.push("objects_moved", report.objects_moved as f64);
    figures.push("frames_moved", report.frames_moved as f64);
    figures.push("bytes_moved", report.bytes_moved as f64);
}

/// Compares every live object, byte for byte, and recounts pool and arena.
fn verify(pool: &Pool, load: &mut Load<'_>, objects: &Objects) -> Result<()> {
    let mut buffer = [0; PAGE.bytes()];
    for number in objects.live() {
        let len = pool.read_into(objects.handles[number as usize], &mut buffer)?;
        if load.object(number)? != &buffer[..len] {
            bail!("object {number} came back with other bytes than it was stored with");
        }
    }
    pool.validate().context("the pool")?;
    let metadata = pool.metadata().total();
    pool.arena().validate(metadata).context("the arena")
}
