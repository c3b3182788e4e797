//! The hard limit: one counter of every byte held, frames and metadata alike.

use zs_sync::{AtomicU64, Ordering, Peek as _};

/// Bytes held against the limit of the arena.
///
/// A limit below the ceiling is bytes that the limit itself takes: they count like those that are
/// held, so one read-modify-write on one counter keeps every charge below a limit that others
/// change.
///
/// # Invariants
/// `taken` is what is held, plus `withheld`, plus what a change of the limit has in its hands; it
/// never passes `ceiling`.
///
/// The counters publish nothing, so orderings are relaxed; what holds of them follows from their
/// read-modify-writes alone. But for the peak: what a change of the limit has in its hands is not
/// held, so no peak is recorded while one is under way (`changes`, which is ordered with what the
/// change does).
#[derive(Debug)]
pub(crate) struct Budget {
    ceiling: u64,
    taken: AtomicU64,
    withheld: AtomicU64,
    peak: AtomicU64,
    /// Changes of the limit: those under way in the lower half, those that ended in the upper.
    changes: AtomicU64,
}

const UNDER_WAY: u64 = 1;
const ENDED: u64 = 1 << 32;

impl Budget {
    /// Makes a budget of `limit` bytes, which can be set anew up to `ceiling`.
    pub(crate) fn new(limit: u64, ceiling: u64) -> Self {
        let withheld = ceiling - limit;
        Self {
            ceiling,
            taken: AtomicU64::new(withheld),
            withheld: AtomicU64::new(withheld),
            peak: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        }
    }

    /// Returns the limit and what is held. The second is never above the first: both are by one
    /// look at what is withheld. While somebody sets the limit, what that takes may count as held.
    pub(crate) fn limit_and_held(&self) -> (u64, u64) {
        let withheld = self.withheld.load(Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Relaxed);
        (self.ceiling - withheld, taken.saturating_sub(withheld))
    }

    pub(crate) fn held(&self) -> u64 {
        self.limit_and_held().1
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Counts the most that was held from here on.
    pub(crate) fn forget_peak(&self) {
        self.peak.store(self.held(), Ordering::Relaxed);
    }

    /// Sets the limit, at most to the ceiling. Refuses one below what is held, and says how much
    /// that is; nothing has changed then.
    pub(crate) fn set_limit(&self, limit: u64) -> Result<(), u64> {
        // Relaxed: the Release of what follows makes it known. Release at the end pairs with the
        // Acquire of `charge_up_to`: who sees the change ended sees what it did.
        self.changes.fetch_add(UNDER_WAY, Ordering::Relaxed);
        let outcome = self.change_limit(limit);
        self.changes.fetch_add(ENDED - UNDER_WAY, Ordering::Release);
        outcome
    }

    fn change_limit(&self, limit: u64) -> Result<(), u64> {
        let target = self.ceiling - limit;
        loop {
            let before = self.withheld.load(Ordering::Relaxed);
            let more = target.saturating_sub(before);
            // What is withheld has been taken before, and is given back after.
            if self.take_up_to(more, more).is_none() {
                return Err(self.held());
            }
            // Release pairs with the Acquire of `charge_up_to`.
            let set = self.withheld.compare_exchange(
                before,
                target,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match set {
                Ok(_) => {
                    self.refund(before.saturating_sub(target));
                    return Ok(());
                }
                Err(_) => self.refund(more),
            }
        }
    }

    /// Takes as many whole `unit`s as fit, up to `want` bytes; returns the counter before and the
    /// bytes taken. `None` if nothing fits.
    fn take_up_to(&self, want: u64, unit: u64) -> Option<(u64, u64)> {
        if want == 0 {
            return Some((0, 0));
        }
        let fits = |taken: u64| {
            let room = self.ceiling.saturating_sub(taken).min(want);
            room - room % unit
        };
        // AcqRel: who charges on top of what a change of the limit took sees that it is under way.
        let before = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |taken| {
                let more = fits(taken);
                (more > 0).then(|| taken + more)
            });
        before.ok().map(|taken| (taken, fits(taken)))
    }

    /// Charges as many whole `unit`s as fit, up to `want` bytes; returns the bytes charged.
    pub(crate) fn charge_up_to(&self, want: u64, unit: u64) -> u64 {
        // Acquire: see `set_limit`.
        let changes = self.changes.peek(Ordering::Acquire);
        let Some((before, charge)) = self.take_up_to(want, unit) else {
            return 0;
        };
        let withheld = self.withheld.peek(Ordering::Acquire);
        // Relaxed: the Acquires before it order it.
        if changes.is_multiple_of(ENDED) && changes == self.changes.load(Ordering::Relaxed) {
            let held = (before + charge).saturating_sub(withheld);
            self.peak.fetch_max(held, Ordering::Relaxed);
        }
        charge
    }

    /// Charges exactly `bytes`, or nothing.
    #[must_use]
    pub(crate) fn charge(&self, bytes: u64) -> bool {
        bytes == 0 || self.charge_up_to(bytes, bytes) == bytes
    }

    pub(crate) fn refund(&self, bytes: u64) {
        let before = self.taken.fetch_sub(bytes, Ordering::Relaxed);
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
