//! Threads on one pool: each verifies what it reads by the stamp in it; wrong bytes never, Busy and
//! Stale where another thread was faster.

#![cfg(not(zs_loom))]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use std::thread;
use zs_mm::PageSize;
use zs_model::{Numbers, TestArena, World, pattern, scaled};
use zs_sync::{AtomicU64, Ordering};
use zsmalloc::{Error, Handle, HandlePool, MapMode, Pool, PoolOptions, Spans};

type TestPool<'a> = HandlePool<&'a TestArena>;

/// Handles that all threads know.
const SHARED: usize = 24;
/// Bytes of a stamp: the seed that the rest follows from.
const STAMP: usize = 8;

/// What happened, by all threads.
#[derive(Debug, Default)]
struct Counts {
    inserted: AtomicU64,
    freed: AtomicU64,
    verified: AtomicU64,
    changed: AtomicU64,
    deferred: AtomicU64,
    busy: AtomicU64,
    stale: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    /// Whether every window that the test is about was met.
    fn all_met(&self) -> bool {
        let windows = [
            &self.verified,
            &self.changed,
            &self.deferred,
            &self.stale,
            &self.busy,
        ];
        windows.iter().all(|hits| hits.load(Ordering::Relaxed) > 0)
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn stamped(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend(pattern(seed, len - STAMP));
    bytes
}

fn verify(spans: Spans<'_>) {
    let bytes = [spans.first, spans.second].concat();
    let stamp = bytes[..STAMP].try_into().expect("a stamp");
    let seed = u64::from_le_bytes(stamp);
    assert!(
        bytes[STAMP..] == pattern(seed, bytes.len() - STAMP),
        "wrong bytes"
    );
}

struct Worker<'a> {
    pool: &'a TestPool<'a>,
    shared: &'a [AtomicU64; SHARED],
    counts: &'a Counts,
    numbers: Numbers,
    buffer: Vec<u8>,
}

impl Worker<'_> {
    fn bytes(&mut self) -> Vec<u8> {
        let most = self.buffer.len() - STAMP;
        stamped(self.numbers.draw(), STAMP + self.numbers.below(most))
    }

    fn any_shared(&mut self) -> Option<Handle> {
        let at = self.numbers.below(SHARED);
        Handle::from_bits(self.shared[at].load(Ordering::Acquire))
    }

    fn free(&self, handle: Handle) -> Result<(), Error> {
        self.pool.free(handle).map(|()| add(&self.counts.freed))
    }

    /// A new object for all; the one whose place it takes is freed.
    fn publish(&mut self) -> Result<(), Error> {
        let handle = self.pool.insert(&self.bytes())?;
        add(&self.counts.inserted);
        let at = self.numbers.below(SHARED);
        let before = self.shared[at].swap(handle.to_bits(), Ordering::AcqRel);
        let Some(before) = Handle::from_bits(before) else {
            return Ok(());
        };
        loop {
            // Mapped by somebody: it ends soon, and nobody else can free it for us.
            match self.free(before) {
                Err(Error::Busy) => {
                    add(&self.counts.busy);
                    thread::yield_now();
                }
                outcome => return outcome,
            }
        }
    }

    /// A read that outlives a free.
    fn free_while_reading(&mut self, handle: Handle) -> Result<(), Error> {
        let guard = self.pool.read(handle)?;
        self.free(handle)?;
        verify(guard.spans());
        add(&self.counts.deferred);
        Ok(())
    }

    fn write(&mut self, handle: Handle) -> Result<(), Error> {
        let len = self.pool.read(handle)?.len();
        let bytes = stamped(self.numbers.draw(), len);
        match self.pool.write(handle, 0, &bytes) {
            // It was replaced by a shorter one meanwhile; a longer one would be torn.
            Err(Error::TooLarge { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    fn map(&mut self, handle: Handle) -> Result<(), Error> {
        let seed = self.numbers.draw();
        let mode = [MapMode::ReadWrite, MapMode::WriteOnly][self.numbers.below(2)];
        let mut mapping = self.pool.map(handle, mode, &mut self.buffer)?;
        if let Some(bytes) = mapping.bytes_mut() {
            let stamped = stamped(seed, bytes.len());
            bytes.copy_from_slice(&stamped);
        }
        add(&self.counts.changed);
        Ok(())
    }

    fn step(&mut self) -> Result<(), Error> {
        let operation = self.numbers.below(10);
        let handle = match self.any_shared() {
            Some(handle) if operation > 1 => handle,
            _ => return self.publish(),
        };
        match operation {
            2..=5 => {
                let guard = self.pool.read(handle)?;
                if operation == 2 {
                    // Others meet the reader inside, on a machine with one CPU too.
                    thread::yield_now();
                }
                verify(guard.spans());
                add(&self.counts.verified);
                Ok(())
            }
            6 => self
                .pool
                .replace(handle, &self.bytes())
                .map(|_| add(&self.counts.changed)),
            7 => self.map(handle),
            8 => self.free_while_reading(handle),
            _ => self.free(handle),
        }
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            match self.step() {
                Ok(()) => {}
                Err(Error::Busy) => add(&self.counts.busy),
                Err(Error::Stale) => add(&self.counts.stale),
                Err(Error::NoMemory) => add(&self.counts.refused),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Each thread's own object of one length, which nobody else writes.
    fn write_own(&mut self, steps: u64) {
        let handle = self.pool.insert(&stamped(1, 100)).expect("room");
        add(&self.counts.inserted);
        for _ in 0..steps {
            match self.write(handle) {
                // The thread that visits all objects is inside.
                Err(Error::Busy) => add(&self.counts.busy),
                outcome => outcome.expect("mine alone"),
            }
            verify(self.pool.read(handle).expect("mine").spans());
        }
        self.free(handle).expect("mine");
    }
}

/// Counts a worker out, also when it panics: else the others would wait for it for ever.
struct Ended<'a>(&'a AtomicU64);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Trims, decays, visits and counts for as long as the others work.
fn tidy(pool: &TestPool<'_>, world: &World, running: &AtomicU64) -> u64 {
    let mut rounds = 0;
    loop {
        pool.trim();
        world.host.advance_ns(600_000_000);
        pool.arena().decay();
        let stats = pool.stats();
        assert!(stats.objects <= stats.slots, "{stats:?}");
        pool.for_each(|_, guard| verify(guard.spans()));
        rounds += 1;
        if running.load(Ordering::Acquire) == 0 {
            break;
        }
        thread::yield_now();
    }
    rounds
}

/// One round: a thread for each seed, and one that tidies up meanwhile.
fn work(
    pool: &TestPool<'_>,
    shared: &[AtomicU64; SHARED],
    counts: &Counts,
    world: &World,
    seeds: std::ops::Range<u64>,
) {
    let running = &AtomicU64::new(seeds.end - seeds.start);
    thread::scope(|scope| {
        let spawn = |seed| {
            scope.spawn(move || {
                let _ended = Ended(running);
                let mut worker = Worker {
                    pool,
                    shared,
                    counts,
                    numbers: Numbers::new(seed),
                    buffer: vec![0; pool.geometry().page_size().bytes()],
                };
                worker.run(scaled(4000));
                worker.write_own(scaled(200));
            })
        };
        let workers: Vec<_> = seeds.map(spawn).collect();
        let tidied = scope.spawn(|| tidy(pool, world, running));
        assert!(tidied.join().expect("no panic") > 0);
        // By handle: ThreadSanitizer does not see the end of a scope.
        for worker in workers {
            worker.join().expect("no panic");
        }
    });
}

fn together(page: PageSize, threads: u64) {
    let (arena, world) = World::arena(page, 4 << 20, 4096).expect("an arena");
    let options = PoolOptions {
        zero_freed: page == PageSize::K16,
        ..PoolOptions::named("threads")
    };
    let pool = Pool::new(&arena, options).expect("a pool");
    let shared = [const { AtomicU64::new(0) }; SHARED];
    let counts = Counts::default();
    // Some windows are a few instructions wide: work until each was met, and fail if one never is.
    for round in 0..50 {
        work(
            &pool,
            &shared,
            &counts,
            &world,
            round * threads..(round + 1) * threads,
        );
        if counts.all_met() {
            break;
        }
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    zs_model::sound(&arena, std::slice::from_ref(&pool)).expect("sound");
    assert_eq!(
        pool.stats().objects,
        count(&counts.inserted) - count(&counts.freed)
    );
    assert!(counts.all_met(), "{counts:?}");
    for handle in shared
        .iter()
        .filter_map(|bits| Handle::from_bits(bits.load(Ordering::Acquire)))
    {
        let _ = pool.free(handle);
    }
    pool.trim();
    assert_eq!(
        (pool.stats().objects, arena.frames_in_use()),
        (0, 0),
        "{counts:?}"
    );
    pool.destroy().expect("empty");
}

/// Four threads, or as many as `ZS_THREADS` says.
fn threads() -> u64 {
    let set = std::env::var("ZS_THREADS").ok();
    set.and_then(|threads| threads.parse().ok()).unwrap_or(4)
}

#[test]
fn threads_never_see_wrong_bytes_at_4k() {
    together(PageSize::K4, threads());
}

#[test]
fn threads_never_see_wrong_bytes_at_16k() {
    together(PageSize::K16, threads());
}

#[test]
fn threads_never_see_wrong_bytes_at_64k() {
    together(PageSize::K64, threads());
}
