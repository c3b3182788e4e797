//! A thread: one operation after the other.

use super::client::{Meeting, SharedPool};
use super::guards::{Faulty, HeldMap, HeldReader};
use super::scene::{Place, Scene};
use super::stamp::{STAMP, contents, stamp};
use crate::{Length, Op, What};
use zs_mm::Isolated;
use zs_sync::{Host as _, schedule};
use zsmalloc::Error;

/// Mappings that one thread can hold at a time or one after the other.
const HELD_MAPS: usize = 6;

/// A replace that waits for those inside.
const WAITING: &str = "replace_wait";

/// A thread of a run.
pub(super) struct Worker<'s, C: Meeting> {
    pub(super) scene: &'s Scene<C>,
    pub(super) me: usize,
    /// Contents made so far.
    made: u32,
    pub(super) readers: Vec<HeldReader<'s, C>>,
    pub(super) maps: Vec<HeldMap<'s, C>>,
    /// Frames that are held isolated. In-place writes wait for them, so they end before this
    /// thread waits for anybody.
    pub(super) tokens: Vec<Isolated<'s, Faulty>>,
    /// For mappings to come; one that ended does not return its buffer.
    pub(super) buffers: Vec<&'s mut [u8]>,
    /// Displaced objects that were mapped by somebody when they were to be freed.
    displaced: Vec<(usize, C::Key)>,
}

/// Does what the scene has thread `me` do.
pub(super) fn play<C: Meeting>(scene: &Scene<C>, me: usize) {
    // What is wrong has ended the schedule.
    let _ = perform(scene, me, scene.scripts[me].iter().copied());
}

/// Executes operations as thread `me`. What is wrong ends the schedule at once, while the thread
/// still holds what it holds.
fn perform<C: Meeting>(
    scene: &Scene<C>,
    me: usize,
    ops: impl Iterator<Item = Op>,
) -> Result<(), String> {
    let mut buffers = vec![vec![0; scene.page.bytes()]; HELD_MAPS];
    let mut worker = Worker::new(scene, me);
    worker.buffers = buffers.iter_mut().map(Vec::as_mut_slice).collect();
    let told = |what: String| {
        schedule::fail(&what);
        what
    };
    for op in ops {
        let done = worker.step(op);
        done.map_err(|what| told(format!("{op:?}: {what}")))?;
    }
    let left = worker.leave_all().and_then(|()| worker.free_displaced());
    left.map_err(|what| told(format!("at the end: {what}")))
}

impl<'s, C: Meeting> Worker<'s, C> {
    /// Makes a thread that holds nothing, and has no buffers to map into.
    pub(super) fn new(scene: &'s Scene<C>, me: usize) -> Self {
        Self {
            scene,
            me,
            made: 0,
            readers: Vec::new(),
            maps: Vec::new(),
            tokens: Vec::new(),
            buffers: Vec::new(),
            displaced: Vec::new(),
        }
    }
}

impl<C: Meeting> Worker<'_, C> {
    /// Executes one operation. A new kind needs an arm, here or in `step_around`, and nothing else.
    pub(super) fn step(&mut self, op: Op) -> Result<(), String> {
        let scene = self.scene;
        match op {
            Op::Insert {
                pool, len, slot, ..
            } => self.insert(scene.place_in(pool, slot), len),
            Op::Allocate { pool, len, slot } => self.allocate(scene.place_in(pool, slot), len),
            Op::Read { nth } => self.with_key(scene.place(nth), Self::read),
            Op::Replace { nth, len, .. } => self.replace(scene.place(nth), len, "replace"),
            Op::ReplaceWait { nth, len, .. } => self.replace(scene.place(nth), len, WAITING),
            Op::Write { nth, .. } => self.write(scene.place(nth)),
            Op::Map { nth, kind, .. } => {
                let held = self.maps.len();
                self.with_key(scene.place(nth), |this, at| this.hold_map(at, kind))?;
                self.end_maps_from(held)
            }
            Op::HoldMap { nth, kind, .. } => {
                self.with_key(scene.place(nth), |this, at| this.hold_map(at, kind))
            }
            Op::EndMap { nth } => self.end_map(nth),
            Op::OpenReader { nth } => self.with_key(scene.place(nth), Self::open_reader),
            Op::CloseReader { nth } => self.close_reader(nth),
            Op::Free { nth } => {
                self.with_key(scene.place(nth), |this, at| this.free(at).map(|_| ()))
            }
            Op::UseStale { nth } => self.use_stale(nth),
            Op::UseForeign { nth, pool } => {
                let place = scene.place(nth);
                let pool = pool as usize % scene.pools.len();
                match scene.key(place) {
                    Some(key) if place.pool != pool => self.use_stranger(pool, Some(key), 0),
                    _ => Ok(()),
                }
            }
            Op::Forge { pool, bits } => {
                self.use_stranger(pool as usize % scene.pools.len(), None, bits)
            }
            other => self.step_around(other),
        }
    }

    fn with_key(
        &mut self,
        place: Place,
        operation: impl FnOnce(&mut Self, (usize, C::Key)) -> Result<(), String>,
    ) -> Result<(), String> {
        match self.scene.key(place) {
            Some(key) => operation(self, (place.pool, key)),
            None => Ok(()),
        }
    }

    /// Returns the stamp of new contents, and the contents.
    pub(super) fn make(&mut self, len: usize) -> (u64, Vec<u8>) {
        self.made += 1;
        let stamp = stamp(self.me, self.made, len);
        (stamp, contents(stamp))
    }

    /// Counts and notes what an operation answered; what it gave, if it was done.
    pub(super) fn noted<T>(
        &self,
        name: &'static str,
        at: (usize, C::Key),
        start: u64,
        got: Result<T, Error>,
        done: impl FnOnce(&T) -> What,
    ) -> Result<Option<T>, String> {
        let end = self.scene.now();
        let (outcome, what) = match &got {
            Ok(value) => ("done", done(value)),
            Err(error) => self.refusal(*error)?,
        };
        self.scene.ledger().tally.count(name, outcome);
        self.scene.note(self.me, at, start..end, what);
        Ok(got.ok())
    }

    /// Returns what an error says about the object; errors that nobody may meet are wrong.
    fn refusal(&self, error: Error) -> Result<(&'static str, What), String> {
        match error {
            Error::Stale => Ok(("stale", What::Stale)),
            Error::Busy => Ok(("busy", What::Busy)),
            Error::Occupied => Ok(("occupied", What::Occupied)),
            Error::NoMemory if self.scene.is_scarce => Ok(("no memory", What::Inside)),
            error => Err(format!("answers {error:?}")),
        }
    }

    /// Returns what contents of a length that no object has must be answered.
    fn size_error(&self, len: usize) -> Option<Error> {
        let max = self.scene.page.bytes();
        match len {
            0 => Some(Error::ZeroSize),
            size if size > max => Some(Error::TooLarge { size, max }),
            _ => None,
        }
    }

    fn insert(&mut self, place: Place, len: Length) -> Result<(), String> {
        let (scene, slot) = (self.scene, place.slot as u32);
        let len = scene.len(place, len);
        let pool = &scene.pools[place.pool];
        if let Some(error) = self.size_error(len) {
            return answers(&C::insert(pool, slot, &vec![1; len]), error);
        }
        if C::key_of(slot).is_some() {
            // It waits for the readers of the word's last object, so it must not be one.
            self.leave_all()?;
        }
        let (stamp, bytes) = self.make(len.max(STAMP));
        let start = scene.now();
        let got = C::insert(pool, slot, &bytes);
        self.inserted("insert", place, start, got, stamp)
    }

    fn allocate(&mut self, place: Place, len: Length) -> Result<(), String> {
        let scene = self.scene;
        let len = scene.len(place, len);
        let start = scene.now();
        let Some(got) = C::allocate(&scene.pools[place.pool], len.max(STAMP)) else {
            return Ok(());
        };
        match self.size_error(len.max(STAMP)) {
            Some(error) => answers(&got, error),
            None => self.inserted("allocate", place, start, got, 0),
        }
    }

    /// A new object goes to its place; the one that was there is freed.
    fn inserted(
        &mut self,
        name: &'static str,
        place: Place,
        start: u64,
        got: Result<C::Key, Error>,
        stamp: u64,
    ) -> Result<(), String> {
        let scene = self.scene;
        let key = match (&got, C::key_of(place.slot as u32)) {
            (Ok(key), _) => *key,
            (Err(_), Some(key)) => key,
            (Err(error), None) => return self.not_made(name, *error),
        };
        let at = (place.pool, key);
        let done = self.noted(name, at, start, got, |_| What::Inserted(stamp))?;
        let before = done.and_then(|key| scene.put(place, key));
        if let Some(before) = before.filter(|&before| before != key) {
            self.displace((place.pool, before))?;
        }
        Ok(())
    }

    /// Takes note of an object that was not made: it has no key, and so no history: memory is all
    /// that it can lack.
    fn not_made(&self, name: &'static str, error: Error) -> Result<(), String> {
        let (outcome, _) = self.refusal(error)?;
        self.scene.ledger().tally.count(name, outcome);
        match error {
            Error::NoMemory => Ok(()),
            _ => Err(format!("a new object answers {error:?}")),
        }
    }

    /// Frees an object that has no place any more: later, if somebody has it mapped.
    fn displace(&mut self, at: (usize, C::Key)) -> Result<(), String> {
        if !self.free(at)? {
            self.displaced.push(at);
        }
        Ok(())
    }

    /// Frees an object; `false` if it is mapped.
    pub(super) fn free(&mut self, at: (usize, C::Key)) -> Result<bool, String> {
        let start = self.scene.now();
        let got = self.scene.pools[at.0].free(at.1);
        self.noted("free", at, start, got, |()| What::Freed)?;
        Ok(got != Err(Error::Busy))
    }

    /// Frees what was displaced while somebody had it mapped. Mappings end, so this does.
    fn free_displaced(&mut self) -> Result<(), String> {
        while let Some(at) = self.displaced.pop() {
            self.displace(at)?;
            self.scene.world.host.yield_now();
        }
        Ok(())
    }

    fn replace(&mut self, place: Place, len: Length, name: &'static str) -> Result<(), String> {
        let scene = self.scene;
        let Some(key) = scene.key(place) else {
            return Ok(());
        };
        let pool = &scene.pools[place.pool];
        let len = scene.len(place, len);
        if let Some(error) = self.size_error(len) {
            return answers(&pool.replace(key, &vec![1; len]).map(|_| ()), error);
        }
        if name == WAITING {
            self.leave_all()?;
        }
        let (stamp, bytes) = self.make(len.max(STAMP));
        let start = scene.now();
        let got = if name == WAITING {
            pool.replace_wait(key, &bytes)
        } else {
            pool.replace(key, &bytes)
        };
        self.noted(name, (place.pool, key), start, got, |_| What::Wrote(stamp))?;
        if name == WAITING && got == Err(Error::Busy) {
            return Err("a replace that waits answers Busy".into());
        }
        Ok(())
    }

    /// Overwrites the whole object in place where its length is known; elsewhere, writes beyond it.
    fn write(&mut self, place: Place) -> Result<(), String> {
        let scene = self.scene;
        let (Some(key), start) = (scene.key(place), scene.now()) else {
            return Ok(());
        };
        let (pool, at) = (&scene.pools[place.pool], (place.pool, key));
        let Some(len) = scene.fixed_len(place) else {
            let got = match pool.write(key, usize::MAX, &[1, 2]) {
                Ok(()) => return Err("a write beyond the object is taken".into()),
                Err(Error::TooLarge { .. }) => Ok(()),
                Err(error) => Err(error),
            };
            let noted = self.noted("write beyond", at, start, got, |()| What::Inside);
            return noted.map(|_| ());
        };
        self.tokens.clear();
        let (stamp, bytes) = self.make(len);
        let got = pool.write(key, 0, &bytes);
        let noted = self.noted("write", at, start, got, |()| What::Wrote(stamp));
        noted.map(|_| ())
    }

    pub(super) fn mark(&self, place: Place, state: u8, payload: u32) {
        let slot = place.slot as u32;
        if let Some(key) = C::key_of(slot) {
            let start = self.scene.now();
            C::mark(&self.scene.pools[place.pool], slot, state, payload);
            let span = start..self.scene.now();
            self.scene
                .note(self.me, (place.pool, key), span, What::Inside);
        }
    }

    /// Reads by a key that was freed; a word's may hold another object by now.
    fn use_stale(&mut self, nth: u16) -> Result<(), String> {
        let gone = {
            let ledger = self.scene.ledger();
            let nth = (nth as usize).checked_rem(ledger.gone.len());
            nth.map(|nth| ledger.gone[nth])
        };
        gone.map_or(Ok(()), |at| self.read(at))
    }

    /// Uses a key that names nothing in the pool.
    fn use_stranger(&self, pool: usize, key: Option<C::Key>, bits: u64) -> Result<(), String> {
        let pool: &SharedPool<C> = &self.scene.pools[pool];
        let Some(key) = C::stranger(key, bits) else {
            return Ok(());
        };
        answers(&pool.read(key), Error::Stale)?;
        answers(&pool.free(key), Error::Stale)
    }
}

/// Says whether an operation answered the error that was due.
fn answers<T>(got: &Result<T, Error>, due: Error) -> Result<(), String> {
    match got {
        Err(error) if *error == due => Ok(()),
        Err(error) => Err(format!("answers {error:?} in place of {due:?}")),
        Ok(_) => Err(format!("is done in place of {due:?}")),
    }
}
