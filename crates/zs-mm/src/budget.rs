//! The hard limit: one counter of every byte held, frames and metadata alike.

use zs_sync::{AtomicU64, Ordering};

/// Bytes held against the limit of the arena.
///
/// The counter publishes nothing, so all its orderings are relaxed; that it never passes the limit
/// follows from its read-modify-writes alone.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    held: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            held: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Charges as many whole `unit`s as fit, up to `want` bytes; returns the bytes charged.
    pub(crate) fn charge_up_to(&self, want: u64, unit: u64) -> u64 {
        let fits = |held: u64| {
            let room = self.limit.saturating_sub(held).min(want);
            room - room % unit
        };
        let before = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                let charge = fits(held);
                (charge > 0).then(|| held + charge)
            });
        match before {
            Ok(held) => {
                let charge = fits(held);
                self.peak.fetch_max(held + charge, Ordering::Relaxed);
                charge
            }
            Err(_) => 0,
        }
    }

    /// Charges exactly `bytes`, or nothing.
    #[must_use]
    pub(crate) fn charge(&self, bytes: u64) -> bool {
        bytes == 0 || self.charge_up_to(bytes, bytes) == bytes
    }

    pub(crate) fn refund(&self, bytes: u64) {
        let before = self.held.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "refunded more than was charged");
    }
}

/// Bytes that count against an arena's limit although they lie elsewhere (a pool's class table,
/// say); give them back with [`Arena::uncharge`](crate::Arena::uncharge).
#[derive(Debug)]
#[must_use = "dropping a charge without `uncharge` holds it for ever"]
pub struct Charge {
    pub(crate) bytes: u64,
    pub(crate) arena: u32,
}
