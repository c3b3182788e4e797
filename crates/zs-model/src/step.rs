//! One operation, on the pools and on the model.

use crate::driver::Driver;
use crate::model::Model;
use crate::op::{Op, Portion};
use crate::pattern;
use crate::words::Words;
use core::fmt;
use zs_mm::{Backing, Movable};
use zsmalloc::{Error, MapMode};

/// Most frames that one operation may lack, and granules of metadata beside them: what can be free
/// below the limit when the answer is `NoMemory`.
const FRAMES: u64 = 2;
const GRANULES: u64 = 8;

impl<B: Backing, W: Words> Driver<'_, '_, B, W> {
    /// Executes one operation.
    pub(crate) fn step(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Insert {
                pool,
                len,
                slot,
                seed,
            } => {
                let bytes = pattern(u64::from(seed), len.bytes(self.model.page));
                self.insert(pool, slot, seed, bytes, false)
            }
            Op::Allocate { pool, len, slot } => {
                let bytes = vec![0; len.bytes(self.model.page)];
                self.insert(pool, slot, 1, bytes, true)
            }
            Op::Read { nth } => self.with_live(nth, Self::read),
            Op::Replace { nth, len, seed } => {
                let bytes = pattern(u64::from(seed), len.bytes(self.model.page));
                self.with_live(nth, |this, at| this.replace(at, bytes, false))
            }
            Op::ReplaceWait { nth, len, seed } => {
                let bytes = pattern(u64::from(seed), len.bytes(self.model.page));
                self.with_live(nth, |this, at| this.replace(at, bytes, true))
            }
            Op::Write {
                nth,
                offset,
                len,
                seed,
            } => self.with_live(nth, |this, at| this.write(at, offset, len, seed)),
            Op::Map {
                nth,
                kind,
                short,
                seed,
            } => self.with_live(nth, |this, at| this.map(at, kind, short, seed)),
            Op::HoldMap { nth, kind, seed } => self.hold_map(nth, kind, seed),
            Op::EndMap { nth } => self.end_map(nth),
            Op::OpenReader { nth } => self.open_reader(nth),
            Op::CloseReader { nth } => self.close_reader(nth),
            Op::Free { nth } => self.with_live(nth, Self::free),
            Op::UseStale { nth } => self.use_stale(nth),
            Op::UseForeign { nth, pool } => self.with_live(nth, |this, at| {
                let key = this.model.objects[at].key;
                this.refused(this.pool_number(pool), key)
            }),
            Op::Forge { pool, bits } => match W::forge(bits) {
                Some(key) => self.refused(self.pool_number(pool), key),
                None => Ok(()),
            },
            other => self.step_around(other),
        }
    }

    /// Operations that name no object.
    fn step_around(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::MarkEmpty {
                pool,
                slot,
                state,
                payload,
            } => {
                let pool = self.pool_number(pool);
                let presence = |key| self.model.presence(pool, key);
                self.pools[pool]
                    .client()
                    .mark(slot, state, payload, presence);
            }
            Op::Trim { pool } => {
                self.pools[self.pool_number(pool)].trim();
            }
            Op::Sediment {
                pool,
                len,
                slot,
                seed,
            } => {
                let bytes = pattern(u64::from(seed), len.bytes(self.model.page));
                return self.sediment(pool, slot, seed, &bytes);
            }
            Op::Compact { pool, objects } => {
                let pool = self.pool_number(pool);
                return self.compact(pool, objects);
            }
            Op::Shrink { pool, frames } => {
                let pool = self.pool_number(pool);
                return self.shrink(pool, frames);
            }
            Op::Migrate {
                frame,
                frames,
                mode,
                zone,
            } => return self.migrate(frame, frames, mode, zone),
            Op::Isolate { frame } => return self.isolate(frame),
            Op::PutBack { nth } => return self.put_back(nth),
            Op::Drain { pool } => Movable::drain(&self.pools[self.pool_number(pool)]),
            Op::Decay { millis } => {
                self.environment.advance_ns(u64::from(millis) * 1_000_000);
                self.arena.decay();
            }
            Op::ForEach { pool } => return self.for_each(pool),
            Op::Scribble { seed } => return self.scribble(seed),
            Op::FailCommit { after, lasting } => {
                self.environment.fail_commits(after.into(), lasting);
            }
            Op::FailDecommit { after, lasting } => {
                self.environment.fail_decommits(after.into(), lasting);
            }
            _ => self.environment.clear_faults(),
        }
        Ok(())
    }

    pub(crate) fn pool_number(&self, pool: u8) -> usize {
        pool as usize % self.pools.len()
    }

    fn with_live(
        &mut self,
        nth: u16,
        operation: impl FnOnce(&mut Self, usize) -> Result<(), String>,
    ) -> Result<(), String> {
        match self.model.nth_live(nth) {
            Some(at) => operation(self, at),
            None => Ok(()),
        }
    }

    /// Compares an answer with the model's; `None` if both are the same error.
    pub(crate) fn agree<T>(
        &mut self,
        what: &str,
        got: Result<T, Error>,
        expected: Result<(), Error>,
    ) -> Result<Option<T>, String> {
        match (got, expected) {
            (Ok(value), Ok(())) => Ok(Some(value)),
            (Err(got), Err(expected)) if got == expected => {
                self.report.count(got);
                Ok(None)
            }
            (got, expected) => Err(differs(what, got.map(|_| ()), expected)),
        }
    }

    /// Works as [`agree`](Self::agree), for what may answer `NoMemory` if the limit or a fault
    /// explains it.
    fn agree_or_no_memory<T>(
        &mut self,
        what: &str,
        injected: u64,
        got: Result<T, Error>,
        expected: Result<(), Error>,
    ) -> Result<Option<T>, String> {
        if !matches!((&got, expected), (Err(Error::NoMemory), Ok(()))) {
            return self.agree(what, got, expected);
        }
        self.report.no_memory += 1;
        let stats = self.arena.stats();
        let granule = self.arena.backing().granule() as u64;
        let frame = granule.max(self.model.page.bytes() as u64);
        let full = stats.held + FRAMES * frame + GRANULES * granule > stats.limit;
        if full || self.environment.injected() > injected {
            return Ok(None);
        }
        Err(format!("{what}: no memory without a reason: {stats:?}"))
    }

    pub(crate) fn insert(
        &mut self,
        pool: u8,
        slot: u16,
        seed: u8,
        bytes: Vec<u8>,
        zeros: bool,
    ) -> Result<(), String> {
        let number = self.pool_number(pool);
        let pool = &self.pools[number];
        let presence = |key| self.model.presence(number, key);
        let Some(ask) = pool.client().ask(slot, seed, presence) else {
            return Ok(());
        };
        let (objects, _) = self.model.totals(number);
        let room = || pool.client().expect(&ask, objects, self.model.most);
        let expected = self.model.size(bytes.len()).and_then(|()| room());
        let injected = self.environment.injected();
        let got = W::insert(pool, &ask, &bytes, zeros);
        if let Some(key) = self.agree_or_no_memory("insert", injected, got, expected)? {
            if self.model.find(number, key).is_some() {
                return Err(format!("{key:?} was given out twice"));
            }
            self.report.inserted += 1;
            let spans = pool
                .read(key)
                .is_ok_and(|guard| !guard.spans().second.is_empty());
            self.report.spanning += u64::from(spans);
            self.model.add(number, key, bytes, ask);
            return self.read_back(self.model.objects.len() - 1);
        }
        Ok(())
    }

    fn replace(&mut self, at: usize, bytes: Vec<u8>, wait: bool) -> Result<(), String> {
        let object = &self.model.objects[at];
        let alone = object.alone();
        if wait && alone.is_err() {
            return Ok(());
        }
        let expected = self.model.size(bytes.len()).and(alone);
        let (pool, key) = (&self.pools[object.pool], object.key);
        let injected = self.environment.injected();
        let got = if wait {
            pool.replace_wait(key, &bytes)
        } else {
            pool.replace(key, &bytes)
        };
        let done = self.agree_or_no_memory("replace", injected, got, expected)?;
        if let Some(old_len) = done {
            let expected = self.model.objects[at].bytes.len();
            if old_len != expected {
                return Err(format!(
                    "replace: the old length is {old_len}, not {expected}"
                ));
            }
            self.model.objects[at].bytes = bytes;
            self.report.replaced += 1;
        }
        match self.model.objects[at].entry() {
            Ok(()) => self.read_back(at),
            Err(_) => Ok(()),
        }
    }

    fn write(&mut self, at: usize, offset: Portion, len: Portion, seed: u8) -> Result<(), String> {
        let object = &self.model.objects[at];
        let max = object.bytes.len();
        let offset = offset.of(max);
        let len = len
            .of(max.saturating_sub(offset))
            .min(self.model.page.bytes() + 1);
        let bytes = pattern(u64::from(seed), len);
        let size = offset.saturating_add(len);
        let expected = object.alone().and(if size > max {
            Err(Error::TooLarge { size, max })
        } else {
            Ok(())
        });
        // It would wait for what this thread has isolated.
        self.tokens.clear();
        let got = self.pools[object.pool].write(object.key, offset, &bytes);
        if self.agree("write", got, expected)?.is_some() {
            self.model.objects[at].bytes[offset..size].copy_from_slice(&bytes);
            self.read_back(at)?;
        }
        Ok(())
    }

    pub(crate) fn free(&mut self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        let (number, key) = (object.pool, object.key);
        let expected = if object.mapped {
            Err(Error::Busy)
        } else {
            Ok(())
        };
        let deferred = object.readers > 0;
        let got = self.pools[number].free(key);
        if self.agree("free", got, expected)?.is_none() {
            return Ok(());
        }
        self.report.freed += 1;
        self.report.deferred += u64::from(deferred);
        let gone = self.model.free(at);
        self.check_gone(gone.as_ref())?;
        self.refused(number, key)
    }

    fn use_stale(&mut self, nth: u16) -> Result<(), String> {
        let Some(nth) = (nth as usize).checked_rem(self.model.stale.len()) else {
            return Ok(());
        };
        let (number, key) = self.model.stale[nth];
        self.refused(number, key)
    }

    /// Every operation answers stale, unless the key names a live object.
    fn refused(&mut self, number: usize, key: W::Key) -> Result<(), String> {
        if Model::find(&self.model, number, key).is_some() {
            return Ok(());
        }
        self.report.stale += 1;
        self.all_answer(Error::Stale, &self.pools[number], key)
    }

    pub(crate) fn all_answer(
        &self,
        error: Error,
        pool: &zsmalloc::Pool<&zs_mm::Arena<B>, W>,
        key: W::Key,
    ) -> Result<(), String> {
        let mut buffer = vec![0; self.model.page.bytes()];
        let answers = [
            ("read", pool.read(key).map(|_| ())),
            ("write", pool.write(key, 0, &[1])),
            ("write beyond", pool.write(key, usize::MAX, &[1, 2])),
            ("replace", pool.replace(key, &[1]).map(|_| ())),
            (
                "read-only map",
                pool.map(key, MapMode::ReadOnly, &mut buffer).map(|_| ()),
            ),
            (
                "map",
                pool.map(key, MapMode::ReadWrite, &mut buffer).map(|_| ()),
            ),
            ("free", pool.free(key)),
        ];
        for (what, got) in answers {
            if got != Err(error) {
                return Err(differs(what, got, Err(error)));
            }
        }
        Ok(())
    }
}

pub(crate) fn differs<T: fmt::Debug>(
    what: &str,
    got: Result<T, Error>,
    expected: Result<(), Error>,
) -> String {
    format!("{what} answers {got:?}, but {expected:?} was due")
}
