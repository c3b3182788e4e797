//! The hole that is being punched into a backing file, if any: known to all clones of the file.
//!
//! dead units taken -> punched, without any lock -> put back into the place that uses the file by
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
use super::lock;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long a writeback waits for units that are being punched.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Punching {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Those of the place that uses the file.
    extents: Weak<Mutex<Extents>>,
    /// Under a punch: taken in these extents.
    units: Option<Range<u32>>,
}

impl Punching {
    /// Gives the file to a place: what others had free there is nobody's, and none of them punches
    /// any more.
    pub(crate) fn give_to(&self, extents: &Arc<Mutex<Extents>>) {
        let mut state = lock(&self.state);
        if let Some(units) = &state.units {
            lock(extents).withhold(units.clone());
        }
        state.extents = Arc::downgrade(extents);
    }

    /// Punches one hole for a place; false if there is none to punch, somebody else is punching, or
    /// the file is another place's by now.
    pub(crate) fn one(
        &self,
        extents: &Arc<Mutex<Extents>>,
        punch: impl FnOnce(&Range<u32>),
    ) -> bool {
        let mut state = lock(&self.state);
        if state.units.is_some() || !std::ptr::eq(state.extents.as_ptr(), Arc::as_ptr(extents)) {
            return false;
        }
        let Some(units) = lock(extents).take_dead() else {
            return false;
        };
        state.units = Some(units.clone());
        drop(state);
        punch(&units);
        let mut state = lock(&self.state);
        state.units = None;
        if let Some(extents) = state.extents.upgrade() {
            lock(&extents).put_back(units);
        }
        drop(state);
        self.ended.notify_all();
        true
    }

    /// Waits until no hole is being punched, for a second at most.
    pub(crate) fn wait(&self) {
        let state = lock(&self.state);
        let is_punched = |state: &mut State| state.units.is_some();
        let waited = self.ended.wait_timeout_while(state, PATIENCE, is_punched);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
