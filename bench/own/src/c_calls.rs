//! `c-calls`: what a call through C costs beside the same call of Rust.
//!
//! Two pools with the same objects, one behind each interface; batches of 64 calls on random
//! objects, one on the one and one on the other, in turn; whoever is first finds the contents cold,
//! so each is every other time. C's functions are called by pointers that the compiler does not
//! know, as a program calls a shared library's.

#![expect(unsafe_code, reason = "C's functions are called as C calls them")]

use crate::machine;
use crate::numbers::{XorShift32, quantile, timer_cost};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, value_parser};
use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::hint::black_box;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zs_capi::{
    zs_arena, zs_arena_create, zs_arena_destroy, zs_arena_options, zs_handle, zs_last_error,
    zs_pool_clear, zs_pool_create, zs_pool_destroy, zs_pool_free, zs_pool_insert, zs_pool_read,
    zs_pool_replace, zs_pool_t, zs_pool_write, zs_result, zs_view, zs_view_begin, zs_view_end,
};
use zs_mm::{Arena, ArenaOptions};
use zs_os::{AnonBacking, HOST};
use zsmalloc::{Handle, HandlePool, PoolOptions};

/// Calls of a batch: a few nanoseconds are lost in the reading of a clock.
const BATCH: usize = 64;

const LIMIT: u64 = 1 << 30;
const PAGE: usize = 4096;
/// The shortest object.
const SHORTEST: usize = 32;

/// The most that a call through C may cost more, in nanoseconds.
const BAR_NS: f64 = 10.0;

/// What a call through C costs beside the same call of Rust.
#[derive(Debug, Clone, Args)]
pub struct CCalls {
    /// Objects of 32 bytes to the largest that shares a page frame
    #[arg(long, default_value = "256", value_parser = value_parser!(u32).range(1..=100_000))]
    pub objects: u32,

    /// Batches of 64 calls of each kind, on each side
    #[arg(long, default_value = "20000", value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub batches: u32,
}

/// One kind of call: the median of a call by Rust and through C, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct CallCost {
    /// The call.
    pub call: &'static str,
    /// By Rust.
    pub rust_ns: f64,
    /// Through C.
    pub c_ns: f64,
}

/// Both pools, filled alike.
struct Sides {
    rust: HandlePool<Arc<Arena<AnonBacking>>>,
    rust_handles: Vec<Handle>,
    arena: *mut zs_arena,
    c: *mut zs_pool_t,
    c_handles: Vec<zs_handle>,
    contents: Vec<Vec<u8>>,
}

/// Whatever C answers but `ZS_OK` is an error.
fn must(result: zs_result) -> Result<()> {
    if result == zs_result::ZS_OK {
        return Ok(());
    }
    let more = zs_last_error();
    // SAFETY: a text of this thread's, which the next failing call changes.
    let more = unsafe { CStr::from_ptr(more) }.to_string_lossy();
    bail!("{result:?} {more}");
}

impl Sides {
    fn new(objects: u32) -> Result<Self> {
        let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(LIMIT))?;
        let rust = HandlePool::new(Arc::new(arena), PoolOptions::named("rust"))?;
        let options = zs_arena_options {
            limit: LIMIT,
            page_size: 0,
            decay_ms: 0,
            flags: 0,
        };
        let (mut arena, mut c) = (ptr::null_mut(), ptr::null_mut());
        let size = size_of::<zs_arena_options>();
        // SAFETY: the options are so long; the place is a pointer's.
        must(unsafe { zs_arena_create(&raw const options, size, &raw mut arena) })?;
        // SAFETY: as above.
        must(unsafe { zs_pool_create(arena, ptr::null(), 0, &raw mut c) })?;
        let mut numbers = XorShift32::new(12345);
        let longest = rust.geometry().huge_threshold() as u32;
        let mut content = || {
            let len = SHORTEST as u32 + numbers.below(longest - SHORTEST as u32 + 1);
            (0..len).map(|_| numbers.draw() as u8).collect()
        };
        let mut sides = Self {
            rust,
            rust_handles: Vec::new(),
            arena,
            c,
            c_handles: Vec::new(),
            contents: (0..objects).map(|_| content()).collect(),
        };
        for bytes in &sides.contents {
            sides.rust_handles.push(sides.rust.insert(bytes)?);
            sides.c_handles.push(insert(c, bytes)?);
        }
        Ok(sides)
    }

    fn end(self) -> Result<()> {
        // SAFETY: nobody else has the pool.
        must(unsafe { zs_pool_clear(self.c) })?;
        // SAFETY: as above.
        must(unsafe { zs_pool_destroy(self.c) })?;
        // SAFETY: as above.
        must(unsafe { zs_arena_destroy(self.arena) })
    }

    /// Times calls on the same random objects on either side.
    fn time(
        &self,
        batches: u32,
        mut rust: impl FnMut(Handle, &[u8]) -> Result<()>,
        mut c: impl FnMut(zs_handle, &[u8]) -> Result<()>,
    ) -> Result<(f64, f64)> {
        let mut numbers = XorShift32::new(12345);
        let count = self.contents.len() as u32;
        let mut times = Times::new();
        for batch in 0..batches {
            let chosen: [usize; BATCH] = std::array::from_fn(|_| numbers.below(count) as usize);
            let by_rust = || {
                let mut calls = chosen.iter();
                calls.try_for_each(|&at| rust(self.rust_handles[at], &self.contents[at]))
            };
            let by_c = || {
                let mut calls = chosen.iter();
                calls.try_for_each(|&at| c(self.c_handles[at], &self.contents[at]))
            };
            times.add_both(batch, by_rust, by_c)?;
        }
        times.medians()
    }

    /// Times inserts, and the frees of what they made.
    fn time_inserts(&self, batches: u32) -> Result<[(f64, f64); 2]> {
        let free = black_box(zs_pool_free as unsafe extern "C" fn(_, _) -> _);
        let (mut inserts, mut frees) = (Times::new(), Times::new());
        let (mut handles, mut bits) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut turns = self.contents.iter().cycle();
        for batch in 0..batches {
            let contents: Vec<&Vec<u8>> = turns.by_ref().take(BATCH).collect();
            let by_rust = || {
                for bytes in &contents {
                    handles.push(self.rust.insert(bytes)?);
                }
                Ok(())
            };
            let by_c = || {
                for bytes in &contents {
                    bits.push(insert(self.c, bytes)?);
                }
                Ok(())
            };
            inserts.add_both(batch, by_rust, by_c)?;
            let by_rust = || {
                for handle in handles.drain(..) {
                    self.rust.free(handle)?;
                }
                Ok(())
            };
            let by_c = || {
                for handle in bits.drain(..) {
                    // SAFETY: nobody destroys the pool meanwhile.
                    must(unsafe { free(self.c, handle) })?;
                }
                Ok(())
            };
            frees.add_both(batch, by_rust, by_c)?;
        }
        Ok([inserts.medians()?, frees.medians()?])
    }
}

/// An insert through C.
#[inline]
fn insert(pool: *mut zs_pool_t, bytes: &[u8]) -> Result<zs_handle> {
    let insert = black_box(zs_pool_insert as unsafe extern "C" fn(_, _, _, _) -> _);
    let mut handle = 0;
    // SAFETY: the slice is so long; nobody destroys the pool meanwhile.
    must(unsafe { insert(pool, bytes.as_ptr().cast(), bytes.len(), &raw mut handle) })?;
    Ok(handle)
}

/// Times of batches on either side.
struct Times {
    rust: Side,
    c: Side,
}

/// Nanoseconds of batches.
struct Side {
    batches: Vec<u64>,
    clock: u64,
}

impl Side {
    fn add(&mut self, calls: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        calls()?;
        let took = start.elapsed().as_nanos() as u64;
        self.batches.push(took.saturating_sub(self.clock));
        Ok(())
    }

    /// The median of a call.
    fn median(mut self) -> Result<f64> {
        self.batches.sort_unstable();
        let batch = quantile(&self.batches, 0.5).context("no batch")?;
        Ok(batch as f64 / BATCH as f64)
    }
}

impl Times {
    fn new() -> Self {
        let clock = timer_cost(|| -> Duration { Instant::now().elapsed() });
        let side = || Side {
            batches: Vec::new(),
            clock,
        };
        Self {
            rust: side(),
            c: side(),
        }
    }

    /// Times a batch on either side; who is first changes.
    fn add_both(
        &mut self,
        batch: u32,
        rust: impl FnOnce() -> Result<()>,
        c: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if batch.is_multiple_of(2) {
            self.rust.add(rust)?;
            self.c.add(c)
        } else {
            self.c.add(c)?;
            self.rust.add(rust)
        }
    }

    fn medians(self) -> Result<(f64, f64)> {
        Ok((self.rust.median()?, self.c.median()?))
    }
}

/// Calls of objects that stay.
impl Sides {
    fn time_reads(&self, batches: u32) -> Result<(f64, f64)> {
        let read = black_box(zs_pool_read as unsafe extern "C" fn(_, _, _, _, _) -> _);
        // One for both: what a copy costs depends on where it goes.
        let buffer = RefCell::new(vec![0_u8; PAGE]);
        let rust = |handle, bytes: &[u8]| {
            let len = self
                .rust
                .read_into(handle, black_box(&mut buffer.borrow_mut()))?;
            ensure!(len == bytes.len(), "a read of {len} bytes");
            Ok(())
        };
        let c = |handle, bytes: &[u8]| {
            let (mut len, place) = (0, buffer.borrow_mut().as_mut_ptr().cast::<c_void>());
            // SAFETY: the buffer is a page; nobody destroys the pool meanwhile.
            must(unsafe { read(self.c, handle, place, PAGE, &raw mut len) })?;
            ensure!(len == bytes.len(), "a read of {len} bytes");
            Ok(())
        };
        self.time(batches, rust, c)
    }

    fn time_views(&self, batches: u32) -> Result<(f64, f64)> {
        let begin = black_box(zs_view_begin as unsafe extern "C" fn(_, _, _) -> _);
        let end = black_box(zs_view_end as unsafe extern "C" fn(_) -> _);
        let mut view = MaybeUninit::<zs_view>::uninit();
        let rust = |handle, _: &[u8]| {
            black_box(self.rust.read(handle)?.spans());
            Ok(())
        };
        let c = |handle, _: &[u8]| {
            // SAFETY: the place is a view's; nobody destroys the pool meanwhile.
            must(unsafe { begin(self.c, handle, view.as_mut_ptr()) })?;
            // SAFETY: the view was begun.
            must(unsafe { end(view.as_mut_ptr()) })
        };
        self.time(batches, rust, c)
    }

    fn time_replaces(&self, batches: u32) -> Result<(f64, f64)> {
        let replace = black_box(zs_pool_replace as unsafe extern "C" fn(_, _, _, _) -> _);
        let rust = |handle, bytes: &[u8]| Ok(self.rust.replace(handle, bytes).map(|_| ())?);
        let c = |handle, bytes: &[u8]| {
            // SAFETY: the slice is so long; nobody destroys the pool meanwhile.
            must(unsafe { replace(self.c, handle, bytes.as_ptr().cast(), bytes.len()) })
        };
        self.time(batches, rust, c)
    }

    fn time_writes(&self, batches: u32) -> Result<(f64, f64)> {
        type Write = unsafe extern "C" fn(
            *mut zs_pool_t,
            zs_handle,
            usize,
            *const c_void,
            usize,
        ) -> zs_result;
        let write = black_box(zs_pool_write as Write);
        let rust = |handle, bytes: &[u8]| Ok(self.rust.write(handle, 0, &bytes[..SHORTEST])?);
        let c = |handle, bytes: &[u8]| {
            // SAFETY: every object has so many bytes; nobody destroys the pool meanwhile.
            must(unsafe { write(self.c, handle, 0, bytes.as_ptr().cast(), SHORTEST) })
        };
        self.time(batches, rust, c)
    }
}

/// Measures every kind of call.
///
/// # Errors
/// If a call answers otherwise than it must.
pub fn run(options: &CCalls) -> Result<Vec<CallCost>> {
    let (sides, batches) = (Sides::new(options.objects)?, options.batches);
    let reads = sides.time_reads(batches)?;
    let views = sides.time_views(batches)?;
    let replaces = sides.time_replaces(batches)?;
    let writes = sides.time_writes(batches)?;
    let [inserts, frees] = sides.time_inserts(batches)?;
    sides.end()?;
    let cost = |call, (rust_ns, c_ns)| CallCost {
        call,
        rust_ns,
        c_ns,
    };
    Ok(vec![
        cost("insert", inserts),
        cost("read into a buffer", reads),
        cost("view, begun and ended", views),
        cost("replace", replaces),
        cost("write 32 bytes", writes),
        cost("free", frees),
    ])
}

/// Runs the command.
pub(crate) fn run_and_print(options: &CCalls) -> Result<()> {
    let mut out = io::stdout().lock();
    for line in machine::described("bench-own") {
        writeln!(out, "{line}")?;
    }
    let costs = run(options)?;
    writeln!(out, "p50 of a call, ns     by Rust  through C  more")?;
    for CallCost {
        call,
        rust_ns,
        c_ns,
    } in &costs
    {
        let more = c_ns - rust_ns;
        writeln!(out, "{call:<21} {rust_ns:>7.1} {c_ns:>10.1} {more:>5.1}")?;
    }
    let most = costs.iter().map(|cost| cost.c_ns - cost.rust_ns);
    let most = most.fold(f64::MIN, f64::max);
    let verdict = if most <= BAR_NS { "met" } else { "missed" };
    writeln!(
        out,
        "bar: a call through C costs at most {BAR_NS} ns more: {most:.1}: {verdict}"
    )?;
    Ok(())
}
