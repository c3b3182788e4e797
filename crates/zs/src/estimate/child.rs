//! The child: everything warm, then measured.

use crate::cli::Job;
use crate::estimate::after_free::Leaving;
use crate::estimate::bench::{Bench, BenchError, Stored};
use crate::estimate::models::{Model, Models};
use crate::estimate::protocol::{Class, Measured, Message, Metadata};
use crate::failure::Failure;
use crate::pool::Pool;
use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use zs_mm::{Arena, ArenaOptions, PageSize};
use zs_os::{AnonBacking, HOST, ProcessMeter};
use zs_pages::{DataPages, MappedPages, PageFile};
use zsmalloc::{CLASSES, ClassIndex, ClassStats, Handle, HandlePool, PoolOptions};

/// The time between two reports of progress to the parent.
const INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of pages that pass through everything once before anything counts: compressed, they fill a
/// pageblock or so.
const WARM_UP_BYTES: usize = 8 << 20;

/// Before resident memory is read again, the system may do lazily what it does with memory that
/// came back.
const REST: Duration = Duration::from_secs(1);

/// Measures a codec, and tells the parent.
pub(crate) fn run(job: &Job) -> Result<ExitCode, Failure> {
    let (message, code) = match measure(job) {
        Ok(measured) => (Message::Measured(Box::new(measured)), ExitCode::SUCCESS),
        Err(reason) => (Message::Failed(reason), ExitCode::FAILURE),
    };
    // A parent that is gone needs no answer.
    let _ = message.send(io::stdout().lock());
    Ok(code)
}

fn measure(job: &Job) -> Result<Measured, String> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    let input = input.map_err(|error| format!("standard input: {error}"))?;
    let file = PageFile::inherited(input, job.page_size).map_err(|error| error.to_string())?;
    let pages = file.map().map_err(|error| error.to_string())?;
    measure_pages(job, &pages).map_err(|error| error.to_string())
}

fn measure_pages(job: &Job, mapped: &MappedPages) -> Result<Measured, BenchError> {
    let pages = mapped.data();
    let mut bench = Bench::new(job.codec, pages, &job.parts)?;
    let mut meter = ProcessMeter::new(mapped.addresses())?;
    // Kept, so that the structures of the pool that is measured take memory of their own.
    let (_warm, stand_in, classes) = warm_up(job, pages, &mut bench)?;
    // Allocated and written to: it stands for a client's own table, which is none of the pool's
    // memory.
    let mut handles = vec![stand_in; pages.len()];
    let leaving = Leaving::new(job, pages);
    // Of the warm-up's pages nothing is to be left.
    bench.parts.restart();
    let mut reporter = Reporter::new();
    let before = meter.measure()?;

    let pool = make_pool(job.page_size, job.limit)?;
    let stored = bench.store(&pool, &mut handles, &mut |page| reporter.progress(page))?;
    pool.trim();
    let held = pool.arena().stats().held;
    let resident = meter.measure()?.saturating_sub(before);

    let handles = &handles[..stored.pages];
    let load_ns = bench.load(&pool, handles, &[], &mut |page| {
        reporter.progress(pages.len() + page);
    })?;
    let mut measured = Measured {
        held_bytes: held,
        rss_bytes: resident,
        load_ns,
        parts: bench.parts.take(),
        ..report(&pool, &stored, classes)
    };
    measured.count_holes(pages.holes() as u64);
    if job.compare {
        measured.models = Some(models(&pool, handles));
    }
    if let Some(leaving) = leaving {
        let left = leaving.leave(&pool, handles, &stored)?;
        thread::sleep(REST);
        let resident = meter.measure()?.saturating_sub(before);
        measured.after_free = Some(left.report(&pool, resident));
        left.check(&pool, handles, &mut bench, &mut |page| {
            reporter.progress(2 * pages.len() + page);
        })?;
    }
    Ok(measured)
}

/// Returns what others would hold of the objects. Same-filled pages have no handle of this pool.
fn models(pool: &Pool, handles: &[Handle]) -> Vec<Model> {
    let mut models = Models::new(pool.geometry().page_size());
    for object in pool.read_many(handles).flatten() {
        models.add(object.len());
    }
    models.models()
}

/// Makes a pool in an arena of its own.
pub(super) fn make_pool(page_size: PageSize, limit: u64) -> Result<Box<Pool>, BenchError> {
    let options = ArenaOptions {
        page_size,
        ..ArenaOptions::new(limit)
    };
    let arena = Arena::new(AnonBacking::new(), &HOST, options);
    // Nothing is stored yet, so that no limit of ours can be what is reached.
    let arena = arena.map_err(|error| match error {
        zs_mm::Error::NoMemory => BenchError::NoPool(limit),
        error => error.into(),
    })?;
    let pool = HandlePool::new(arena, PoolOptions::named("estimate"));
    let pool = pool.map_err(|error| match error {
        zsmalloc::Error::NoMemory => BenchError::NoPool(limit),
        error => error.into(),
    })?;
    Ok(Box::new(pool))
}

/// Passes some pages through a pool that is of no further use, so that what is paid once (code read
/// from disk, symbols bound, the stack's and the heap's growth) is paid before the first reading.
/// Returns the pool, a handle that is of no use either, and room for the classes of a report.
fn warm_up(
    job: &Job,
    pages: DataPages<'_>,
    bench: &mut Bench<'_>,
) -> Result<(Box<Pool>, Handle, Vec<Class>), BenchError> {
    let count = pages.len().min(WARM_UP_BYTES >> job.page_size.shift());
    let worst = 2 * (count + CLASSES) * job.page_size.bytes();
    let pool = make_pool(job.page_size, (worst as u64) + (8 << 20))?;
    let stand_in = pool.insert(b"x")?;
    let mut handles = vec![stand_in; count];
    let stored = bench.store(&pool, &mut handles, &mut |_| ())?;
    let handles = &handles[..stored.pages];
    bench.load(&pool, handles, &[], &mut |_| ())?;
    pool.trim();
    let classes = report(&pool, &stored, Vec::new()).classes;
    if let Some(leaving) = Leaving::new(job, pages) {
        let left = leaving.leave(&pool, handles, &stored)?;
        left.report(&pool, 0);
        left.check(&pool, handles, bench, &mut |_| ())?;
    }
    Ok((pool, stand_in, classes))
}

/// Returns what the pool says of itself now; what was read before and what comes later is left
/// empty. The classes are written to the room that is given: that of an earlier report has been
/// written to already, for each class there is.
fn report(pool: &Pool, stored: &Stored, mut classes: Vec<Class>) -> Measured {
    let stats = pool.stats();
    let page = pool.geometry().page_size();
    classes.clear();
    let all = ClassIndex::all().map(|class| pool.class_stats(class));
    classes.extend(all.map(|class| Class::new(&class, page)));
    classes.retain(|class| class.objects > 0);
    Measured {
        pages: stored.pages as u64,
        same_filled: stored.same_filled,
        zero: stored.zero,
        stored: stored.stored,
        raw: stored.raw,
        payload_bytes: stored.payload_bytes,
        held_bytes: 0,
        per_object_bytes: per_object_bytes(pool),
        rss_bytes: 0,
        store_ns: stored.mean_ns(),
        load_ns: None,
        objects: stats.objects,
        zspages: stats.zspages,
        slots: stats.slots,
        frames: stats.frames,
        frame_bytes: stats.frame_bytes,
        metadata_bytes: Metadata::of(pool),
        limit_reached: stored.limit_reached,
        classes,
        parts: Vec::new(),
        models: None,
        after_free: None,
    }
}

/// Returns what the objects take in a pool without end: their share of whole zspages with the
/// records, and their words (`docs/words.md`).
fn per_object_bytes(pool: &Pool) -> u64 {
    const WORD: f64 = 8.0;
    const DESCRIPTOR: usize = 8;
    let frame = pool.geometry().page_size().bytes() + DESCRIPTOR;
    let of = |stats: ClassStats| {
        let class = stats.class;
        let zspage = class.chain as usize * frame + class.record_bytes();
        (zspage as f64 / f64::from(class.slots) + WORD) * stats.objects as f64
    };
    let classes = ClassIndex::all().map(|class| pool.class_stats(class));
    classes.map(of).sum::<f64>() as u64
}

/// Tells the parent of progress, now and then.
struct Reporter {
    last: Option<Instant>,
}

impl Reporter {
    /// Makes a reporter that has spoken once, and once kept quiet, so that its buffers and its code
    /// are there.
    fn new() -> Self {
        let mut reporter = Self { last: None };
        reporter.progress(0);
        reporter.progress(0);
        reporter
    }

    fn progress(&mut self, steps: usize) {
        let just_spoken = |last: Instant| last.elapsed() < INTERVAL;
        if self.last.is_some_and(just_spoken) {
            return;
        }
        self.last = Some(Instant::now());
        // A parent that is gone is noticed by no one, and the child ends soon.
        let _ = Message::Progress(steps as u64).send(io::stdout().lock());
    }
}
