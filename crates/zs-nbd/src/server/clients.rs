//! The clients of a server, listed and disconnected.

use super::{ClientTable, Shared};
use crate::client::{Client, ClientInfo, Dismissal};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The time that [`Clients::disconnect`] waits for the threads of disconnected clients. They may be
/// inside a call of the device.
const DISCONNECT_TIME: Duration = Duration::from_secs(5);

/// A handle for the clients of a server. After the server has ended there are none.
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

    /// Returns all clients, also those in their handshake, in the order in which they connected.
    #[must_use]
    pub fn list(&self) -> Vec<ClientInfo> {
        let table = self.0.lock();
        table.list.values().map(|client| client.info()).collect()
    }

    /// Ends the connections for which `which` returns true. Their pending requests may still be
    /// executed, but are not answered. Returns the number of these connections, and the number of
    /// them that are still inside the device after 5 seconds. Blocks for at most 5 seconds.
    pub fn disconnect(&self, which: impl Fn(&ClientInfo) -> bool) -> (usize, usize) {
        let table = self.0.lock();
        let meant = table.list.values().filter(|client| which(&client.info()));
        let meant: Vec<Arc<Client>> = meant.cloned().collect();
        for client in &meant {
            client.dismiss(Dismissal::Disconnected);
        }
        let still = |table: &ClientTable| {
            let is_there = |client: &&Arc<Client>| table.list.contains_key(&client.number);
            meant.iter().filter(is_there).count()
        };
        let waited = self
            .0
            .closed
            .wait_timeout_while(table, DISCONNECT_TIME, |table| still(table) > 0);
        let table = waited.unwrap_or_else(PoisonError::into_inner).0;
        (meant.len(), still(&table))
    }
}
