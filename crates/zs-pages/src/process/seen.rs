//! Shared pages that were counted already, so that each counts once.

use super::pagemap::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// All counted pages that may be found again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) locations: SeenLocations,
    pub(super) objects: SeenObjects,
}

/// The frames, and locations in swap, of the shared pages that were counted. Takes about 16 bytes
/// for each.
#[derive(Debug, Default)]
pub(super) struct SeenLocations(HashSet<u64>);

/// The sharing of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// The page is not shared, or it is counted for the first time.
    Own,
    /// The page was counted before, for another process or at another address.
    Again,
    /// The page is shared, but the kernel does not say with which processes: that needs
    /// `CAP_SYS_ADMIN`.
    Hidden,
}

impl SeenLocations {
    pub(super) fn look(&mut self, entry: Entry) -> Sharing {
        if entry.is_exclusive() {
            return Sharing::Own;
        }
        match entry.location() {
            // The entry of a page in swap does not tell whether it is shared. Most are not.
            None if entry.is_swapped() => Sharing::Own,
            None => Sharing::Hidden,
            Some(location) if self.0.insert(location) => Sharing::Own,
            Some(_) => Sharing::Again,
        }
    }
}

/// The identity of an object of shared memory or a file, the same in every process that maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ObjectId {
    /// The major and minor number of its file system.
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// The namespace of a System V segment (`shmget`): its number there is the inode.
    pub(super) ipc_namespace: Option<u64>,
}

/// The pages of shared memory that were counted, as runs of pages for each object.
#[derive(Debug, Default)]
pub(super) struct SeenObjects(HashMap<ObjectId, BTreeMap<u64, u64>>);

impl SeenObjects {
    /// Adds pages of an object. Calls `fresh` with those that were not there before, in order.
    pub(super) fn add(
        &mut self,
        object: ObjectId,
        pages: Range<u64>,
        fresh: &mut dyn FnMut(Range<u64>),
    ) {
        let runs = self.0.entry(object).or_default();
        // Runs neither overlap nor touch, so that their ends are in the order of their starts.
        let before = runs.range(..=pages.end).rev();
        let met = before.take_while(|(_, end)| **end >= pages.start);
        let met: Vec<Range<u64>> = met.map(|(start, end)| *start..*end).collect();
        let (mut whole, mut next) = (pages.clone(), pages.start);
        for run in met.into_iter().rev() {
            if next < run.start {
                fresh(next..run.start);
            }
            next = next.max(run.end);
            whole = whole.start.min(run.start)..whole.end.max(run.end);
            runs.remove(&run.start);
        }
        if next < pages.end {
            fresh(next..pages.end);
        }
        runs.insert(whole.start, whole.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    fn object(inode: u64) -> ObjectId {
        ObjectId {
            device: (0, 1),
            inode,
            ipc_namespace: None,
        }
    }

    #[test]
    fn each_page_of_an_object_is_fresh_once() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..200 {
            let mut seen = SeenObjects::default();
            let mut model = HashSet::new();
            for _ in 0..30 {
                let (inode, start) = (rng.u64(..2), rng.u64(..40));
                let pages = start..start + rng.u64(1..12);
                let mut fresh = Vec::new();
                seen.add(object(inode), pages.clone(), &mut |run| fresh.extend(run));
                let expected: Vec<u64> =
                    pages.filter(|page| model.insert((inode, *page))).collect();
                assert_eq!(fresh, expected);
            }
            for runs in seen.0.values() {
                let runs: Vec<_> = runs.iter().collect();
                assert!(
                    runs.windows(2).all(|pair| pair[0].1 < pair[1].0),
                    "{runs:?}"
                );
            }
        }
    }

    #[test]
    fn a_segment_of_another_namespace_is_another_object() {
        let mut seen = SeenObjects::default();
        let in_namespace = |namespace| ObjectId {
            ipc_namespace: namespace,
            ..object(7)
        };
        for namespace in [None, Some(1), Some(2)] {
            let mut fresh = 0;
            seen.add(in_namespace(namespace), 0..5, &mut |run| {
                fresh += run.end - run.start;
            });
            assert_eq!(fresh, 5, "{namespace:?}");
        }
    }
}
