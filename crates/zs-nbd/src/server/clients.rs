//! The clients of a server, listed and disconnected.

use super::{Guests, Shared};
use crate::guest::{ClientInfo, Dismissal, Guest};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long the threads of clients get that were disconnected on request, and are with the device
/// maybe.
const GOING: Duration = Duration::from_secs(5);

/// The clients of a server, for whoever asks about them. The server may have ended: then there are
/// none.
#[derive(Clone)]
pub struct Clients(Arc<Shared>);

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Clients {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Returns all of them, those in their handshake too; the oldest one first.
    #[must_use]
    pub fn list(&self) -> Vec<ClientInfo> {
        let guests = self.0.lock();
        guests.list.values().map(|guest| guest.info()).collect()
    }

    /// Ends connections: those that `which` says. What they asked for may still be done, and is not
    /// answered. Returns how many there were, and how many of them are still with the device after
    /// 5 seconds, for which it blocks at most.
    pub fn disconnect(&self, which: impl Fn(&ClientInfo) -> bool) -> (usize, usize) {
        let guests = self.0.lock();
        let meant = guests.list.values().filter(|guest| which(&guest.info()));
        let meant: Vec<Arc<Guest>> = meant.cloned().collect();
        for guest in &meant {
            guest.dismiss(Dismissal::Disconnected);
        }
        let still = |guests: &Guests| {
            let is_there = |guest: &&Arc<Guest>| guests.list.contains_key(&guest.number);
            meant.iter().filter(is_there).count()
        };
        let waited = self
            .0
            .closed
            .wait_timeout_while(guests, GOING, |guests| still(guests) > 0);
        let guests = waited.unwrap_or_else(PoisonError::into_inner).0;
        (meant.len(), still(&guests))
    }
}
