//! One thread's operations.

use super::blobs::Blobs;
use anyhow::{Result, bail};
use bench_own::contents::{Tag, fill, read};
use bench_own::numbers::XorShift32;

/// The shortest and the longest object: the longest that shares a page frame of 4 KiB in this
/// project's geometry.
const MIN_LEN: u32 = 32;
const MAX_LEN: u32 = 3840;

/// A live blob.
struct Live<N> {
    name: N,
    len: usize,
}

/// One thread: slots of its own, each with a blob or without.
pub(super) struct Worker<'a, B: Blobs> {
    blobs: &'a B,
    number: u8,
    numbers: XorShift32,
    live: Vec<Option<Live<B::Name>>>,
    /// How many contents each slot has had.
    versions: Vec<u32>,
    buffer: Vec<u8>,
}

impl<'a, B: Blobs> Worker<'a, B> {
    pub(super) fn new(blobs: &'a B, number: u8, seed: u32, slots: u32) -> Self {
        Self {
            blobs,
            number,
            numbers: XorShift32::new(seed.wrapping_add(number.into())),
            live: (0..slots).map(|_| None).collect(),
            versions: vec![0; slots as usize],
            buffer: vec![0; MAX_LEN as usize],
        }
    }

    /// So many operations. A slot and an operation are drawn until the two fit, so that half of the
    /// slots are full in the long run, and the three kinds equally frequent.
    pub(super) fn operate(&mut self, operations: u64) -> Result<()> {
        let mut done = 0;
        while done < operations {
            let slot = self.numbers.below(self.live.len() as u32);
            let kind = self.numbers.below(3);
            match (kind, self.live[slot as usize].is_some()) {
                (0, false) => self.allocate(slot)?,
                (1, true) => self.map(slot)?,
                (2, true) => self.free(slot)?,
                _ => continue,
            }
            done += 1;
        }
        Ok(())
    }

    /// Compares what is left, and frees it.
    pub(super) fn finish(&mut self) -> Result<()> {
        for slot in 0..self.live.len() as u32 {
            if self.live[slot as usize].is_some() {
                self.compare(slot)?;
                self.free(slot)?;
            }
        }
        Ok(())
    }

    fn tag(&self, slot: u32) -> Tag {
        Tag {
            owner: self.number,
            slot,
            version: self.versions[slot as usize],
        }
    }

    fn next_tag(&mut self, slot: u32) -> Tag {
        let version = &mut self.versions[slot as usize];
        *version = version.wrapping_add(1);
        self.tag(slot)
    }

    fn allocate(&mut self, slot: u32) -> Result<()> {
        let len = (MIN_LEN + self.numbers.below(MAX_LEN - MIN_LEN + 1)) as usize;
        let tag = self.next_tag(slot);
        fill(&mut self.buffer[..len], tag);
        let name = self.blobs.store(&self.buffer[..len])?;
        self.live[slot as usize] = Some(Live { name, len });
        Ok(())
    }

    /// Compares, and gives other contents every other time.
    fn map(&mut self, slot: u32) -> Result<()> {
        if self.numbers.below(2) == 0 {
            return self.compare(slot);
        }
        let (before, after) = (self.tag(slot), self.next_tag(slot));
        let Some(live) = &self.live[slot as usize] else {
            return Ok(());
        };
        self.blobs.change(live.name, live.len, |bytes| {
            check(bytes, before)?;
            fill(bytes, after);
            Ok(())
        })
    }

    fn compare(&self, slot: u32) -> Result<()> {
        let Some(live) = &self.live[slot as usize] else {
            return Ok(());
        };
        let expected = self.tag(slot);
        self.blobs
            .show(live.name, live.len, |bytes| check(bytes, expected))
    }

    fn free(&mut self, slot: u32) -> Result<()> {
        match self.live[slot as usize].take() {
            Some(live) => self.blobs.free(live.name),
            None => Ok(()),
        }
    }
}

fn check(bytes: &[u8], expected: Tag) -> Result<()> {
    let found = read(bytes)?;
    if found != expected {
        bail!("expected {expected:?}, found {found:?}");
    }
    Ok(())
}
