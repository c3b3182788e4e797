//! One thread: its objects, its phases, their times.

use super::blobs::Blobs;
use super::objects::{Objects, PAGE};
use super::phase::{Phase, PhaseFigures};
use super::timeline::Timeline;
use crate::machine::thread_cpu;
use crate::numbers::XorShift32;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Operations between two looks at the clock, where single ones are too short for it.
const BATCH: usize = 64;

/// A blob of this thread.
#[derive(Debug, Clone, Copy)]
struct Place<N> {
    name: N,
    /// The object whose bytes it has.
    object: u32,
}

/// One thread.
pub(super) struct Worker<'a, B: Blobs> {
    blobs: &'a B,
    objects: &'a Objects,
    /// The numbers of this thread's places among those of all: each begins with the object of that
    /// number.
    numbers: Vec<u32>,
    places: Vec<Place<B::Name>>,
    random: XorShift32,
    /// Places in random order; the first half is what is freed and filled again.
    order: Vec<u32>,
    /// Names for a call that takes many.
    names: Vec<B::Name>,
    buffer: Vec<u8>,
    /// What one look at the clock costs.
    clock_ns: u64,
    /// Of the phase at hand.
    times: Vec<f32>,
    /// Room for the times of the phases to come: written to before anything is measured, so that
    /// it takes no memory later.
    room: Vec<Vec<f32>>,
    /// Bytes of this thread's live objects.
    pub(super) payload: u64,
    /// Of the thread that looks at memory.
    pub(super) timeline: Option<Timeline>,
}

/// What a thread has to say of a phase.
pub(super) enum Times {
    /// Of single operations, or of batches, divided by their length.
    Single(Vec<f32>),
    /// Nanoseconds of so many operations together.
    Whole { ns: u64, operations: u64 },
}

impl Times {
    /// Of a thread that did nothing.
    pub(super) fn nothing() -> Self {
        Self::Single(Vec::new())
    }

    /// The figures of a phase: all operations of all threads together. Of whole passes the mean
    /// over the threads, of purges the longest, as the others wait for it.
    pub(super) fn figures(phase: Phase, threads: impl Iterator<Item = Self>) -> PhaseFigures {
        let (mut single, mut whole) = (Vec::new(), Vec::new());
        for times in threads {
            match times {
                Self::Single(times) => single.extend(times),
                Self::Whole { ns, operations } => whole.push(ns as f64 / operations.max(1) as f64),
            }
        }
        if whole.is_empty() {
            PhaseFigures::timed(phase, single)
        } else if phase.purges() {
            PhaseFigures::whole(phase, whole.into_iter().fold(0.0, f64::max))
        } else {
            PhaseFigures::whole(phase, whole.iter().sum::<f64>() / whole.len() as f64)
        }
    }
}

impl<'a, B: Blobs> Worker<'a, B> {
    /// The thread with this number, of so many.
    pub(super) fn new(
        blobs: &'a B,
        objects: &'a Objects,
        number: u32,
        threads: u32,
        seed: u32,
        clock_ns: u64,
    ) -> Self {
        let numbers: Vec<u32> = (number..objects.count())
            .step_by(threads as usize)
            .collect();
        let blank = |&object: &u32| Place {
            name: B::NO_NAME,
            object,
        };
        let seed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b1));
        Self {
            blobs,
            objects,
            places: numbers.iter().map(blank).collect(),
            random: XorShift32::new(seed),
            order: XorShift32::new(!seed).shuffled(numbers.len() as u32),
            names: vec![B::NO_NAME; BATCH],
            buffer: vec![1; PAGE.bytes()],
            clock_ns,
            times: Vec::new(),
            room: vec![vec![1.0; numbers.len()]; Phase::TIMED],
            payload: 0,
            timeline: None,
            numbers,
        }
    }

    /// Does one phase. A purge is `purge`'s business: a thread only flushes what it has.
    pub(super) fn run(&mut self, phase: Phase) -> Result<Times> {
        if let Some(timeline) = &mut self.timeline {
            timeline.begin_phase(self.payload);
        }
        let half = self.order.len() / 2;
        match phase {
            Phase::Insert | Phase::InsertWarm => self.single(Self::insert_all),
            Phase::Read => self.single(Self::read),
            Phase::ReadPass => self.read_pass(),
            Phase::ReadMany => self.read_many(),
            Phase::FreeHalf => self.single(|worker| worker.free_first(half)),
            Phase::Purge | Phase::PurgeChurned => Ok(self.flush()),
            Phase::PurgeEmpty => self.end(),
            Phase::Refill => self.single(|worker| worker.refill(half)),
            Phase::Churn => self.single(Self::churn),
            Phase::FreeAll => self.single(|worker| worker.free_first(worker.order.len())),
        }
    }

    /// A phase of operations that are timed one by one, or in batches.
    fn single(&mut self, operations: impl FnOnce(&mut Self) -> Result<()>) -> Result<Times> {
        self.times = self.room.pop().unwrap_or_default();
        self.times.clear();
        operations(self)?;
        Ok(Times::Single(std::mem::take(&mut self.times)))
    }

    /// Times one operation.
    fn timed<T>(&mut self, operation: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let done = operation(self)?;
        self.add(start, 1);
        Ok(done)
    }

    fn add(&mut self, start: Instant, operations: usize) {
        let took = start.elapsed().as_nanos() as u64;
        let ns = took.saturating_sub(self.clock_ns) as f32;
        self.times.push(ns / operations as f32);
        if let Some(timeline) = &mut self.timeline {
            timeline.tick(start, self.payload);
        }
    }

    /// Stores an object in a place, and times it.
    fn store(&mut self, at: usize, object: u32) -> Result<()> {
        let bytes = self.objects.get(object);
        let number = self.numbers[at];
        let name = self.timed(|worker| worker.blobs.store(number, bytes))?;
        self.places[at] = Place { name, object };
        self.payload += bytes.len() as u64;
        Ok(())
    }

    fn insert_all(&mut self) -> Result<()> {
        (0..self.numbers.len()).try_for_each(|at| self.store(at, self.numbers[at]))
    }

    fn read(&mut self) -> Result<()> {
        for at in 0..self.order.len() {
            let Place { name, .. } = self.places[self.order[at] as usize];
            self.timed(|worker| worker.blobs.load(name, &mut worker.buffer))?;
        }
        Ok(())
    }

    /// From the last to the first, so that what was read last is not met first.
    fn read_pass(&mut self) -> Result<Times> {
        let start = thread_cpu();
        let mut read = 0;
        for &at in self.order.iter().rev() {
            let Place { name, .. } = self.places[at as usize];
            read += self.blobs.load(name, &mut self.buffer)?;
        }
        self.whole(start, read)
    }

    fn read_many(&mut self) -> Result<Times> {
        let start = thread_cpu();
        let mut read = 0;
        for order in self.order.chunks(BATCH) {
            // To look the names up is part of the work, as it is in a pass of single reads.
            self.names.clear();
            let names = order.iter().map(|&at| self.places[at as usize].name);
            self.names.extend(names);
            read += self.blobs.load_many(&self.names, &mut self.buffer)?;
        }
        self.whole(start, read)
    }

    /// The time of a pass over all objects, which has to have met all their bytes: CPU time, as a
    /// pass is long enough for others to come between.
    fn whole(&self, start: Duration, read: usize) -> Result<Times> {
        let ns = (thread_cpu() - start).as_nanos() as u64;
        if read as u64 != self.payload {
            bail!("{read} bytes were read, {} are live", self.payload);
        }
        let operations = self.order.len() as u64;
        Ok(Times::Whole { ns, operations })
    }

    /// Frees the first of the order.
    fn free_first(&mut self, count: usize) -> Result<()> {
        for from in (0..count).step_by(BATCH) {
            let to = (from + BATCH).min(count);
            let start = Instant::now();
            for &at in &self.order[from..to] {
                self.blobs.free(self.places[at as usize].name)?;
            }
            // The payload is counted outside of the measured time, and before the memory is looked
            // at.
            let (order, places) = (&self.order[from..to], &self.places);
            let took = start.elapsed();
            let object = |&at: &u32| self.objects.get(places[at as usize].object).len() as u64;
            self.payload -= order.iter().map(object).sum::<u64>();
            let ns = (took.as_nanos() as u64).saturating_sub(self.clock_ns);
            self.times.push(ns as f32 / (to - from) as f32);
            if let Some(timeline) = &mut self.timeline {
                timeline.tick(start, self.payload);
            }
        }
        Ok(())
    }

    fn refill(&mut self, count: usize) -> Result<()> {
        for at in 0..count {
            let place = self.order[at] as usize;
            self.store(place, self.places[place].object)?;
        }
        Ok(())
    }

    fn churn(&mut self) -> Result<()> {
        let count = self.numbers.len() as u32;
        for _ in 0..count {
            let at = self.random.below(count) as usize;
            let object = self.numbers[self.random.below(count) as usize];
            let bytes = self.objects.get(object);
            let (old, number) = (self.places[at], self.numbers[at]);
            let name = self.timed(|worker| {
                worker.blobs.free(old.name)?;
                worker.blobs.store(number, bytes)
            })?;
            self.payload += bytes.len() as u64;
            self.payload -= self.objects.get(old.object).len() as u64;
            self.places[at] = Place { name, object };
        }
        Ok(())
    }

    fn flush(&self) -> Times {
        let start = Instant::now();
        self.blobs.flush_thread();
        Times::Whole {
            ns: start.elapsed().as_nanos() as u64,
            operations: 1,
        }
    }

    /// Compares every object with what was stored.
    pub(super) fn verify(&mut self) -> Result<()> {
        for (place, &number) in self.places.iter().zip(&self.numbers) {
            let len = self.blobs.load(place.name, &mut self.buffer)?;
            if self.buffer[..len] != *self.objects.get(place.object) {
                bail!("place {number} came back with other bytes than were stored");
            }
        }
        Ok(())
    }

    /// Frees everything, untimed.
    fn end(&mut self) -> Result<Times> {
        let mut places = self.places.iter();
        places.try_for_each(|place| self.blobs.free(place.name))?;
        self.payload = 0;
        Ok(self.flush())
    }
}
