//! Memory for further threads of a connection, lent by shares.
//!
//! Data model: `Lender -> Account of a client -> Loan -> the buffers of one more thread, or of a
//! large reply that must not be split`.
//!
//! Each connection has its own buffers for one thread. So no connection needs a loan to make
//! progress, and none waits for one: a loan only makes it faster. A client gets at most its share
//! of the share of its peer. The shares are small enough that one is always left for the next
//! client and for the next peer.
//!
//! # Locking
//! The ledger has a lock, held for a few instructions.

use crate::peer::Peer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The loans of each client. Decisions only.
#[derive(Debug, Default)]
struct Ledger {
    total: usize,
    lent: usize,
    peers: HashMap<Peer, HashMap<u64, usize>>,
}

impl Ledger {
    /// Returns the most units for a peer, and the most for this client of it. One share is always
    /// left for the next newcomer.
    fn shares(&self, peer: Peer, client: u64) -> (usize, usize) {
        let clients = self.peers.get(&peer);
        let new_peer = usize::from(clients.is_none());
        let of_peer = self.total / (self.peers.len() + new_peer + 1);
        let has = clients.is_some_and(|clients| clients.contains_key(&client));
        let count = clients.map_or(0, HashMap::len) + usize::from(!has);
        (of_peer.max(1), (of_peer / (count + 1)).max(1))
    }

    fn has(&self, peer: Peer, client: u64) -> (usize, usize) {
        let clients = self.peers.get(&peer);
        let all = clients.map_or(0, |clients| clients.values().sum());
        let own = clients.and_then(|clients| clients.get(&client));
        (all, own.copied().unwrap_or(0))
    }

    fn lend(&mut self, peer: Peer, client: u64, units: usize) -> bool {
        let (of_peer, of_client) = self.shares(peer, client);
        let (all, own) = self.has(peer, client);
        let fits = |has: usize, most: usize| has.saturating_add(units) <= most;
        let may = fits(self.lent, self.total) && fits(all, of_peer) && fits(own, of_client);
        if may {
            self.lent += units;
            let clients = self.peers.entry(peer).or_default();
            *clients.entry(client).or_default() += units;
        }
        may
    }

    /// Says whether a client has more than its share, because other clients have come since. It may
    /// keep its first loan in any case.
    fn has_too_much(&self, peer: Peer, client: u64) -> bool {
        let (of_peer, of_client) = self.shares(peer, client);
        let (all, own) = self.has(peer, client);
        own > 1 && (own > of_client || all > of_peer)
    }

    fn give_back(&mut self, peer: Peer, client: u64, units: usize) {
        let Some(clients) = self.peers.get_mut(&peer) else {
            return;
        };
        if let Some(own) = clients.get_mut(&client) {
            self.lent -= units;
            *own -= units;
            if *own == 0 {
                clients.remove(&client);
            }
        }
        if clients.is_empty() {
            self.peers.remove(&peer);
        }
    }
}

/// Lends memory in units of one size.
#[derive(Debug)]
pub(crate) struct Lender(Mutex<Ledger>);

/// A client's right to borrow.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    lender: Arc<Lender>,
    peer: Peer,
    client: u64,
}

/// A number of units, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    account: Account,
    units: usize,
}

impl Lender {
    pub(crate) fn new(total: usize) -> Self {
        Self(Mutex::new(Ledger {
            total,
            ..Ledger::default()
        }))
    }

    pub(crate) fn account(self: &Arc<Self>, peer: Peer, client: u64) -> Account {
        Account {
            lender: Arc::clone(self),
            peer,
            client,
        }
    }

    /// Returns the number of units lent now.
    #[cfg(test)]
    pub(crate) fn lent(&self) -> usize {
        self.lock().lent
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Makes an account that gets no loans.
    pub(crate) fn without_loans() -> Self {
        Arc::new(Lender::new(0)).account(Peer::User(0), 0)
    }

    /// Borrows units. Returns `None` if the client would then have more than its share.
    pub(crate) fn lend(&self, units: usize) -> Option<Loan> {
        let lent = self.lender.lock().lend(self.peer, self.client, units);
        lent.then(|| Loan {
            account: self.clone(),
            units,
        })
    }
}

impl Loan {
    /// Says whether the client has more than its share by now, so that the loan should be given
    /// back.
    pub(crate) fn is_due(&self) -> bool {
        let Account {
            lender,
            peer,
            client,
        } = &self.account;
        lender.lock().has_too_much(*peer, *client)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Account {
            lender,
            peer,
            client,
        } = &self.account;
        lender.lock().give_back(*peer, *client, self.units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Borrows until nothing more is lent.
    fn hoard(lender: &Arc<Lender>, user: u32, client: u64) -> Vec<Loan> {
        let account = lender.account(Peer::User(user), client);
        std::iter::from_fn(|| account.lend(1)).collect()
    }

    #[test]
    fn one_client_never_has_all() {
        let lender = Arc::new(Lender::new(100));
        let first = hoard(&lender, 1, 1);
        assert_eq!(first.len(), 25, "half of its peer's half");
        let second = hoard(&lender, 1, 2);
        assert_eq!(second.len(), 16);
        assert!(first[0].is_due(), "there are two of them now");
        drop(first);
        assert!(!second[0].is_due());
    }

    /// Eight clients of one peer take what they can get, and keep it.
    #[test]
    fn a_peer_that_hoards_leaves_a_share() {
        let lender = Arc::new(Lender::new(64));
        let hoarded: Vec<_> = (0..8).map(|client| hoard(&lender, 1, client)).collect();
        assert!(hoarded.iter().map(Vec::len).sum::<usize>() <= 32);
        for user in 2..6 {
            assert!(!hoard(&lender, user, 100).is_empty());
        }
        let good = hoard(&lender, 2, 100);
        assert_eq!(good.len(), 10, "half of a third");
        drop(hoarded);
        drop(good);
        assert_eq!(lender.lock().lent, 0);
        assert!(lender.lock().peers.is_empty());
    }

    #[test]
    fn without_memory_nothing_is_lent() {
        let lender = Arc::new(Lender::new(0));
        assert!(lender.account(Peer::User(1), 1).lend(1).is_none());
        assert!(Account::without_loans().lend(1).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The sums in the ledger are those of the living loans, and never more than the total.
        #[test]
        fn the_ledger_adds_up(
            total in 0..20_usize,
            steps in prop::collection::vec((0..4_u32, 0..4_u64, 1..4_usize, 0..8_usize), 0..200),
        ) {
            let lender = Arc::new(Lender::new(total));
            let mut loans = Vec::new();
            for (user, client, units, back) in steps {
                loans.extend(lender.account(Peer::User(user), client).lend(units));
                if back < loans.len() && back > 4 {
                    loans.swap_remove(back);
                }
                let ledger = lender.lock();
                let all: usize = ledger.peers.values().flat_map(HashMap::values).sum();
                let lent: usize = loans.iter().map(|loan| loan.units).sum();
                prop_assert_eq!((ledger.lent, all), (lent, lent));
                prop_assert!(ledger.lent <= total);
            }
        }
    }
}
