//! One thread's operations.

use super::contents::{Tag, fill, read};
use super::shared::{MIN_LEN, Pool, Pools, Shared};
use crate::numbers::XorShift32;
use anyhow::{Context as _, Result, bail};
use std::sync::atomic::Ordering;
use zsmalloc::{Error, Handle, MapMode};

/// What a thread has done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Objects made.
    pub allocs: u64,
    /// Own objects mapped, and compared.
    pub reads: u64,
    /// Own objects mapped, compared, and given other contents.
    pub writes: u64,
    /// Objects freed, those at the end not counted.
    pub frees: u64,
    /// Any thread's objects mapped by the handle that all know, and compared.
    pub foreign_reads: u64,
    /// Other threads' objects that were gone when they were to be mapped, as the pool said.
    pub stale: u64,
    /// Slots of other threads that never had an object.
    pub unused: u64,
    /// Objects that somebody used in a way that excluded the mapping.
    pub busy: u64,
}

impl Counts {
    /// The sum of two threads' work.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            allocs: self.allocs + other.allocs,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            frees: self.frees + other.frees,
            foreign_reads: self.foreign_reads + other.foreign_reads,
            stale: self.stale + other.stale,
            unused: self.unused + other.unused,
            busy: self.busy + other.busy,
        }
    }
}

/// A live object of this thread.
#[derive(Debug, Clone, Copy)]
struct Object {
    handle: Handle,
    pool: usize,
    len: u32,
}

/// One thread: slots of its own, each with an object or without.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    number: usize,
    numbers: XorShift32,
    objects: Vec<Option<Object>>,
    /// How many contents each slot has had.
    versions: Vec<u32>,
    buffer: Vec<u8>,
    pub(super) counts: Counts,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared, number: usize) -> Self {
        let slots = shared.slots as usize;
        Self {
            shared,
            number,
            numbers: XorShift32::new(shared.options.seed.wrapping_add(number as u32)),
            objects: vec![None; slots],
            versions: vec![0; slots],
            buffer: vec![0; shared.max_len as usize],
            counts: Counts::default(),
        }
    }

    /// All operations. A slot and an operation are drawn until the two fit: an object is made where
    /// none is, mapped and freed where one is. So half of the slots are full in the long run,
    /// and the three are equally frequent.
    pub(super) fn operate(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.shared.options.ops {
            let slot = self.numbers.below(self.shared.slots);
            let kind = self.numbers.below(3);
            match (kind, self.objects[slot as usize]) {
                (0, None) => self.allocate(slot)?,
                (1, Some(object)) => self.map(slot, object)?,
                (2, Some(object)) => {
                    self.free(slot, object)?;
                    self.counts.frees += 1;
                }
                _ => continue,
            }
            done += 1;
        }
        Ok(())
    }

    /// Compares what is left, and frees it.
    pub(super) fn finish(&mut self) -> Result<()> {
        for slot in 0..self.shared.slots {
            if let Some(object) = self.objects[slot as usize] {
                self.read_own(slot, object)?;
                self.free(slot, object)?;
            }
        }
        Ok(())
    }

    fn allocate(&mut self, slot: u32) -> Result<()> {
        let len = MIN_LEN + self.numbers.below(self.shared.max_len - MIN_LEN + 1);
        let pools = self.shared.pools.len();
        let pool = match self.shared.options.pools {
            Pools::Shared => 0,
            Pools::PerThread => self.number,
            Pools::RoundRobin => (self.number + self.counts.allocs as usize) % pools,
        };
        let tag = self.next_tag(slot);
        let bytes = &mut self.buffer[..len as usize];
        fill(bytes, tag);
        let handle = self.shared.pools[pool].insert(bytes)?;
        self.objects[slot as usize] = Some(Object { handle, pool, len });
        self.publish(slot, handle.to_bits());
        self.counts.allocs += 1;
        Ok(())
    }

    /// Half of the mappings in one shared pool go to any thread's objects; of the others, half
    /// write.
    fn map(&mut self, slot: u32, object: Object) -> Result<()> {
        if !self.shared.board.is_empty() && self.numbers.below(2) == 0 {
            return self.read_foreign();
        }
        if self.numbers.below(2) == 0 {
            return self.write_own(slot, object);
        }
        self.read_own(slot, object)?;
        self.counts.reads += 1;
        Ok(())
    }

    fn read_own(&mut self, slot: u32, object: Object) -> Result<()> {
        let expected = self.tag(slot);
        let mapping = self
            .pool(object)
            .map(object.handle, MapMode::ReadOnly, &mut self.buffer)?;
        check(&mapping, expected, object)
    }

    fn write_own(&mut self, slot: u32, object: Object) -> Result<()> {
        let expected = self.tag(slot);
        let mapping =
            self.shared.pools[object.pool].map(object.handle, MapMode::ReadWrite, &mut self.buffer);
        let mut mapping = match mapping {
            Ok(mapping) => mapping,
            Err(Error::Busy) => {
                // Another thread is reading it.
                self.counts.busy += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        check(&mapping, expected, object)?;
        let version = &mut self.versions[slot as usize];
        *version = version.wrapping_add(1);
        let bytes = mapping
            .bytes_mut()
            .context("a mapping for writing cannot be written")?;
        fill(
            bytes,
            Tag {
                version: *version,
                ..expected
            },
        );
        self.counts.writes += 1;
        Ok(())
    }

    /// Reads an object of any thread, which may free it or write to it just then, or have freed it
    /// long ago.
    fn read_foreign(&mut self) -> Result<()> {
        let at = self.numbers.below(self.shared.board.len() as u32);
        // Acquire pairs with the Release in `publish`; the pool orders the bytes by itself.
        let bits = self.shared.board[at as usize].load(Ordering::Acquire);
        let Some(handle) = Handle::from_bits(bits) else {
            self.counts.unused += 1;
            return Ok(());
        };
        match self.shared.pools[0].map(handle, MapMode::ReadOnly, &mut self.buffer) {
            Ok(mapping) => {
                let tag = read(&mapping)?;
                if u32::from(tag.owner) * self.shared.slots + tag.slot != at {
                    bail!("the handle of place {at} leads to the object {tag:?}");
                }
                self.counts.foreign_reads += 1;
            }
            Err(Error::Stale) => self.counts.stale += 1,
            Err(Error::Busy) => self.counts.busy += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn free(&mut self, slot: u32, object: Object) -> Result<()> {
        self.pool(object).free(object.handle)?;
        self.objects[slot as usize] = None;
        Ok(())
    }

    /// Lets other threads know the handle of a slot, if they share the pool; they keep it when the
    /// object is freed.
    fn publish(&self, slot: u32, bits: u64) {
        let at = self.number * self.shared.slots as usize + slot as usize;
        if let Some(place) = self.shared.board.get(at) {
            // Release pairs with the Acquire in `read_foreign`.
            place.store(bits, Ordering::Release);
        }
    }

    fn pool(&self, object: Object) -> &'a Pool {
        &self.shared.pools[object.pool]
    }

    fn tag(&self, slot: u32) -> Tag {
        Tag {
            owner: self.number as u8,
            slot,
            version: self.versions[slot as usize],
        }
    }

    fn next_tag(&mut self, slot: u32) -> Tag {
        let version = &mut self.versions[slot as usize];
        *version = version.wrapping_add(1);
        self.tag(slot)
    }
}

fn check(bytes: &[u8], expected: Tag, object: Object) -> Result<()> {
    let found = read(bytes)?;
    if found != expected || bytes.len() != object.len as usize {
        bail!(
            "expected {expected:?} of {} bytes, found {found:?} of {}",
            object.len,
            bytes.len()
        );
    }
    Ok(())
}
