//! What `zs ctl` asks for, done.

use super::disk::StoreDisk;
use crate::control::{Blocks, Request};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::time::Duration;
use zram::{
    CompactBudget, IdleRule, Recompress, SnapshotOptions, Store, StoreStats, Which,
    WritebackRequest,
};

/// Does what it is told. Paths have been checked against --allow-dir.
///
/// # Errors
/// A text for people: what was wrong, and what is allowed.
pub(super) fn perform(disk: &StoreDisk, request: &Request) -> Result<Value, String> {
    let store = disk.store();
    let done = attempt(disk, &store, request);
    done.map_err(|error| error.to_string())
}

fn attempt(disk: &StoreDisk, store: &Store, request: &Request) -> Result<Value, zram::Error> {
    let file = |error: std::io::Error| zram::Error::Io {
        what: "opening the snapshot",
        source: error,
    };
    Ok(match request {
        Request::Stat | Request::Metrics => stat(&store.stats()),
        Request::Trim => json!({ "given_back": store.trim() }),
        Request::Compact => {
            let report = store.compact(CompactBudget::UNLIMITED);
            json!({ "frames_freed": report.frames_freed, "given_back": store.trim() })
        }
        Request::Idle { seconds } => {
            let rule = seconds.map_or(IdleRule::All, |seconds| {
                IdleRule::OlderThan(Duration::from_secs(seconds))
            });
            json!({ "idle_blocks": store.mark_idle(rule)? })
        }
        Request::Recompress {
            blocks,
            threshold,
            most,
        } => {
            let report = store.recompress(&Recompress {
                priority: 1,
                which: which(*blocks),
                threshold: threshold.unwrap_or(0) as usize,
                max_blocks: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            })?;
            json!({ "tried": report.tried, "smaller": report.smaller })
        }
        Request::Writeback { blocks } => {
            let report = store.writeback(&WritebackRequest::new(which(*blocks)))?;
            json!({ "blocks": report.blocks, "bytes": report.bytes })
        }
        Request::Limit { bytes } => {
            store.set_limit(*bytes)?;
            json!({ "limit": store.limit() })
        }
        Request::Resize { bytes } => {
            store.resize(*bytes)?;
            json!({ "size": store.size() })
        }
        Request::Reset => {
            store.reset()?;
            Value::Null
        }
        Request::Snapshot { path } => {
            store.snapshot(BufWriter::new(File::create_new(path).map_err(file)?))?;
            Value::Null
        }
        Request::Load { path } => {
            let mut options = SnapshotOptions::default();
            options.limit = Some(store.limit());
            let from = BufReader::new(File::open(path).map_err(file)?);
            disk.replace(Store::load(from, &options)?)?;
            Value::Null
        }
    })
}

fn which(blocks: Blocks) -> Which {
    match blocks {
        Blocks::Idle => Which::Idle,
        Blocks::Huge => Which::Huge,
        Blocks::HugeIdle => Which::HugeIdle,
    }
}

fn stat(stats: &StoreStats) -> Value {
    json!({
        "size": stats.size,
        "orig_bytes": stats.orig_bytes,
        "compr_bytes": stats.compr_bytes,
        "mem_used": stats.mem_used,
        "mem_limit": stats.mem_limit,
        "mem_used_max": stats.mem_used_max,
        "same_blocks": stats.same_blocks,
        "frames_compacted": stats.frames_compacted,
        "huge_blocks": stats.huge_blocks,
        "huge_since": stats.huge_since,
    })
}
