//! A run: its pools, its operations, its end.

use crate::calls::{Arena, Pool};
use crate::held::{OpenMap, OpenView};
use zs_capi::{zs_compact_end, zs_result};
use zs_mm::PageSize;
use zs_model::{Case, Model, Op, Report, pattern};
use zsmalloc::{Error, Handle, HandleTable};

/// Most frames that one operation may lack, and system pages of metadata beside them.
const FRAMES: u64 = 2;
const GRANULES: u64 = 8 * 4096;

/// Objects of one [`Op::Sediment`].
const SEDIMENT: usize = 24;

/// A run under way.
pub(crate) struct Driver {
    pub(crate) arena: Arena,
    pub(crate) pools: Vec<Pool>,
    pub(crate) model: Model<HandleTable>,
    pub(crate) views: Vec<OpenView>,
    pub(crate) maps: Vec<OpenMap>,
    pub(crate) report: Report,
    /// Views and maps that were open during the last maintenance, which frees what drained before
    /// and is left.
    open_at_maintenance: usize,
}

/// Runs a case on new pools and on the model; then frees everything and looks that nothing is left.
pub(crate) fn run(page: PageSize, case: &Case) -> Result<Report, String> {
    let arena = Arena::new(page, case.limit).map_err(|error| format!("arena: {error:?}"))?;
    let options = &case.options;
    let pool = |_| Pool::new(arena, options.max_objects, options.zero_freed);
    let pools: Result<Vec<Pool>, zs_result> = (0..options.pools.max(1)).map(pool).collect();
    let mut driver = Driver {
        arena,
        pools: pools.map_err(|error| format!("pools: {error:?}"))?,
        model: Model::new(page, u64::from(options.max_objects)),
        views: Vec::new(),
        maps: Vec::new(),
        report: Report::default(),
        open_at_maintenance: 0,
    };
    for (step, &op) in case.ops.iter().enumerate() {
        let at = |what| format!("step {step}, {op:?}: {what}");
        driver.step(op).map_err(at)?;
        driver.check().map_err(at)?;
    }
    driver.end()
}

/// The answer of a call, and the one that was due.
pub(crate) fn differs(
    what: &str,
    got: impl core::fmt::Debug,
    due: impl core::fmt::Debug,
) -> String {
    format!("{what} answers {got:?}, but {due:?} was due")
}

/// An answer that must be.
pub(crate) fn expect<T: PartialEq + core::fmt::Debug>(
    what: &str,
    got: T,
    due: T,
) -> Result<(), String> {
    if got == due {
        Ok(())
    } else {
        Err(differs(what, got, due))
    }
}

pub(crate) fn key(bits: u64) -> Result<Handle, String> {
    Handle::from_bits(bits).ok_or_else(|| "a handle is 0".to_owned())
}

impl Driver {
    fn step(&mut self, op: Op) -> Result<(), String> {
        let page = self.model.page;
        let with_live = |this: &Self, nth| this.model.nth_live(nth);
        match op {
            Op::Insert {
                pool, len, seed, ..
            } => self.insert(pool, &pattern(u64::from(seed), len.bytes(page))),
            Op::Allocate { pool, len, slot } => self.allocate(pool, len.bytes(page), slot),
            Op::Read { nth } => with_live(self, nth).map_or(Ok(()), |at| self.read(at)),
            Op::Replace { nth, len, seed } | Op::ReplaceWait { nth, len, seed } => {
                let bytes = pattern(u64::from(seed), len.bytes(page));
                with_live(self, nth).map_or(Ok(()), |at| self.replace(at, bytes))
            }
            Op::Write {
                nth,
                offset,
                len,
                seed,
            } => with_live(self, nth).map_or(Ok(()), |at| self.write(at, offset, len, seed)),
            Op::Map {
                nth, kind, seed, ..
            } => with_live(self, nth).map_or(Ok(()), |at| self.map(at, kind, seed)),
            Op::HoldMap { nth, kind, seed } => {
                with_live(self, nth).map_or(Ok(()), |at| self.hold_map(at, kind, seed))
            }
            Op::EndMap { nth } => self.end_map(nth),
            Op::OpenReader { nth } => with_live(self, nth).map_or(Ok(()), |at| self.open_view(at)),
            Op::CloseReader { nth } => self.close_view(nth),
            Op::Free { nth } => with_live(self, nth).map_or(Ok(()), |at| self.free(at)),
            Op::UseStale { nth } => match (nth as usize).checked_rem(self.model.stale.len()) {
                Some(nth) => {
                    let (pool, key) = self.model.stale[nth];
                    self.refused(pool, key.to_bits())
                }
                None => Ok(()),
            },
            Op::UseForeign { nth, pool } => with_live(self, nth).map_or(Ok(()), |at| {
                let key = self.model.objects[at].key;
                self.refused(self.number(pool), key.to_bits())
            }),
            Op::Forge { pool, bits } => self.refused(self.number(pool), bits),
            other => self.step_around(other),
        }
    }

    /// Operations that name no object; and what C has no words for.
    fn step_around(&mut self, op: Op) -> Result<(), String> {
        let failed = |error: zs_result| format!("{error:?}");
        match op {
            Op::Trim { pool } => self.pool(pool).trim().map(drop).map_err(failed),
            Op::Decay { .. } => self.arena.decay().map(drop).map_err(failed),
            Op::Sediment {
                pool, len, seed, ..
            } => self.sediment(pool, &pattern(u64::from(seed), len.bytes(self.model.page))),
            Op::Compact { pool, objects } => self.compact(pool, objects),
            Op::Shrink { pool, frames } => self.shrink(pool, frames),
            Op::ForEach { pool } => self.for_each(self.number(pool)),
            _ => Ok(()),
        }
    }

    pub(crate) fn number(&self, pool: u8) -> usize {
        pool as usize % self.pools.len()
    }

    fn pool(&self, pool: u8) -> Pool {
        self.pools[self.number(pool)]
    }

    /// Compares an answer with the model's; `None` if both are the same error.
    pub(crate) fn agree<T: core::fmt::Debug>(
        &mut self,
        what: &str,
        got: Result<T, zs_result>,
        due: Result<(), Error>,
    ) -> Result<Option<T>, String> {
        match (got, due.map_err(|error| (error, zs_result::from(error)))) {
            (Ok(value), Ok(())) => Ok(Some(value)),
            (Err(got), Err((error, due))) if got == due => {
                match error {
                    Error::Busy => self.report.busy += 1,
                    Error::Stale => self.report.stale += 1,
                    Error::NoMemory => self.report.no_memory += 1,
                    _ => {}
                }
                Ok(None)
            }
            (Err(zs_result::ZS_NO_MEMORY), Ok(())) => self.no_memory(what).map(|()| None),
            (got, due) => Err(differs(what, got, due)),
        }
    }

    /// A lack of memory that the model does not know of must be explained by the limit.
    fn no_memory(&mut self, what: &str) -> Result<(), String> {
        let info = self.arena.info().map_err(|error| format!("{error:?}"))?;
        self.report.no_memory += 1;
        let frames = FRAMES * self.model.page.bytes().max(4096) as u64;
        if info.held + frames + GRANULES > info.limit {
            return Ok(());
        }
        Err(format!("{what}: no memory without a reason: {info:?}"))
    }

    fn sediment(&mut self, pool: u8, bytes: &[u8]) -> Result<(), String> {
        let mut laid = Vec::new();
        for _ in 0..SEDIMENT {
            let before = self.model.objects.len();
            self.insert(pool, bytes)?;
            laid.extend(self.model.objects.get(before).map(|object| object.key));
        }
        let number = self.number(pool);
        for (n, key) in laid.into_iter().enumerate() {
            match self.model.find(number, key) {
                Some(at) if n % 3 != 0 => self.free(at)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn compact(&mut self, number: u8, objects: u8) -> Result<(), String> {
        let failed = |error: zs_result| format!("{error:?}");
        let pool = self.pool(number);
        let budget = if objects < 128 {
            objects.into()
        } else {
            u64::MAX
        };
        let (before, possible) = (
            pool.info().map_err(failed)?,
            pool.can_compact().map_err(failed)?,
        );
        let report = pool.compact(budget).map_err(failed)?;
        let after = pool.info().map_err(failed)?;
        let freed = report.frames_freed.saturating_sub(report.frames_attached);
        let right = [
            (after.objects, after.payload_bytes) == (before.objects, before.payload_bytes),
            before.frames + report.frames_attached == after.frames + report.frames_freed,
            report.objects_moved <= budget,
            before.frames <= after.frames + possible,
            after.frames_compacted == before.frames_compacted + freed,
            [
                zs_compact_end::ZS_COMPACT_DONE,
                zs_compact_end::ZS_COMPACT_BUDGET,
            ]
            .map(|end| end as u64)
            .contains(&report.end),
        ];
        if right.contains(&false) {
            return Err(format!(
                "{right:?}: {before:?} {possible} {report:?} {after:?}"
            ));
        }
        self.report.moved += report.objects_moved;
        self.report.compacted += report.frames_freed;
        self.for_each(self.number(number))
    }

    fn shrink(&mut self, number: u8, frames: u8) -> Result<(), String> {
        let failed = |error: zs_result| format!("{error:?}");
        let before = self.arena.info().map_err(failed)?.held;
        // A maintenance may take a page for the list of frames that are still being read.
        let list = if frames % 3 == 2 { 4096 } else { 0 };
        let given = if list > 0 {
            let bytes = u64::from(frames) << 12;
            self.open_at_maintenance = self.views.len() + self.maps.len();
            let done = self.pool(number).maintain(bytes).map_err(failed)?;
            self.report.moved += done.objects_moved;
            done.bytes_trimmed
        } else {
            self.pool(number).shrink(frames.into()).map_err(failed)?
        };
        let after = self.arena.info().map_err(failed)?.held;
        // An object in use stays, and keeps its frame; those beside it may have got another one.
        let open = (self.views.len() + self.maps.len()) * self.model.page.bytes();
        let more = list + open as u64;
        let gone = (before + more).checked_sub(after);
        if gone.is_none_or(|gone| given + more < gone) || (frames == 0 && given != 0) {
            return Err(format!(
                "shrink by, or maintain of, {frames} gave {given}: {before} to {after}"
            ));
        }
        self.for_each(self.number(number))
    }

    /// Every object that can be read is visited once, with its bytes.
    fn for_each(&mut self, number: usize) -> Result<(), String> {
        let visited = self.pools[number].objects();
        let (visited, skipped) = visited.map_err(|error| format!("{error:?}"))?;
        let mine = self.model.objects.iter();
        let mine = mine.filter(|object| object.pool == number && !object.freed);
        let (open, closed): (Vec<_>, Vec<_>) = mine.partition(|object| object.entry().is_ok());
        let mut due: Vec<_> = open
            .iter()
            .map(|object| (object.key.to_bits(), object.bytes.clone()))
            .collect();
        let mut visited = visited;
        visited.sort_unstable();
        due.sort_unstable();
        if visited != due || skipped != closed.len() as u64 {
            return Err(format!("{} visited, {skipped} skipped", visited.len()));
        }
        Ok(())
    }

    /// The counters against the model's, and everything recounted.
    fn check(&self) -> Result<(), String> {
        let failed = |error: zs_result| format!("{error:?}");
        let mut frames = 0;
        for (number, pool) in self.pools.iter().enumerate() {
            let info = pool.info().map_err(failed)?;
            expect(
                "the pool's objects and bytes",
                (info.objects, info.payload_bytes),
                self.model.totals(number),
            )?;
            pool.validate().map_err(failed)?;
            frames += info.frame_bytes;
        }
        let info = self.arena.info().map_err(failed)?;
        // A maintenance moves frames that are being read; the old ones are in use, and no pool's,
        // until a later one finds them left. An object lies in two frames at most.
        let most = (2 * self.open_at_maintenance * self.model.page.bytes()) as u64;
        if !(frames..=frames + most).contains(&info.in_use) {
            return Err(differs("the arena's frames in use", info.in_use, frames));
        }
        if info.held > info.limit || info.peak > info.limit || info.cached > info.held {
            return Err(format!("beyond the limit: {info:?}"));
        }
        Ok(())
    }

    /// The classes hold what the pools hold.
    fn check_classes(&self) -> Result<(), String> {
        let failed = |error: zs_result| format!("{error:?}");
        for pool in &self.pools {
            let info = pool.info().map_err(failed)?;
            let mut sums = [0; 4];
            for number in 0..info.classes as usize {
                let class = pool.class_info(number).map_err(failed)?;
                let these = [
                    class.objects,
                    class.payload_bytes,
                    class.slots,
                    class.frames,
                ];
                sums.iter_mut().zip(these).for_each(|(sum, n)| *sum += n);
                expect(
                    "a class's zspages",
                    class.groups.iter().sum(),
                    class.zspages,
                )?;
            }
            let whole = [info.objects, info.payload_bytes, info.slots, info.frames];
            expect("the classes' sums", sums, whole)?;
        }
        Ok(())
    }

    /// Ends everything that is open, frees everything, and looks that nothing is left.
    fn end(mut self) -> Result<Report, String> {
        let failed = |error: zs_result| format!("{error:?}");
        self.check_classes()?;
        while !self.views.is_empty() {
            self.close_view(0)?;
        }
        while !self.maps.is_empty() {
            self.end_map(0)?;
        }
        for pool in &self.pools {
            let holds = pool.info().map_err(failed)?.objects > 0;
            if holds {
                expect("destroy", pool.destroy(), Err(zs_result::ZS_BUSY))?;
            }
        }
        expect("destroy", self.arena.destroy(), Err(zs_result::ZS_BUSY))?;
        while let Some(last) = self.model.objects.len().checked_sub(1) {
            self.free(last)?;
        }
        self.check()?;
        for pool in &self.pools {
            pool.destroy().map_err(failed)?;
            expect("destroy", pool.destroy(), Err(zs_result::ZS_GONE))?;
        }
        self.arena.trim().map_err(failed)?;
        let info = self.arena.info().map_err(failed)?;
        expect("held when all pools are gone", info.held, info.metadata)?;
        self.arena.destroy().map_err(failed)?;
        Ok(self.report)
    }
}
