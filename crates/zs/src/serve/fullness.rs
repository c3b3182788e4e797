//! When a disk becomes full, and when it is so no longer.

use crate::units::Size;
use std::sync::atomic::{AtomicU64, Ordering};
use zram::{Error, Store};

/// Whether people were told that a disk is full: how many bytes of its limit must be free for it to
/// be full no longer, or 0.
#[derive(Debug, Default)]
pub(super) struct Fullness(AtomicU64);

impl Fullness {
    /// Takes note of the outcome of a write to a store; returns what is to be told, once for each
    /// time that the disk becomes full, or is so no longer.
    pub(super) fn after(&self, store: &Store, written: &Result<(), Error>) -> Option<String> {
        // Relaxed: nothing else hangs on it.
        match (written, self.0.load(Ordering::Relaxed)) {
            (Err(Error::NoMemory), 0) => self.full(store.mem_used(), store.limit()),
            (Ok(()), enough) if enough > 0 => {
                self.no_longer(store.mem_used(), store.limit(), enough)
            }
            _ => None,
        }
    }

    /// A sixteenth of the limit more must be free than now, so that a disk at its brim is not full
    /// again and again.
    fn full(&self, used: u64, limit: u64) -> Option<String> {
        let free = limit.saturating_sub(used);
        let enough = (free + limit / 16).max(1);
        if !self.change(0, enough) {
            return None;
        }
        let why = match free > limit / 4 {
            false => "zs ctl limit raises it",
            true => "the system may have refused memory",
        };
        let (used, limit) = (Size(used), Size(limit));
        Some(format!(
            "is full: {used} of its limit of {limit} are used, and writes fail; {why}"
        ))
    }

    fn no_longer(&self, used: u64, limit: u64, enough: u64) -> Option<String> {
        let free = limit.saturating_sub(used);
        let is_news = free >= enough && self.change(enough, 0);
        is_news.then(|| "is no longer full".to_owned())
    }

    /// Says whether this is the one who changes it.
    fn change(&self, from: u64, to: u64) -> bool {
        let relaxed = Ordering::Relaxed;
        self.0.compare_exchange(from, to, relaxed, relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zram::StoreOptions;

    const MIB: u64 = 1 << 20;

    /// Writes that fail and succeed in turn at the brim are told of once.
    #[test]
    fn a_disk_at_its_brim_is_told_once() {
        let mut options = StoreOptions::new(64 * MIB);
        (options.limit, options.max_limit) = (Some(16 * MIB), Some(64 * MIB));
        let store = Store::new(options).unwrap();
        let fullness = Fullness::default();
        let after = |outcome: Result<(), Error>| fullness.after(&store, &outcome);
        assert_eq!(after(Ok(())), None);
        // The store is empty, so it is the system that has no memory.
        let told = after(Err(Error::NoMemory)).unwrap();
        assert!(
            told.contains("16 MiB") && told.contains("the system may"),
            "{told}"
        );
        for _ in 0..3 {
            assert_eq!(after(Ok(())), None);
            assert_eq!(after(Err(Error::NoMemory)), None);
        }
        assert_eq!(after(Err(Error::NoBacking)), None);
        store.set_limit(18 * MIB).unwrap();
        assert_eq!(after(Ok(())).as_deref(), Some("is no longer full"));
        assert_eq!(after(Ok(())), None);
        assert!(after(Err(Error::NoMemory)).is_some());
    }
}
