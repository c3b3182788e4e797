//! `map-modes`: two ways to show an object that spans frames in one piece: its two parts copied
//! together, or its two frames mapped side by side once more, from the memfd that they lie in.
//!
//! An experiment beside the library, which copies (`docs/decisions/0019-map-modes.md` has the
//! figures): no pool, only a memfd of frames, and random pairs of them. Either way every byte of
//! the object is then read.

#![expect(
    unsafe_code,
    reason = "it maps, and reads what it mapped: the library has no such mode"
)]

use crate::machine;
use crate::numbers::{XorShift32, quantile, timer_cost};
use anyhow::{Context as _, Result, bail};
use clap::{Args, value_parser};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::hint::{self, black_box};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

const FRAME: usize = 4096;

/// The object: its bytes in the first frame, and in the second.
const FIRST: usize = 700;
const SECOND: usize = 800;

/// Two ways to map an object, timed.
#[derive(Debug, Args)]
pub(crate) struct MapModes {
    /// Frames of the memfd
    #[arg(long, default_value = "50000", value_parser = value_parser!(u32).range(2..=1 << 20))]
    frames: u32,

    /// Objects that are shown, each way
    #[arg(long, default_value = "20000", value_parser = value_parser!(u32).range(100..=1 << 24))]
    objects: u32,
}

/// A range of addresses, unmapped when dropped.
///
/// # Invariants
/// `len` bytes from `start` are mapped by this value alone, and readable.
struct Mapped {
    start: *mut c_void,
    len: usize,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this value's own range, by its invariant; nobody borrows from it any more.
        // An unmapping that failed keeps addresses, which end with the process.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

impl Mapped {
    /// The whole memfd.
    fn all(memfd: &OwnedFd, len: usize) -> Result<Self> {
        let (access, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: at a place of the system's choice, so nothing that is mapped is replaced.
        let start = unsafe { mmap(ptr::null_mut(), len, access, shared, memfd.as_fd(), 0) };
        // INVARIANT: mapped just now.
        Ok(Self {
            start: start.context("mmap")?,
            len,
        })
    }

    /// A place for two frames.
    fn window() -> Result<Self> {
        let (access, private) = (ProtFlags::READ, MapFlags::PRIVATE);
        // SAFETY: at a place of the system's choice, so nothing that is mapped is replaced.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), 2 * FRAME, access, private) };
        // INVARIANT: mapped just now.
        Ok(Self {
            start: start.context("mmap")?,
            len: 2 * FRAME,
        })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: readable by the invariant; the memfd is written to before there are readers, and
        // by nobody else.
        unsafe { slice::from_raw_parts(self.start.cast(), self.len) }
    }

    /// Writes to every frame, so that it has memory.
    fn fill(&mut self) {
        // SAFETY: `all` mapped it for writing, and the borrow is exclusive.
        let bytes = unsafe { slice::from_raw_parts_mut(self.start.cast::<u8>(), self.len) };
        for (number, frame) in bytes.chunks_exact_mut(FRAME).enumerate() {
            frame.fill(number as u8);
        }
    }

    /// Puts a frame into one half of the window, in place of what was there.
    fn put(&mut self, memfd: &OwnedFd, half: usize, frame: usize, flags: MapFlags) -> Result<()> {
        let place = self.start.wrapping_byte_add(half * FRAME);
        let (flags, offset) = (
            MapFlags::SHARED | MapFlags::FIXED | flags,
            (frame * FRAME) as u64,
        );
        // SAFETY: a half of this value's own range, which nobody borrows, is replaced by a frame
        // that the memfd has.
        unsafe { mmap(place, FRAME, ProtFlags::READ, flags, memfd.as_fd(), offset) }
            .context("mmap of a frame")?;
        Ok(())
    }
}

/// Reads an object, as whoever asked for it would.
fn read(object: &[u8]) -> u64 {
    let words = object.chunks_exact(8);
    words.fold(0, |sum, word| sum + u64::from(black_box(word[0])))
}

struct Frames {
    memfd: OwnedFd,
    all: Mapped,
    pairs: Vec<(usize, usize)>,
    clock: u64,
}

impl Frames {
    fn new(options: &MapModes) -> Result<Self> {
        let memfd = memfd_create("frames", MemfdFlags::CLOEXEC).context("memfd_create")?;
        let len = options.frames as usize * FRAME;
        ftruncate(&memfd, len as u64).context("ftruncate")?;
        let mut all = Mapped::all(&memfd, len)?;
        all.fill();
        let mut numbers = XorShift32::new(12345);
        let mut frame = || numbers.below(options.frames) as usize;
        Ok(Self {
            memfd,
            all,
            pairs: (0..options.objects).map(|_| (frame(), frame())).collect(),
            clock: timer_cost(|| Instant::now().elapsed()),
        })
    }

    /// The quantiles of `show`, which reads one object and returns the sum of its bytes.
    fn time(&self, mut show: impl FnMut(usize, usize) -> Result<u64>) -> Result<[u64; 2]> {
        let mut times = Vec::with_capacity(self.pairs.len());
        for &(first, second) in &self.pairs {
            let start = Instant::now();
            let sum = show(first, second)?;
            times.push((start.elapsed().as_nanos() as u64).saturating_sub(self.clock));
            let expected = self.sum(first, second);
            if sum != expected {
                bail!("frames {first} and {second}: {sum} was read in place of {expected}");
            }
        }
        times.sort_unstable();
        let of = |share| quantile(&times, share).context("no object");
        Ok([of(0.5)?, of(0.99)?])
    }

    /// What reading an object must come to: every frame is full of its number.
    fn sum(&self, first: usize, second: usize) -> u64 {
        let words = |bytes: usize| (bytes / 8) as u64;
        let in_first = FIRST.div_ceil(8) as u64;
        u64::from(first as u8) * in_first
            + u64::from(second as u8) * (words(FIRST + SECOND) - in_first)
    }

    fn copied(&self) -> Result<[u64; 2]> {
        let bytes = self.all.bytes();
        let mut buffer = [0; FIRST + SECOND];
        self.time(|first, second| {
            let end = (first + 1) * FRAME;
            buffer[..FIRST].copy_from_slice(&bytes[end - FIRST..end]);
            buffer[FIRST..].copy_from_slice(&bytes[second * FRAME..][..SECOND]);
            Ok(read(&buffer))
        })
    }

    fn mapped(&self, flags: MapFlags) -> Result<[u64; 2]> {
        let mut window = Mapped::window()?;
        self.time(|first, second| {
            window.put(&self.memfd, 0, first, flags)?;
            window.put(&self.memfd, 1, second, flags)?;
            Ok(read(&window.bytes()[FRAME - FIRST..][..FIRST + SECOND]))
        })
    }
}

/// Has another thread of the process run meanwhile: each change of a mapping then has to tell its
/// CPU.
fn beside_another<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Relaxed: nothing follows from it.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                hint::spin_loop();
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Runs the command.
pub(crate) fn run(options: &MapModes) -> Result<()> {
    let frames = Frames::new(options)?;
    let (touched, populated) = (MapFlags::empty(), MapFlags::POPULATE);
    let rows = [
        ("copied", frames.copied()?),
        ("mapped, touched", frames.mapped(touched)?),
        ("mapped, populated", frames.mapped(populated)?),
        ("copied, two threads", beside_another(|| frames.copied())?),
        (
            "mapped, populated, two threads",
            beside_another(|| frames.mapped(populated))?,
        ),
    ];
    let mut out = io::stdout().lock();
    for line in machine::described("bench-own") {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "an object shown, ns                 p50      p99")?;
    for (name, [p50, p99]) in rows {
        writeln!(out, "{name:<31} {p50:>7} {p99:>8}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `time` compares what is read; a frame in the wrong half is noticed.
    #[test]
    fn both_ways_show_the_same_bytes() {
        let options = MapModes {
            frames: 300,
            objects: 500,
        };
        let frames = Frames::new(&options).unwrap();
        frames.copied().unwrap();
        for flags in [MapFlags::empty(), MapFlags::POPULATE] {
            frames.mapped(flags).unwrap();
        }
        let error = frames.time(|first, second| Ok(frames.sum(second, first)));
        assert!(error.unwrap_err().to_string().contains("in place of"));
    }
}
