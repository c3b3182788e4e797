//! The hard limit, set anew while the arena is used.

use crate::arena::Arena;
use crate::backing::Backing;
use crate::error::Error;
use zs_sync::assert_may_block;

impl<B: Backing> Arena<B> {
    /// Returns the limit that is in force, in bytes.
    pub fn limit(&self) -> u64 {
        self.budget.limit_and_held().0
    }

    /// Counts the most that was held ([`ArenaStats::peak`](crate::ArenaStats::peak)) from here on.
    pub fn forget_peak(&self) {
        self.budget.forget_peak();
    }

    /// Returns the largest limit that can be set, in bytes: what tables are sized by.
    pub fn capacity(&self) -> u64 {
        self.options.capacity()
    }

    /// Sets the limit. A lower one gives cached frames back first, if it must, and calls the
    /// backing for that; frames that the classes of pools keep back are given up by the pools'
    /// own `trim()`.
    ///
    /// From its return on no more is held than the new limit allows, whatever others do meanwhile.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the limit is below one pageblock, or above
    /// [`capacity`](Self::capacity); [`Error::LimitBelowHeld`] if more is in use;
    /// [`Error::Forked`]. The limit is then as it was.
    pub fn set_limit(&self, limit: u64) -> Result<(), Error> {
        assert_may_block();
        self.options.check_limit(limit).map_err(Error::Invalid)?;
        if self.is_forked() {
            return Err(Error::Forked);
        }
        if self.budget.set_limit(limit).is_ok() {
            return Ok(());
        }
        self.give_cached_back();
        self.budget
            .set_limit(limit)
            .map_err(|held| Error::LimitBelowHeld { held, asked: limit })
    }
}
