//! The work: a pool churned, looked at, maintained beside readers, looked at again.

use super::churn::Churn;
use super::outcome::{Outcome, Snapshot};
use super::readers::{self, Histogram, Known, Phase};
use super::reading::Looks;
use super::{Picture, present};
use crate::cli::Frag;
use crate::failure::{Failure, LIMIT_REACHED, failed};
use crate::limit::limit;
use crate::pool::Pool;
use crate::sources::gather;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use zs_mm::{Arena, ArenaOptions, PageSize};
use zs_os::{AnonBacking, HOST, ProcessMeter};
use zs_pages::MappedPages;
use zsmalloc::{HandlePool, MaintainBudget, MaintainEnd, MaintainReport, PoolOptions};

/// Bytes that one window of maintenance copies.
const WINDOW: u64 = 4 << 20;

/// Windows at most: readers may be in the way of one frame or other in each.
const WINDOWS: usize = 100_000;

/// A window without maintenance, at least.
const IDLE: Duration = Duration::from_millis(2);

/// Before memory is read for the last time, the system may do lazily what it does with memory that
/// came back.
const REST: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) fn run(options: &Frag) -> Result<ExitCode, Failure> {
    let picture = options.svg.as_deref().map(Picture::open).transpose()?;
    let gathered = gather(&options.source, options.sampling(), options.page_size)?;
    let page = gathered.page_size;
    let limit = limit(options.limit, page, gathered.pages.data_pages());
    let pages = gathered.pages.map()?;
    let (outcome, limit_reached) = churn_and_maintain(options, &pages, limit)?;
    present(&outcome, options, picture)?;
    match gathered.origin.failure() {
        Some(text) => Err(Failure::Failed(text)),
        None if limit_reached => Ok(ExitCode::from(LIMIT_REACHED)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn churn_and_maintain(
    options: &Frag,
    pages: &MappedPages,
    limit: u64,
) -> Result<(Outcome, bool), Failure> {
    let page = pages.page_size();
    let mut meter = ProcessMeter::new(pages.addresses()).map_err(failed)?;
    let mut churn = Churn::new(pages.data(), options.sampling().seed)?;
    if churn.most() == 0 {
        let text = "every page is same-filled: there is nothing to store";
        return Err(Failure::Failed(text.to_owned()));
    }
    let count = thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1);
    let mut times = Histogram::of_readers(count);
    let mut known = Known::room_for(churn.most());
    let steps = churn.most() + 2 * options.free.of(churn.most()) * options.rounds as usize;
    warm_up(page)?;
    let mut looks = Looks::new(&mut meter, steps)?;
    let pool = make_pool(page, limit)?;
    looks.mark("fill");
    churn.fill(&pool, &mut looks)?;
    let stored = churn.live().count();
    for round in 1..=options.rounds {
        looks.mark("free");
        churn.free(&pool, options.free, &mut looks)?;
        if round < options.rounds {
            looks.mark("refill");
            churn.fill(&pool, &mut looks)?;
        }
    }
    // What the frees alone give back is no merit of what follows.
    pool.trim();
    let before = looks.snapshot(&pool)?;
    looks.mark("maintain");
    readers::known(&pool, churn.live(), &mut known)?;
    if known.is_empty() {
        // There is nothing to read.
        times.clear();
    }
    let work = |phase: &Phase| maintain(&pool, phase, &mut looks);
    let ((report, seconds), readers) = readers::during(&pool, &known, &mut times, work)?;
    thread::sleep(REST);
    let after = looks.snapshot(&pool)?;
    churn.check(&pool)?;
    let limit_reached = churn.limit_reached;
    let outcome = Outcome {
        page,
        pages: stored as u64,
        free: options.free,
        rounds: options.rounds,
        blocks_possible: blocks_possible(&after, &pool),
        before,
        after,
        history: looks.history,
        marks: looks.marks,
        frames_moved: report.frames_moved,
        objects_moved: report.objects_moved,
        seconds: seconds.as_secs_f64(),
        readers,
    };
    Ok((outcome, limit_reached))
}

/// Has everything done once, so that whatever is paid once (code read from disk, the readers'
/// stacks) is paid before the first reading.
fn warm_up(page: PageSize) -> Result<(), Failure> {
    let pool = make_pool(page, 4 << 20)?;
    let handle = pool.insert(&[1; 1000]).map_err(failed)?;
    let mut known = Known::room_for(1);
    readers::known(&pool, std::iter::once((handle, 1000)), &mut known)?;
    let mut times = Histogram::of_readers(1);
    readers::during(&pool, &known, &mut times, |_| {
        pool.maintain(MaintainBudget::UNLIMITED);
        Ok(())
    })?;
    Ok(())
}

/// Maintains in windows, with as much time between them, until nothing is left to be won; returns
/// what it did, and how long the windows were.
fn maintain(
    pool: &Pool,
    phase: &Phase,
    looks: &mut Looks<'_>,
) -> Result<(MaintainReport, Duration), Failure> {
    // The readers' first window is one without.
    thread::sleep(10 * IDLE);
    let (mut all, mut busy) = (MaintainReport::default(), Duration::ZERO);
    for _ in 0..WINDOWS {
        phase.is_busy(true);
        let start = Instant::now();
        let report = pool.maintain(MaintainBudget::bytes(WINDOW));
        let window = start.elapsed();
        phase.is_busy(false);
        busy += window;
        all.objects_moved += report.objects_moved;
        all.frames_moved += report.frames_moved;
        looks.read(pool)?;
        // Readers are timed in this while too.
        thread::sleep(window.max(IDLE));
        // What a reader was inside of may be had the next time.
        if report.end == MaintainEnd::Done && report.objects_moved + report.frames_moved == 0 {
            break;
        }
    }
    Ok((all, busy))
}

/// Pageblocks that the frames in use leave room for.
fn blocks_possible(after: &Snapshot, pool: &Pool) -> u64 {
    let frames: u64 = pool
        .arena()
        .blocks()
        .map(|block| u64::from(block.in_use()))
        .sum();
    let in_block = pool.geometry().page_size().frames_per_block() as u64;
    (after.blocks.len() as u64).saturating_sub(frames.div_ceil(in_block))
}

fn make_pool(page_size: PageSize, limit: u64) -> Result<Box<Pool>, Failure> {
    let options = ArenaOptions {
        page_size,
        ..ArenaOptions::new(limit)
    };
    let arena = Arena::new(AnonBacking::new(), &HOST, options).map_err(failed)?;
    let pool = HandlePool::new(arena, PoolOptions::named("frag")).map_err(failed)?;
    Ok(Box::new(pool))
}
