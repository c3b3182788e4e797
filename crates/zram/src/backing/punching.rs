//! The hole that is being punched into a backing file, if any: known to all clones of the file.
//!
//! dead units taken -> punched, without any lock -> put back into the places that use the file by
//! then.
//!
//! A punch may hang as long as the storage does. Nobody waits for it without a bound: a store lets
//! its backing go meanwhile, and another one may take it. The units under the punch stay taken for
//! whoever uses the file, since a late hole there would be zeros where bytes were.
//!
//! # Locking
//!
//! `state` is held for a moment, and the lock of the extents is taken inside it.

use super::extents::Extents;
use super::lock::lock;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long a writeback waits for units that are being punched: once for each hole.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Punching {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Those of the places that use the file. The last one has it; the one before has it again if
    /// that is given up, as by a load that fails.
    users: Vec<Weak<Mutex<Extents>>>,
    /// Under a punch: taken in the extents of all of them.
    units: Option<Range<u32>>,
    /// Somebody has waited for this hole in vain.
    hangs: bool,
}

impl Punching {
    /// Gives the file to a place: no other one punches as long as this one is there. False if there
    /// is no memory for that.
    pub(crate) fn give_to(&self, extents: &Arc<Mutex<Extents>>) -> bool {
        let mut state = lock(&self.state);
        state.users.retain(|user| user.strong_count() > 0);
        if state.users.try_reserve(1).is_err() {
            return false;
        }
        if let Some(units) = &state.units {
            lock(extents).withhold(units.clone());
        }
        state.users.push(Arc::downgrade(extents));
        true
    }

    /// Punches one hole for a place; false if there is none to punch, somebody else is punching, or
    /// the file is another place's by now.
    pub(crate) fn one(
        &self,
        extents: &Arc<Mutex<Extents>>,
        punch: impl FnOnce(&Range<u32>),
    ) -> bool {
        let mut state = lock(&self.state);
        state.users.retain(|user| user.strong_count() > 0);
        let user = state.users.last().map(Weak::as_ptr);
        if state.units.is_some() || user != Some(Arc::as_ptr(extents)) {
            return false;
        }
        let Some(units) = lock(extents).take_dead() else {
            return false;
        };
        state.units = Some(units.clone());
        drop(state);
        punch(&units);
        let mut state = lock(&self.state);
        (state.units, state.hangs) = (None, false);
        for extents in state.users.iter().filter_map(Weak::upgrade) {
            lock(&extents).put_back(units.clone());
        }
        drop(state);
        self.ended.notify_all();
        true
    }

    /// Waits until no hole is being punched, for some seconds at most, and not again for one that
    /// was waited for in vain.
    pub(crate) fn wait(&self) {
        let state = lock(&self.state);
        let is_worth_it = |state: &mut State| state.units.is_some() && !state.hangs;
        let waited = self.ended.wait_timeout_while(state, PATIENCE, is_worth_it);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.hangs = state.units.is_some();
    }
}
