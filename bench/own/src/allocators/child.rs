//! One run of one allocator: its threads go through the phases together, and memory is read
//! between.
//!
//! # Locking
//!
//! A barrier before and after each phase. A thread that failed goes on through the barriers and
//! does nothing; one that panics ends the process, or the others would wait for it.

use super::blobs::Blobs;
use super::objects::Objects;
use super::phase::{Moment, Outcome, Phase, PhaseFigures};
use super::timeline::Timeline;
use super::worker::{Times, Worker};
use crate::numbers::timer_cost;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;
use zs_os::ProcessMeter;

/// What a child is asked to do; the objects are its standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub(super) count: u32,
    pub(super) threads: u32,
    pub(super) seed: u32,
    pub(super) huge: bool,
}

impl Job {
    /// Reads a job as the parent writes it.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("the job")
    }

    /// The most objects that are live at a time.
    pub fn objects(&self) -> u32 {
        self.count
    }
}

/// Measures the allocator that `make` makes, in this process, and tells the parent.
///
/// # Errors
/// The first that any thread met.
pub fn measure<B: Blobs>(job: &Job, make: impl FnOnce() -> Result<B>) -> Result<()> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let objects = Objects::map(input, job.count)?;
    // Off for all, or for none: some ask for them by default.
    rustix::thread::disable_transparent_huge_pages(!job.huge).context("huge pages")?;
    let outcome = run(job, &objects, make)?;
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &outcome).context("the parent is gone")?;
    Ok(out.flush()?)
}

/// What the threads share.
struct Shared {
    barrier: Barrier,
    /// Bytes of live objects, of all threads; the barriers order it.
    payload: AtomicU64,
}

/// What one thread brings home: its times, phase by phase.
type Record = Vec<Times>;

/// Runs every phase; see [`measure`].
pub(super) fn run<B: Blobs>(
    job: &Job,
    objects: &Objects,
    make: impl FnOnce() -> Result<B>,
) -> Result<Outcome> {
    let mut meter = ProcessMeter::new(objects.addresses())?;
    let clock_ns = timer_cost(|| Instant::now().elapsed());
    let shared = Shared {
        barrier: Barrier::new(job.threads as usize),
        payload: AtomicU64::new(0),
    };
    let blobs = make()?;
    let worker = |number| Worker::new(&blobs, objects, number, job.threads, job.seed, clock_ns);
    let mut first = worker(0);
    let others: Vec<_> = (1..job.threads).map(worker).collect();
    // From here on the tables are there: what grows is the allocator's.
    first.timeline = Some(Timeline::new()?);
    let mut leader = Leader {
        before: meter.measure()?,
        meter,
        blobs: &blobs,
        held: Vec::with_capacity(Phase::ALL.len()),
    };
    let records = thread::scope(|scope| {
        let shared = &shared;
        let spawn = |mut other| scope.spawn(move || go_through(&mut other, shared, None));
        let threads: Vec<_> = others.into_iter().map(spawn).collect();
        let mut records = vec![go_through(&mut first, shared, Some(&mut leader))];
        for thread in threads {
            let joined = thread.join();
            records.push(joined.unwrap_or_else(|_| bail!("a thread panicked")));
        }
        records.into_iter().collect::<Result<Vec<_>>>()
    })?;
    let moments = first.timeline.map_or(Vec::new(), Timeline::into_moments);
    Ok(outcome(records, &leader.held, moments))
}

/// Nobody would come to the barriers any more.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}

/// All phases of one thread; the leader's is the one that reads memory between them.
fn go_through<B: Blobs>(
    worker: &mut Worker<'_, B>,
    shared: &Shared,
    mut leader: Option<&mut Leader<'_, B>>,
) -> Result<Record> {
    let _end = EndOnPanic;
    let mut record = Ok(Record::with_capacity(Phase::ALL.len()));
    for phase in Phase::ALL {
        let before = worker.payload;
        if phase == Phase::FreeAll {
            record = record.and_then(|record| worker.verify().map(|()| record));
        }
        shared.barrier.wait();
        let times = if record.is_ok() {
            worker.run(phase)
        } else {
            Ok(Times::nothing())
        };
        // Relaxed: the barrier orders it before the leader's look.
        let change = worker.payload.wrapping_sub(before);
        shared.payload.fetch_add(change, Ordering::Relaxed);
        shared.barrier.wait();
        let times = match &mut leader {
            Some(leader) => times.and_then(|times| leader.end_phase(phase, times, worker, shared)),
            None => times,
        };
        record = record.and_then(|mut record: Record| {
            record.push(times?);
            Ok(record)
        });
    }
    record
}

/// The thread that looks at the whole process between phases.
struct Leader<'a, B> {
    meter: ProcessMeter,
    /// Resident before the first phase.
    before: u64,
    blobs: &'a B,
    /// Growth of resident memory over the live payload, phase by phase.
    held: Vec<Option<f64>>,
}

impl<B: Blobs> Leader<'_, B> {
    /// Purges if it is time to, with that in the phase's time, and reads memory. The others wait.
    fn end_phase(
        &mut self,
        phase: Phase,
        times: Times,
        worker: &mut Worker<'_, B>,
        shared: &Shared,
    ) -> Result<Times> {
        let mut times = times;
        if let (true, Times::Whole { ns, .. }) = (phase.purges(), &mut times) {
            let start = Instant::now();
            self.blobs.purge();
            *ns += start.elapsed().as_nanos() as u64;
        }
        if let Some(timeline) = &mut worker.timeline {
            timeline.end_phase(worker.payload);
        }
        let resident = self.meter.measure()?.saturating_sub(self.before) as f64;
        // Relaxed: the barrier ordered it.
        let live = shared.payload.load(Ordering::Relaxed);
        self.held.push((live > 0).then(|| resident / live as f64));
        Ok(times)
    }
}

/// The threads' times together.
fn outcome(records: Vec<Record>, held: &[Option<f64>], moments: Vec<Moment>) -> Outcome {
    let mut threads: Vec<_> = records.into_iter().map(Vec::into_iter).collect();
    let mut phases = Vec::new();
    for (phase, &held_over_payload) in Phase::ALL.into_iter().zip(held) {
        let times = threads.iter_mut().filter_map(Iterator::next);
        phases.push(PhaseFigures {
            held_over_payload,
            ..Times::figures(phase, times)
        });
    }
    Outcome { phases, moments }
}

#[cfg(test)]
mod tests {
    use super::super::objects::ObjectFile;
    use super::super::zs;
    use super::*;
    use crate::load::Load;
    use zs_mm::PageSize;
    use zs_pages::Collector;

    /// The objects that this program's own pages make, and how many there are.
    fn objects_of_this_program() -> (Objects, u32) {
        let mut collector = Collector::new(PageSize::K4).unwrap();
        let program = "/proc/self/exe".as_ref();
        collector.add_file(program, &mut |_| ()).unwrap();
        let pages = collector.finish().unwrap().0.map().unwrap();
        let file = ObjectFile::build(&mut Load::new(&pages, 1, 1).unwrap()).unwrap();
        let objects = Objects::map(file.file.descriptor().unwrap(), file.count).unwrap();
        (objects, file.count)
    }

    fn outcome_of(threads: u32, words: bool) -> Outcome {
        let (objects, count) = objects_of_this_program();
        let job = Job {
            count,
            threads,
            seed: 1,
            huge: false,
        };
        if words {
            run(&job, &objects, || zs::Words::new(&job)).unwrap()
        } else {
            run(&job, &objects, || zs::Handles::new(&job)).unwrap()
        }
    }

    /// Every phase has figures; what was stored came back, or the run would have failed.
    #[test]
    fn both_kinds_of_words_go_through_all_phases() {
        for (threads, words) in [(1, false), (2, true)] {
            let outcome = outcome_of(threads, words);
            let phases: Vec<Phase> = outcome.phases.iter().map(|phase| phase.phase).collect();
            assert_eq!(phases, Phase::ALL);
            let mut timed = 0;
            for figures in &outcome.phases {
                assert!(figures.mean_ns > 0.0, "{figures:?}");
                assert_eq!(figures.p99_ns.is_some(), figures.p50_ns.is_some());
                timed += usize::from(figures.p50_ns.is_some());
                let empty = matches!(figures.phase, Phase::FreeAll | Phase::PurgeEmpty);
                assert_eq!(figures.held_over_payload.is_none(), empty, "{figures:?}");
            }
            assert_eq!(timed, Phase::TIMED);
            assert!(outcome.moments.len() >= 2 * Phase::ALL.len());
            let last = outcome.moments.last().unwrap();
            assert_eq!(last.payload_mib, 0.0);
            assert!(outcome.moments.is_sorted_by(|a, b| a.ms <= b.ms));
        }
    }

    /// A blob store that fails once, in one of two threads.
    struct Failing(AtomicU64);

    impl Blobs for Failing {
        type Name = u32;
        const NO_NAME: u32 = 0;

        fn store(&self, number: u32, _: &[u8]) -> Result<u32> {
            if number == 101 && self.0.fetch_add(1, Ordering::Relaxed) == 0 {
                bail!("no memory");
            }
            Ok(number)
        }

        fn load(&self, _: u32, _: &mut [u8]) -> Result<usize> {
            Ok(1)
        }

        fn free(&self, _: u32) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_error_ends_the_run_and_nobody_waits() {
        let (objects, count) = objects_of_this_program();
        let job = Job {
            count,
            threads: 2,
            seed: 1,
            huge: false,
        };
        let error = run(&job, &objects, || Ok(Failing(AtomicU64::new(0)))).unwrap_err();
        // The other thread reads too few bytes.
        let text = error.to_string();
        assert!(
            text.contains("no memory") || text.contains("bytes were read"),
            "{text}"
        );
    }
}
