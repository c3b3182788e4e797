//! What is said of processes, for programs. `README.md` of this crate says what each member means.

use super::Report;
use super::estimator::Saving;
use super::saving::{Row, Total};
use crate::sources::{Live, Origin};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use zs_pages::{Skip, Skipped, Unread};

#[derive(Serialize)]
pub(super) struct LiveObject<'a> {
    sample_bytes: u64,
    seed: u64,
    shared: bool,
    processes: Vec<ProcessObject<'a>>,
    total: TotalObject,
    unread: Vec<UnreadObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<CommandObject<'a>>,
}

#[derive(Serialize)]
struct ProcessObject<'a> {
    pid: u32,
    command: &'a str,
    pages: u64,
    swapped_pages: u64,
    counted_elsewhere_pages: u64,
    shared_pages: u64,
    shared_weight: f64,
    shared_memory_bytes: Option<u64>,
    shared_memory_pages: u64,
    memory_bytes: u64,
    sampled_pages: u64,
    changed_pages: u64,
    vanished_pages: u64,
    zero_share: Option<f64>,
    same_filled_share: Option<f64>,
    skipped_bytes: BTreeMap<&'static str, u64>,
    codecs: BTreeMap<&'static str, Option<SavingObject>>,
}

#[derive(Serialize)]
struct TotalObject {
    shared_memory_bytes: Option<u64>,
    pages: u64,
    memory_bytes: u64,
    sampled_pages: u64,
    zero_share: Option<f64>,
    same_filled_share: Option<f64>,
    codecs: BTreeMap<&'static str, Option<SavingObject>>,
}

#[derive(Serialize)]
struct SavingObject {
    held_bytes: u64,
    saved_bytes: i64,
    ratio: Option<f64>,
    error: Option<f64>,
}

#[derive(Serialize)]
struct UnreadObject {
    pid: u32,
    reason: String,
}

#[derive(Serialize)]
struct CommandObject<'a> {
    name: &'a str,
    exit_code: Option<i32>,
    signal: Option<i32>,
    largest_bytes: u64,
    bytes_at_sample: u64,
    sampled_after_seconds: f64,
    counts: u64,
    samples: u64,
    left_running: Vec<u32>,
    failed: Option<String>,
}

impl Report {
    /// Returns the members that only processes have.
    pub(super) fn live_object(&self) -> Option<LiveObject<'_>> {
        let Origin::Processes(live) = &self.origin else {
            return None;
        };
        let savings = self.savings(live);
        let rows = savings.rows.iter().map(|row| self.process_object(row));
        Some(LiveObject {
            sample_bytes: live.sampling.bytes,
            seed: live.sampling.seed,
            shared: live.sampling.shared,
            processes: rows.collect(),
            total: self.total_object(&savings.total, live),
            unread: live.unread.iter().map(UnreadObject::new).collect(),
            command: command_object(live),
        })
    }

    fn process_object<'a>(&self, row: &Row<'a>) -> ProcessObject<'a> {
        let process = row.process;
        ProcessObject {
            pid: process.pid,
            command: &process.name,
            pages: process.pages(),
            swapped_pages: process.swapped,
            counted_elsewhere_pages: process.counted_elsewhere,
            shared_pages: process.hidden().pages,
            shared_weight: process.hidden().weight,
            shared_memory_bytes: process.shared_memory,
            shared_memory_pages: process.shared().pages,
            memory_bytes: row.memory as u64,
            sampled_pages: process.sampled(),
            changed_pages: process.changed(),
            vanished_pages: process.vanished(),
            zero_share: row.zero,
            same_filled_share: row.same_filled,
            skipped_bytes: skipped(&process.skipped),
            codecs: self.saving_objects(row.savings, row.memory),
        }
    }

    fn total_object(&self, total: &Total, live: &Live) -> TotalObject {
        TotalObject {
            shared_memory_bytes: live.shared_memory(),
            pages: total.pages,
            memory_bytes: total.memory as u64,
            sampled_pages: total.sampled,
            zero_share: total.zero,
            same_filled_share: total.same_filled,
            codecs: self.saving_objects(total.savings, total.memory),
        }
    }

    fn saving_objects(
        &self,
        savings: [Option<Saving>; 2],
        memory: f64,
    ) -> BTreeMap<&'static str, Option<SavingObject>> {
        let names = self.codecs().map(|(name, _)| name);
        let objects = savings.map(|saving| {
            saving.map(|saving| SavingObject {
                held_bytes: saving.held as u64,
                saved_bytes: saving.saved(memory) as i64,
                ratio: saving.ratio(memory),
                error: saving.error,
            })
        });
        names.into_iter().zip(objects).collect()
    }
}

impl UnreadObject {
    fn new(unread: &Unread) -> Self {
        Self {
            pid: unread.pid,
            reason: unread.reason.to_string(),
        }
    }
}

fn command_object(live: &Live) -> Option<CommandObject<'_>> {
    let ran = live.command.as_ref()?;
    Some(CommandObject {
        name: &ran.name,
        exit_code: ran.status.code(),
        signal: ran.status.signal(),
        largest_bytes: ran.largest,
        bytes_at_sample: ran.at_sample,
        sampled_after_seconds: ran.sampled_after.as_secs_f64(),
        counts: ran.counts,
        samples: ran.samples,
        left_running: ran.left.iter().map(|(pid, _)| *pid).collect(),
        failed: ran.failed.as_ref().map(ToString::to_string),
    })
}

/// Returns all reasons, so that a program need not know which there may be.
fn skipped(skipped: &Skipped) -> BTreeMap<&'static str, u64> {
    let name = |reason| match reason {
        Skip::DontDump => "dont_dump",
        Skip::Device => "device",
        Skip::Userfault => "userfault",
        Skip::HugeTlb => "hugetlb",
        Skip::Locked => "locked",
    };
    let all = Skip::ALL.into_iter();
    all.map(|reason| (name(reason), skipped.bytes(reason)))
        .collect()
}
