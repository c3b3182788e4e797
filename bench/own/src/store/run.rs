//! The passes on all disks, in turn, by one thread and by two.

use super::cost::{Cost, Worked, together, worked};
use super::disk::{Aligned, Disk, Kind};
use super::requests::{Operation, Requests, Shape};
use anyhow::{Context as _, Result, bail, ensure};
use std::sync::Barrier;
use std::thread;

/// One pass on one disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) operation: Operation,
    pub(super) shape: Shape,
    pub(super) disk: Kind,
    pub(super) cost: Cost,
}

/// All operations in all shapes, on new disks for each shape.
pub(super) fn round(bytes: &[u8], kinds: &[Kind], seed: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for shape in Shape::ALL {
        let start = |kind: &Kind| Ok((*kind, kind.start(bytes.len() as u64)?));
        let disks: Vec<(Kind, Box<dyn Disk>)> = kinds.iter().map(start).collect::<Result<_>>()?;
        for operation in Operation::ALL {
            let requests = Requests::new(bytes, shape, operation, seed);
            for (kind, disk) in &disks {
                let cost = pass(disk.as_ref(), operation, &requests);
                let what = || format!("{}: {}", kind.name(), operation.name());
                rows.push(Row {
                    operation,
                    shape,
                    disk: *kind,
                    cost: cost.with_context(what)?,
                });
                if operation.writes() {
                    verify(disk.as_ref(), &requests).with_context(what)?;
                }
            }
        }
    }
    Ok(rows)
}

/// Every request once, by as many threads as there are to be, which begin together.
fn pass(disk: &dyn Disk, operation: Operation, requests: &Requests<'_>) -> Result<Cost> {
    let jobs = requests.shape().jobs;
    let begin = Barrier::new(jobs);
    let threads: Vec<Worked> = thread::scope(|scope| {
        let begin = &begin;
        let start = |job| scope.spawn(move || job_of(disk, operation, requests, job, begin));
        let threads: Vec<_> = (0..jobs).map(start).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a thread panicked"),
        });
        // All are joined, whatever the first one says.
        joined
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<_>>()
    })?;
    together(requests.bytes(), &threads)
}

fn job_of(
    disk: &dyn Disk,
    operation: Operation,
    requests: &Requests<'_>,
    job: usize,
    begin: &Barrier,
) -> Result<Worked> {
    let mut room = Aligned::new(requests.shape().len);
    let mut all = requests.of(job);
    begin.wait();
    worked(|| {
        if operation.writes() {
            return all.try_for_each(|(at, payload)| disk.write(at, payload));
        }
        all.try_for_each(|(at, _)| disk.read(at, room.get()))
    })
}

/// Every block holds what these requests wrote.
fn verify(disk: &dyn Disk, requests: &Requests<'_>) -> Result<()> {
    let mut room = Aligned::new(requests.shape().len);
    for (at, payload) in (0..requests.shape().jobs).flat_map(|job| requests.of(job)) {
        disk.read(at, room.get())?;
        ensure!(room.get() == payload, "the bytes at {at} came back changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sizes::LARGE;
    use super::*;
    use crate::numbers::XorShift32;
    use zram::{Store, StoreOptions};

    fn pages() -> Vec<u8> {
        let mut numbers = XorShift32::new(3);
        (0..8 * LARGE).map(|_| numbers.below(2) as u8).collect()
    }

    #[test]
    fn a_round_has_every_pass() {
        let rows = round(&pages(), &[Kind::Store], 1).unwrap();
        assert_eq!(rows.len(), Operation::ALL.len() * Shape::ALL.len());
        assert!(rows.iter().all(|row| row.cost.wall > 0.0));
    }

    #[test]
    fn a_changed_block_is_found() {
        let bytes = pages();
        let store = Store::new(StoreOptions::new(bytes.len() as u64)).unwrap();
        let shape = Shape::ALL[1];
        let requests = Requests::new(&bytes, shape, Operation::OverwriteRandom, 1);
        pass(&store, Operation::OverwriteRandom, &requests).unwrap();
        verify(&store, &requests).unwrap();
        store.write(77 * 4096, &[0x55]).unwrap();
        let error = verify(&store, &requests).unwrap_err();
        assert!(error.to_string().contains("at 315392 "), "{error}");
    }
}
