//! Small zspages moved to records in lower pages, so that the upper pages of records empty.
//!
//! zspages with a few frames' worth of objects, the highest first -> a free record in a lower page
//! -> a new zspage there -> all of the objects, in one batch or not at all

use super::batch::{Batch, Supply};
use super::sparse::{SparseZspages, frames_needed};
use super::{CompactEnd, Run};
use crate::client::Client;
use crate::ids::{ClassIndex, ZspageId};
use crate::pool::Pool;
use crate::record::units_of;
use zs_mm::ArenaRef;

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Moves what little a zspage holds to one whose record lies in a lower page, for as many as
    /// are found at a time, so that the upper pages of records empty.
    pub(super) fn lower_records(
        &self,
        class: ClassIndex,
        run: &mut Run<'_>,
    ) -> Result<(), CompactEnd> {
        for (zspage, objects) in self.small_zspages(class) {
            // As a whole, or a zspage becomes two.
            if run.budget.objects < objects {
                continue;
            }
            if run.room()? < objects {
                return Err(CompactEnd::Budget);
            }
            let ticket = self.arena().begin_moves().ok_or(CompactEnd::Paused)?;
            let lower = self.lower_record(class, zspage, objects, run);
            drop(ticket);
            if lower.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Moves the objects of one zspage to a new one with a record in a lower page, all or none (if
    /// somebody uses one, or may have closed the zspage). `None` if there is no lower record, or no
    /// frame.
    fn lower_record(
        &self,
        class: ClassIndex,
        zspage: ZspageId,
        objects: u64,
        run: &mut Run<'_>,
    ) -> Option<()> {
        let context = self.context(class);
        let units = units_of(context.class);
        let record = self.records.units.alloc_below(self.host(), units, zspage)?;
        let mut supply = Supply::default();
        let wanted = frames_needed(self.geometry, context.class, objects);
        let fetched = (0..wanted).all(|_| supply.fetch(self.arena()));
        if !fetched || !self.open_lower(class, record, zspage, &mut supply) {
            supply.release(self.arena());
            self.free_record(record, context);
            return fetched.then_some(());
        }
        run.report.frames_attached += 1;
        let mut pair = SparseZspages::pair(zspage, record);
        let mut batch = Batch::new(objects);
        self.plan(class, &mut pair, &mut batch, &mut supply);
        batch.only_if_whole(objects);
        self.copy(class, &batch);
        self.commit(class, &mut batch);
        self.settle(class, &mut pair, batch, &mut run.report);
        supply.release(self.arena());
        self.release_spare_of(class, Some(zspage), run);
        Some(())
    }

    /// Opens a zspage in `record` for the objects of `zspage`. Its one frame is the class's spare,
    /// until an object comes.
    fn open_lower(
        &self,
        class: ClassIndex,
        record: ZspageId,
        zspage: ZspageId,
        supply: &mut Supply,
    ) -> bool {
        let mut locked = self.lock_class(class);
        if locked.closed().may_contain(zspage) || locked.has_spare() {
            return false;
        }
        let Some(frame) = supply.take() else {
            return false;
        };
        locked.open_spare(record, frame);
        true
    }
}
