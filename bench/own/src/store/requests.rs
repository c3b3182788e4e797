//! Which bytes go where, in which order.
//!
//! `operation, size -> numbers in order -> a share for each thread -> offset and payload`

use super::sizes::{LARGE, PAGE};
use crate::numbers::XorShift32;

/// What is done to every block of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    FreshWrite,
    Read,
    ReadRandom,
    Overwrite,
    OverwriteRandom,
}

impl Operation {
    /// In the order of a round; the first one has an empty disk.
    pub(super) const ALL: [Self; 5] = [
        Self::FreshWrite,
        Self::Read,
        Self::ReadRandom,
        Self::Overwrite,
        Self::OverwriteRandom,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FreshWrite => "fresh-write-sequential",
            Self::Read => "read-sequential",
            Self::ReadRandom => "read-random",
            Self::Overwrite => "overwrite-sequential",
            Self::OverwriteRandom => "overwrite-random",
        }
    }

    pub(super) fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::ReadRandom)
    }

    fn is_random(self) -> bool {
        matches!(self, Self::ReadRandom | Self::OverwriteRandom)
    }

    /// By how many thirds of the disk the pages are shifted that it writes.
    fn thirds(self) -> usize {
        match self {
            Self::FreshWrite | Self::Read | Self::ReadRandom => 0,
            Self::Overwrite => 1,
            Self::OverwriteRandom => 2,
        }
    }
}

/// How large the requests are, and how many threads send them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of a request.
    pub(super) len: usize,
    pub(super) jobs: usize,
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [
        Self { len: PAGE, jobs: 1 },
        Self { len: PAGE, jobs: 2 },
        Self {
            len: LARGE,
            jobs: 1,
        },
        Self {
            len: LARGE,
            jobs: 2,
        },
    ];
}

/// The requests of one operation: all blocks of a disk that is as long as the pages.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    bytes: &'a [u8],
    shape: Shape,
    order: Vec<u32>,
    shift: usize,
}

impl<'a> Requests<'a> {
    /// Of pages that are whole large requests.
    pub(super) fn new(bytes: &'a [u8], shape: Shape, operation: Operation, seed: u32) -> Self {
        let count = bytes.len() / shape.len;
        let order = if operation.is_random() {
            XorShift32::new(seed).shuffled(count as u32)
        } else {
            (0..count as u32).collect()
        };
        Self {
            bytes,
            shape,
            order,
            shift: count * operation.thirds() / 3,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The requests of one of the threads: where, and what a write writes there.
    pub(super) fn of(&self, job: usize) -> impl Iterator<Item = (u64, &'a [u8])> {
        let (jobs, count) = (self.shape.jobs, self.order.len());
        let share = job * count / jobs..(job + 1) * count / jobs;
        let order = self.order[share].iter();
        order.map(|number| self.request(*number as usize))
    }

    fn request(&self, number: usize) -> (u64, &'a [u8]) {
        let len = self.shape.len;
        let from = (number + self.shift) % self.order.len() * len;
        ((number * len) as u64, &self.bytes[from..from + len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn threads_share_all_blocks_and_random_ones_are_the_same_blocks() {
        let bytes: Vec<u8> = (0..8 * LARGE).map(|at| (at / PAGE) as u8).collect();
        for shape in Shape::ALL {
            for operation in Operation::ALL {
                let requests = Requests::new(&bytes, shape, operation, 7);
                let all: Vec<_> = (0..shape.jobs).flat_map(|job| requests.of(job)).collect();
                assert_eq!(all.is_sorted_by_key(|(at, _)| *at), !operation.is_random());
                let unique: BTreeMap<_, _> = all.iter().copied().collect();
                assert_eq!(
                    (all.len(), unique.len()),
                    (8 * LARGE / shape.len, all.len())
                );
                let mut written: Vec<u8> = unique.into_values().flatten().copied().collect();
                assert_eq!(written == bytes, operation.thirds() == 0);
                let shift = all.len() * operation.thirds() / 3 * shape.len;
                written.rotate_right(shift);
                assert!(written == bytes, "{operation:?} {shape:?}");
            }
        }
    }
}
