//! The child: everything warm, then measured.

use super::pool::{PAGE, Pool};
use super::readers::{self, Live};
use crate::figures::Figures;
use crate::load::Load;
use crate::machine::thread_cpu;
use crate::measured::say;
use crate::numbers::XorShift32;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::io;
use std::mem;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};
use zs_mm::{Arena, ArenaOptions};
use zs_os::{AnonBacking, HOST, ProcessMeter};
use zs_pages::PageFile;
use zsmalloc::{
    CLASSES, CompactBudget, CompactEnd, CompactReport, Handle, HandlePool, PoolOptions,
};

/// Objects that pass through everything once before anything counts.
const WARM_UP: u32 = 4000;

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) copies: u32,
    /// In percent.
    pub(super) free: u32,
    pub(super) seed: u32,
    /// When memory is read, in seconds, ascending.
    pub(super) settle: Vec<u64>,
    pub(super) watch: Watch,
}

/// What is watched during compaction, at its cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Watch {
    Nothing,
    Holds,
    /// So many threads that read.
    Readers(u32),
}

/// Measures, and tells the parent.
pub(crate) fn run(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job).context("the job")?;
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let pages = PageFile::inherited(input, PAGE)?.map()?;
    let mut load = Load::new(&pages, job.copies, job.seed)?;
    let mut meter = ProcessMeter::new(pages.addresses())?;
    warm_up(&mut load, &mut meter)?;
    let handles = no_handles(load.objects())?;
    let order = XorShift32::new(job.seed).shuffled(load.objects());
    let (gone, live) = order.split_at((order.len() as u64 * u64::from(job.free) / 100) as usize);
    let mut bench = Bench::new(&mut load, &mut meter, handles)?;
    match job.watch {
        Watch::Nothing => bench.measure(gone, live, &job.settle)?,
        Watch::Holds => bench.measure_holds(gone)?,
        Watch::Readers(count) => bench.measure_readers(gone, live, count)?,
    }
    say(&bench.figures)
}

/// Measures a few objects, so that whatever is paid once (code read from disk, the stack's and the
/// heap's growth) is paid before the first reading that counts.
fn warm_up(load: &mut Load<'_>, meter: &mut ProcessMeter) -> Result<()> {
    let count = load.objects().min(WARM_UP);
    let mut bench = Bench::new(load, meter, no_handles(count)?)?;
    let order = XorShift32::new(1).shuffled(count);
    let (gone, live) = order.split_at(order.len() / 2);
    bench.measure(gone, live, &[0])?;
    // Not a wait: the code of the one that follows.
    thread::sleep(Duration::from_nanos(1));
    // Never freed, so that the structures of the pool that is measured take memory of their own.
    mem::forget((bench, order));
    Ok(())
}

/// Room for handles, written to: it stands for a client's own table, which is none of the pool's
/// memory.
fn no_handles(count: u32) -> Result<Vec<Handle>> {
    let stand_in = Handle::from_bits(u64::MAX).context("no handle has these bits")?;
    Ok(vec![stand_in; count as usize])
}

struct Bench<'a, 'p> {
    load: &'a mut Load<'p>,
    meter: &'a mut ProcessMeter,
    /// Of the first objects, as many as there are.
    handles: Vec<Handle>,
    /// Resident before the arena was made.
    before: u64,
    pool: Box<Pool>,
    figures: Figures,
}

impl<'a, 'p> Bench<'a, 'p> {
    fn new(
        load: &'a mut Load<'p>,
        meter: &'a mut ProcessMeter,
        handles: Vec<Handle>,
    ) -> Result<Self> {
        let before = meter.measure()?;
        Ok(Self {
            pool: make_pool(handles.len() as u64)?,
            load,
            meter,
            handles,
            before,
            figures: Figures::default(),
        })
    }

    fn measure(&mut self, gone: &[u32], live: &[u32], settle: &[u64]) -> Result<()> {
        self.fill()?;
        self.pool.trim();
        self.memory("loaded")?;
        self.free(gone)?;
        // What the frees alone left free goes first: what remains is what compaction gives back.
        let start = Instant::now();
        self.pool.trim();
        self.figures
            .push("trim_before_wall_ms", millis(start.elapsed()));
        self.memory("freed")?;

        let (cpu, wall) = (thread_cpu(), Instant::now());
        let report = self.pool.compact(CompactBudget::UNLIMITED);
        let compact = (wall.elapsed(), thread_cpu() - cpu);
        let trimmed = self.pool.trim();
        let (wall, cpu) = (wall.elapsed(), thread_cpu() - cpu);
        let settled = Instant::now();
        check_end(&report)?;
        self.count(&report, compact.1);
        let figures = &mut self.figures;
        figures.push("trimmed_bytes", trimmed as f64);
        figures.push("compact_wall_ms", millis(compact.0));
        figures.push("compact_cpu_ms", millis(compact.1));
        figures.push("trim_wall_ms", millis(wall - compact.0));
        figures.push("trim_cpu_ms", millis(cpu - compact.1));
        figures.push("compact_and_trim_wall_ms", millis(wall));
        figures.push("compact_and_trim_cpu_ms", millis(cpu));

        for &seconds in settle {
            // What is measured is what the system does with the memory as time goes by.
            thread::sleep(Duration::from_secs(seconds).saturating_sub(settled.elapsed()));
            self.memory(&format!("after_{seconds}s"))?;
        }
        self.verify(live)
    }

    #[cfg(feature = "hold-hook")]
    fn measure_holds(&mut self, gone: &[u32]) -> Result<()> {
        self.fill()?;
        self.free(gone)?;
        let mut steps = 0_u64;
        let (report, holds) = crate::holds::record(|| {
            let go_on = || {
                steps += 1;
                true
            };
            self.pool.compact_while(CompactBudget::UNLIMITED, go_on)
        })?;
        check_end(&report)?;
        let mean = report.objects_moved as f64 / steps.max(1) as f64;
        self.figures.push("moves_per_step_mean", mean);
        for rank in holds {
            let mut push = |what, value| {
                self.figures
                    .push(format!("hold_{}_{what}", rank.rank), value);
            };
            push("count", rank.count as f64);
            for (name, time) in [
                ("p50_ns", rank.p50),
                ("p99_ns", rank.p99),
                ("p999_ns", rank.p999),
                ("max_ns", rank.max),
            ] {
                push(name, f64::from(time));
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "hold-hook"))]
    fn measure_holds(&mut self, _gone: &[u32]) -> Result<()> {
        bail!("lock hold times need the cargo feature hold-hook")
    }

    /// What is gone comes back before each busy window, and goes again, so that there is something
    /// to compact.
    fn measure_readers(&mut self, gone: &[u32], live: &[u32], count: u32) -> Result<()> {
        self.fill()?;
        self.free(gone)?;
        self.pool.compact(CompactBudget::UNLIMITED);
        let mut staying = Vec::with_capacity(live.len());
        for &number in live {
            staying.push(Live {
                handle: self.handles[number as usize],
                sum: readers::sum_of(self.load.object(number)?),
            });
        }
        let (pool, load, handles) = (&self.pool, &mut *self.load, &mut self.handles);
        let (mut wall, mut moved, mut busy, mut rounds) = (Duration::ZERO, 0, 0, 0.0);
        let times = readers::during(pool, &staying, count, |windows| {
            let prepare = || {
                let mut staying = live.iter();
                for &number in gone {
                    handles[number as usize] = pool.insert(load.object(number)?)?;
                    // One that stays goes to a new place between them, or nothing would have to
                    // move later.
                    if let Some(&number) = staying.next() {
                        pool.replace_wait(handles[number as usize], load.object(number)?)?;
                    }
                }
                let mut gone = gone.iter();
                gone.try_for_each(|&number| Ok(pool.free(handles[number as usize])?))
            };
            let compact = || {
                let start = Instant::now();
                let report = pool.compact(CompactBudget::UNLIMITED);
                wall += start.elapsed();
                moved += report.objects_moved;
                busy += report.objects_busy;
                check_end(&report)
            };
            windows.alternate(prepare, compact)?;
            rounds = windows.rounds();
            Ok(())
        })?;
        let figures = &mut self.figures;
        figures.push("compact_with_readers_wall_ms", millis(wall) / rounds);
        figures.push("moved_with_readers", moved as f64);
        figures.push("busy_with_readers", busy as f64);
        figures.extend(times);
        self.verify(live)
    }

    fn fill(&mut self) -> Result<()> {
        for (number, handle) in (0..).zip(&mut self.handles) {
            *handle = self.pool.insert(self.load.object(number)?)?;
        }
        Ok(())
    }

    fn free(&self, gone: &[u32]) -> Result<()> {
        for &number in gone {
            self.pool.free(self.handles[number as usize])?;
        }
        Ok(())
    }

    /// Payload, held and resident, with what the latter two are over the first.
    fn memory(&mut self, when: &str) -> Result<()> {
        let payload = self.pool.stats().payload_bytes as f64;
        let held = self.pool.arena().stats().held as f64;
        let resident = self.meter.measure()?.saturating_sub(self.before) as f64;
        let mut push = |name: &str, value| self.figures.push(format!("{name}_{when}"), value);
        push("payload_bytes", payload);
        push("held_bytes", held);
        push("resident_bytes", resident);
        push("held_over_payload", held / payload);
        push("resident_over_payload", resident / payload);
        Ok(())
    }

    fn count(&mut self, report: &CompactReport, cpu: Duration) {
        let moved = report.objects_moved as f64;
        let figures = &mut self.figures;
        figures.push("objects_moved", moved);
        figures.push("bytes_moved", report.bytes_moved as f64);
        figures.push("objects_busy", report.objects_busy as f64);
        figures.push("frames_freed", report.frames_freed as f64);
        figures.push("frames_attached", report.frames_attached as f64);
        figures.push("move_cpu_ns", cpu.as_nanos() as f64 / moved.max(1.0));
    }

    /// Compares every live object, byte for byte, and recounts the pool.
    fn verify(&mut self, live: &[u32]) -> Result<()> {
        let mut buffer = [0; PAGE.bytes()];
        for &number in live {
            let len = self
                .pool
                .read_into(self.handles[number as usize], &mut buffer)?;
            if self.load.object(number)? != &buffer[..len] {
                bail!("object {number} came back with other bytes than it was stored with");
            }
        }
        let stats = self.pool.stats();
        if stats.objects != live.len() as u64 {
            bail!(
                "the pool counts {} objects, {} are live",
                stats.objects,
                live.len()
            );
        }
        let in_use = self.pool.arena().stats().in_use;
        if in_use != stats.frame_bytes {
            bail!(
                "{in_use} bytes of frames are in use, {} of them by the pool",
                stats.frame_bytes
            );
        }
        self.pool.validate().context("the pool")?;
        self.pool
            .arena()
            .validate(stats.metadata.total())
            .context("the arena")
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn check_end(report: &CompactReport) -> Result<()> {
    match report.end {
        CompactEnd::Done => Ok(()),
        end => bail!("the compaction ended early: {end:?}"),
    }
}

/// Makes a pool, in an arena of its own, that takes so many objects in whatever their lengths.
fn make_pool(objects: u64) -> Result<Box<Pool>> {
    let frames = objects + 4 * CLASSES as u64;
    let limit = frames * (PAGE.bytes() as u64 + 64) + (16 << 20);
    let options = ArenaOptions {
        page_size: PAGE,
        ..ArenaOptions::new(limit)
    };
    let arena = Arena::new(AnonBacking::new(), &HOST, options)?;
    Ok(Box::new(HandlePool::new(
        arena,
        PoolOptions::named("give-back"),
    )?))
}
