//! `icount`: one kind of operation, often, for callgrind to count its instructions.
//!
//! `cargo xtask icount` runs this under valgrind, which collects inside of [`counted`] only.
//! Everything follows from a fixed seed, in one thread, so that the count changes with the code and
//! with nothing else: lengths are 64 to 1024 bytes, short enough that the copy does not drown the
//! rest.

use crate::numbers::XorShift32;
use anyhow::{Result, ensure};
use clap::ValueEnum;
use std::hint::black_box;
use std::io::{self, Write as _};
use zs_mm::{Arena, ArenaOptions};
use zs_os::{AnonBacking, HOST};
use zsmalloc::{CompactBudget, Handle, HandlePool, PoolOptions};

/// Objects of a pool, and operations that are counted.
const OBJECTS: u32 = 20_000;
const SHORTEST: u32 = 64;
const LONGEST: u32 = 1024;
const SEED: u32 = 12345;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// Into a pool that has the memory.
    Insert,
    /// Copied out, in random order.
    Read,
    /// The same, by `read_many`.
    ReadMany,
    /// In random order, until half of the objects are gone.
    Free,
    /// A random one freed, another stored.
    Churn,
    /// An object moved, when half of the objects are gone.
    Compact,
}

struct Setting {
    pool: HandlePool<Arena<AnonBacking>>,
    handles: Vec<Handle>,
    lengths: Vec<usize>,
    bytes: Vec<u8>,
    order: Vec<u32>,
    numbers: XorShift32,
}

/// The only place where instructions are counted; xtask names it to valgrind.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

impl Setting {
    fn new() -> Result<Self> {
        let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(64 << 20))?;
        let mut numbers = XorShift32::new(SEED);
        let mut length = || (SHORTEST + numbers.below(LONGEST - SHORTEST + 1)) as usize;
        Ok(Self {
            pool: HandlePool::new(arena, PoolOptions::named("icount"))?,
            handles: Vec::with_capacity(OBJECTS as usize),
            lengths: (0..OBJECTS).map(|_| length()).collect(),
            bytes: vec![0xa5; LONGEST as usize],
            order: XorShift32::new(SEED).shuffled(OBJECTS),
            numbers,
        })
    }

    fn insert(&mut self) -> Result<u64> {
        for &length in &self.lengths {
            self.handles.push(self.pool.insert(&self.bytes[..length])?);
        }
        Ok(self.lengths.len() as u64)
    }

    fn read(&mut self) -> Result<u64> {
        for &at in &self.order {
            let handle = self.handles[at as usize];
            self.pool.read_into(handle, &mut self.bytes)?;
        }
        Ok(self.order.len() as u64)
    }

    fn read_many(&mut self) -> Result<u64> {
        let handles = self.order.iter().map(|&at| self.handles[at as usize]);
        let handles: Vec<Handle> = handles.collect();
        for guard in self.pool.read_many(&handles) {
            guard?.copy_to(&mut self.bytes)?;
        }
        Ok(handles.len() as u64)
    }

    fn free(&mut self) -> Result<u64> {
        let gone = self.order.split_off(self.order.len() / 2);
        for &at in &gone {
            self.pool.free(self.handles[at as usize])?;
        }
        Ok(gone.len() as u64)
    }

    fn churn(&mut self) -> Result<u64> {
        for _ in 0..OBJECTS {
            let at = self.numbers.below(OBJECTS) as usize;
            let length = self.lengths[self.numbers.below(OBJECTS) as usize];
            self.pool.free(self.handles[at])?;
            self.handles[at] = self.pool.insert(&self.bytes[..length])?;
        }
        Ok(OBJECTS.into())
    }

    fn compact(&mut self) -> Result<u64> {
        let report = self.pool.compact(CompactBudget::UNLIMITED);
        ensure!(report.objects_moved > 0, "nothing was moved");
        Ok(report.objects_moved)
    }
}

/// Does the operation, and prints how often.
pub(crate) fn run(operation: Operation) -> Result<()> {
    Ok(writeln!(io::stdout(), "{}", times(operation)?)?)
}

/// Does the operation; returns how often.
fn times(operation: Operation) -> Result<u64> {
    let mut setting = Setting::new()?;
    // Once, so that the memory is there.
    setting.insert()?;
    match operation {
        Operation::Insert => {
            for handle in setting.handles.drain(..) {
                setting.pool.free(handle)?;
            }
            counted(|| setting.insert())
        }
        Operation::Read => counted(|| setting.read()),
        Operation::ReadMany => counted(|| setting.read_many()),
        Operation::Free => counted(|| setting.free()),
        Operation::Churn => counted(|| setting.churn()),
        Operation::Compact => {
            setting.free()?;
            counted(|| setting.compact())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_done_as_often_each_time() {
        for &operation in Operation::value_variants() {
            let done = times(operation).unwrap();
            assert!(done >= 1000, "{operation:?}: {done}");
            assert_eq!(done, times(operation).unwrap(), "{operation:?}");
        }
    }
}
