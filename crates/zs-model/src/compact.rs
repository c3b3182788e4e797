//! Operations that move objects: compact and shrink.

use crate::driver::Driver;
use crate::words::Words;
use zs_mm::Backing;
use zsmalloc::{CompactBudget, CompactEnd};

/// The budget that an operation names: from 128 on, none.
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
        let undisturbed = self.readers.is_empty() && self.maps.is_empty();
        let no_lack = report.frames_attached > 0 || pool.arena().stats().cached > 0;
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

    pub(crate) fn shrink(&mut self, number: usize, frames: u8) -> Result<(), String> {
        let pool = &self.pools[number];
        let (before, injected) = (self.arena.stats().held, self.environment.injected());
        let given = pool.shrink(frames.into());
        let after = self.arena.stats().held;
        let wanted = u64::from(frames) * self.model.page.bytes() as u64;
        let undisturbed = self.readers.is_empty()
            && self.maps.is_empty()
            && self.environment.injected() == injected
            && self.arena.backing().granule() <= self.model.page.bytes();
        if (frames == 0 && given != 0) || before < after || given < before - after {
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
