//! The zspages of one size class, listed by fullness.
//!
//! record opened -> its list; record changed -> the list that then is its own; record closed -> no
//! list

use super::context::ClassContext;
use crate::ids::as_index;
use crate::ids::{Link, ZspageId};
use crate::record::{Record, Summary};

/// Fullness groups of the statistics: 0 %, below 10 %, ... below 100 %, 100 % of the slots in
/// attached frames are in use.
pub const FULLNESS_GROUPS: usize = 12;

/// The lists: one for each group below 100 %, the full ones apart by whether frames are missing,
/// and those with an isolated frame.
const LISTS: usize = FULLNESS_GROUPS + 2;
/// Every attached slot is in use, and every frame is attached.
const FULL: usize = FULLNESS_GROUPS - 1;
/// Every attached slot is in use, but a frame can be attached.
const EXTENDABLE: usize = FULLNESS_GROUPS;
/// A frame of the zspage is isolated: it takes no new object until that ends.
const ISOLATED: usize = FULLNESS_GROUPS + 1;

/// The zspages of a class, by list.
#[derive(Debug)]
pub(super) struct Lists {
    heads: [Link; LISTS],
    counts: [u32; LISTS],
    /// Slots whose frames are all attached.
    usable: u64,
    /// The zspages that were closed since a compactor last looked, by their numbers modulo 64:
    /// what is not among them, and was open then, is open.
    closed: ClosedSet,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            heads: [Link::END; LISTS],
            counts: [0; LISTS],
            usable: 0,
            closed: ClosedSet::default(),
        }
    }
}

/// Zspages by their numbers modulo 64: may contain more than were inserted, never fewer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClosedSet(u64);

impl ClosedSet {
    fn insert(&mut self, zspage: ZspageId) {
        self.0 |= 1 << (zspage.number() % 64);
    }

    /// Says whether the zspage may be among them.
    pub(crate) fn may_contain(self, zspage: ZspageId) -> bool {
        self.0 & (1 << (zspage.number() % 64)) != 0
    }
}

/// A place on the way through the lists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    list: usize,
    /// The zspage that was seen last in this list.
    last: Option<ZspageId>,
    with_full: bool,
}

impl Cursor {
    /// Says whether the zspage that was seen last may be closed.
    pub(crate) fn may_be_lost(self, closed: ClosedSet) -> bool {
        self.last.is_some_and(|last| closed.may_contain(last))
    }

    /// Returns the start of a walk over all zspages that are not full, or to which a frame can be
    /// attached, but those with an isolated frame.
    pub(crate) fn sparse() -> Self {
        Self {
            list: 0,
            last: None,
            with_full: false,
        }
    }

    /// Returns the start of a walk over all zspages.
    pub(crate) fn all() -> Self {
        Self {
            with_full: true,
            ..Self::sparse()
        }
    }
}

/// Returns the list that a zspage belongs to.
#[inline]
fn list_of(record: Record<'_>) -> usize {
    let Summary { used, usable, .. } = record.summary();
    if record.is_isolated() {
        ISOLATED
    } else if used < usable {
        group_of(used, usable)
    } else if record.is_whole() {
        FULL
    } else {
        EXTENDABLE
    }
}

/// Returns the fullness group of a zspage with room.
fn group_of(used: u32, usable: u32) -> usize {
    if used == 0 {
        0
    } else {
        as_index(used * 10 / usable) + 1
    }
}

impl Lists {
    /// Returns the fullest zspage with room in its attached frames.
    pub(super) fn fullest_with_room(&self) -> Option<ZspageId> {
        let heads = self.heads[..FULL].iter().rev();
        heads.copied().find_map(Link::zspage)
    }

    /// Returns a zspage without room to which a frame can be attached.
    pub(super) fn extendable(&self) -> Option<ZspageId> {
        self.heads[EXTENDABLE].zspage()
    }

    /// Makes a change to a zspage, and moves it to the list that then is its own. Before a record
    /// is opened and after it is closed it is in none.
    pub(super) fn change<T>(
        &mut self,
        context: ClassContext<'_>,
        zspage: ZspageId,
        change: impl FnOnce(Record<'_>) -> T,
    ) -> T {
        let record = context.record(zspage);
        let before = list_of(record);
        let usable_before = record.summary().usable;
        let outcome = change(record);
        self.usable = self.usable + u64::from(record.summary().usable) - u64::from(usable_before);
        let after = list_of(record);
        if before != after {
            self.unlink(context, zspage, before);
            self.link(context, zspage, after);
        }
        outcome
    }

    /// Lists a zspage that was just opened.
    pub(super) fn list_new(&mut self, context: ClassContext<'_>, zspage: ZspageId) {
        self.link(context, zspage, list_of(context.record(zspage)));
    }

    /// Takes a zspage off its list, to be closed.
    pub(super) fn unlist(&mut self, context: ClassContext<'_>, zspage: ZspageId) {
        self.unlink(context, zspage, list_of(context.record(zspage)));
        self.closed.insert(zspage);
    }

    fn link(&mut self, context: ClassContext<'_>, zspage: ZspageId, list: usize) {
        let next = self.heads[list];
        context.record(zspage).set_links(Link::END, next);
        if let Some(next) = next.zspage() {
            let record = context.record(next);
            record.set_links(Link::to(zspage), record.links().1);
        }
        self.heads[list] = Link::to(zspage);
        self.counts[list] += 1;
    }

    fn unlink(&mut self, context: ClassContext<'_>, zspage: ZspageId, list: usize) {
        let (previous, next) = context.record(zspage).links();
        match previous.zspage() {
            None => self.heads[list] = next,
            Some(previous) => {
                let record = context.record(previous);
                record.set_links(record.links().0, next);
            }
        }
        if let Some(next) = next.zspage() {
            let record = context.record(next);
            record.set_links(previous, record.links().1);
        }
        self.counts[list] -= 1;
    }

    /// Returns the zspages by fullness group; those of which a frame is on its way count as full.
    pub(super) fn groups(&self) -> [u32; FULLNESS_GROUPS] {
        let mut groups = [0; FULLNESS_GROUPS];
        groups.copy_from_slice(&self.counts[..FULLNESS_GROUPS]);
        groups[FULL] += self.counts[EXTENDABLE] + self.counts[ISOLATED];
        groups
    }

    /// Returns the number of slots whose frames are all attached.
    pub(super) fn usable(&self) -> u64 {
        self.usable
    }

    /// Returns the zspages that were closed since this was last set.
    pub(super) fn closed(&self) -> ClosedSet {
        self.closed
    }

    pub(super) fn set_closed(&mut self, closed: ClosedSet) {
        self.closed = closed;
    }

    /// Returns the number of zspages of the class.
    pub(super) fn zspages(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Returns the next zspage on a walk. None may have been closed since the walk began; one that
    /// was listed anew may be met twice, or not at all.
    pub(super) fn next(&self, context: ClassContext<'_>, cursor: &mut Cursor) -> Option<ZspageId> {
        let end = if cursor.with_full { LISTS } else { ISOLATED };
        while cursor.list < end {
            let next = match cursor.last {
                Some(last) => context.record(last).links().1,
                None => self.heads[cursor.list],
            };
            if let Some(next) = next.zspage() {
                cursor.last = Some(next);
                return Some(next);
            }
            let skip = cursor.list + 1 == FULL && !cursor.with_full;
            cursor.list += if skip { 2 } else { 1 };
            cursor.last = None;
        }
        None
    }

    /// Returns any zspage of the class.
    pub(super) fn any(&self) -> Option<ZspageId> {
        self.heads.iter().copied().find_map(Link::zspage)
    }

    /// Calls `visit` with each zspage, the list it is in and the list it should be in; ends at the
    /// first error, or when a list turns out longer than its count.
    pub(super) fn walk<E>(
        &self,
        context: ClassContext<'_>,
        mut visit: impl FnMut(ZspageId, Record<'_>) -> Result<(), E>,
        mut broken: impl FnMut(Link) -> E,
    ) -> Result<(), E> {
        for (list, &head) in self.heads.iter().enumerate() {
            let (mut previous, mut link, mut found) = (Link::END, head, 0);
            while let Some(zspage) = link.zspage() {
                let record = context.record(zspage);
                let (back, next) = record.links();
                let listed = list_of(record) == list && found < self.counts[list];
                if back != previous || !listed {
                    return Err(broken(link));
                }
                visit(zspage, record)?;
                (previous, link) = (link, next);
                found += 1;
            }
            if found != self.counts[list] {
                return Err(broken(head));
            }
        }
        Ok(())
    }
}
