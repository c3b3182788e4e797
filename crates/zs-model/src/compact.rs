//! Operations that move objects: compact and shrink.

use crate::driver::Driver;
use crate::migrate::underway;
use crate::words::Words;
use zs_mm::Backing;
use zsmalloc::{CompactBudget, CompactEnd};

/// Frames that a compaction never lacks all of at once.
const FRAMES: u64 = 12;

/// Objects of one [`Op::Sediment`](crate::Op::Sediment).
const SEDIMENT: u16 = 24;

/// Returns the budget that an operation names: from 128 on, none.
pub(crate) fn compact_budget(objects: u8) -> CompactBudget {
    match objects {
        0..128 => CompactBudget::objects(objects.into()),
        _ => CompactBudget::UNLIMITED,
    }
}

impl<B: Backing, W: Words> Driver<'_, '_, B, W> {
    pub(crate) fn compact(&mut self, number: usize, objects: u8) -> Result<(), String> {
        let pool = &self.pools[number];
        let budget = compact_budget(objects);
        let (before, possible) = (pool.stats(), pool.can_compact());
        let (arena, injected) = (self.arena.stats(), self.environment.injected());
        let unit = self.arena.backing().granule().max(self.model.page.bytes()) as u64;
        // Without a frame to move to, it does what goes without.
        let frames_to_be_had = arena.limit - arena.held + arena.cached >= FRAMES * unit;
        let report = pool.compact(budget);
        let after = pool.stats();
        let right = |what: &str, holds: bool| {
            if holds {
                return Ok(());
            }
            let figures = format!("{before:?} {possible} {report:?} {after:?}");
            Err(format!("compact: {what}: {figures}"))
        };
        let same = (after.objects, after.payload_bytes) == (before.objects, before.payload_bytes);
        right("objects changed", same)?;
        let gained = before.frames + report.frames_attached == after.frames + report.frames_freed;
        right("the frames do not add up", gained)?;
        right(
            "more than the budget",
            report.objects_moved <= budget.objects,
        )?;
        right(
            "more freed than could be",
            before.frames <= after.frames + possible,
        )?;
        right(
            "more than all moved twice",
            report.objects_moved <= 2 * before.objects,
        )?;
        let expected = [CompactEnd::Done, CompactEnd::Budget];
        right("its end", expected.contains(&report.end))?;
        let undisturbed = self.is_undisturbed();
        let no_lack = frames_to_be_had && self.environment.injected() == injected;
        if undisturbed && no_lack && report.end == CompactEnd::Done {
            right("something is left", pool.can_compact() == 0)?;
            right(
                "all could have been freed",
                before.frames == after.frames + possible,
            )?;
            right("somebody was busy", report.objects_busy == 0)?;
        }
        self.report.moved += report.objects_moved;
        self.report.compacted += report.frames_freed;
        self.report.kept_busy += report.objects_busy;
        self.for_each(number as u8)
    }

    /// Says whether nobody is inside an object, and no frame isolated or draining.
    fn is_undisturbed(&self) -> bool {
        self.readers.is_empty() && self.maps.is_empty() && underway(self.arena) == (0, 0)
    }

    /// Objects of one class, of which one in three stays.
    pub(crate) fn sediment(
        &mut self,
        pool: u8,
        slot: u16,
        seed: u8,
        bytes: &[u8],
    ) -> Result<(), String> {
        let number = self.pool_number(pool);
        let mut laid = Vec::new();
        for n in 0..SEDIMENT {
            let before = self.model.objects.len();
            self.insert(pool, slot.wrapping_add(n), seed, bytes.to_vec(), false)?;
            let new = self.model.objects.get(before);
            laid.extend(new.map(|object| object.key));
        }
        for (n, key) in laid.into_iter().enumerate() {
            match self.model.find(number, key) {
                Some(at) if n % 3 != 0 => self.free(at)?,
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn shrink(&mut self, number: usize, frames: u8) -> Result<(), String> {
        let pool = &self.pools[number];
        let (before, injected) = (self.arena.stats().held, self.environment.injected());
        let given = pool.shrink(frames.into());
        let after = self.arena.stats().held;
        let wanted = u64::from(frames) * self.model.page.bytes() as u64;
        let faultless = self.environment.injected() == injected;
        let undisturbed = self.is_undisturbed()
            && faultless
            && self.arena.backing().granule() <= self.model.page.bytes();
        // Frames to move to may be committed, and no frame given back, where decommits fail.
        let grown = faultless && (before < after || given < before - after);
        if grown || (frames == 0 && given != 0) {
            return Err(format!(
                "shrink by {frames} gave {given}: {before} to {after}"
            ));
        }
        if undisturbed && given < wanted && pool.can_compact() > 0 && self.arena.stats().cached > 0
        {
            return Err(format!("shrink by {frames} gave {given} and left some"));
        }
        self.for_each(number as u8)
    }
}
