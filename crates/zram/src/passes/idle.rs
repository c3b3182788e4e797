//! Which blocks nobody has used for long.
//!
//! mark -> a flag in the word of each object -> cleared by the next access, write or recompression.
//! Holes, patterns, shared and written-back blocks have no mark.

use crate::block::content::ObjectFlags;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::store::Store;
use std::time::Duration;
use zs_mm::Backing;
use zs_sync::Ordering;

/// The blocks to mark idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleRule {
    /// All.
    All,
    /// Those that were last accessed so long ago; marks of younger ones are taken away. In whole
    /// seconds.
    OlderThan(Duration),
}

impl<B: Backing> Store<B> {
    /// Marks blocks as idle; returns how many are marked now. A block that is being written just
    /// then is not.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an age without [`track_access`](crate::StoreOptions::track_access),
    /// or if the store deduplicates;
    /// [`Error::Forked`].
    pub fn mark_idle(&self, rule: IdleRule) -> Result<u64, Error> {
        self.refuse_shared("marking as idle")?;
        let now = self.now();
        let mut marked = 0;
        if matches!(rule, IdleRule::OlderThan(_))
            && self.table().time(BlockIndex::default()).is_none()
        {
            return Err(Error::Invalid(
                "marking by age needs a store that tracks accesses".to_owned(),
            ));
        }
        self.each_object(self.all_blocks(), |block, _| {
            let is_idle = || match (rule, self.table().time(block)) {
                (IdleRule::OlderThan(age), Some(time)) => {
                    // Relaxed: an access that ends before the word is changed changes the word
                    // itself, so the time is looked at again; one that ends
                    // later looks at the mark.
                    now - time.load(Ordering::Relaxed).min(now) >= age.as_secs()
                }
                _ => true,
            };
            let change = |flags: ObjectFlags| {
                let idle = is_idle();
                (!flags.locked && flags.idle != idle).then_some(ObjectFlags { idle, ..flags })
            };
            match self.change_flags(block.word(), change) {
                Ok((before, changed)) => {
                    // What was changed was turned round.
                    marked += u64::from(before.idle != changed);
                }
                Err(zsmalloc::Error::Forked) => return Err(Error::Forked),
                // Freed meanwhile.
                Err(_) => {}
            }
            Ok(true)
        })?;
        Ok(marked)
    }
}
