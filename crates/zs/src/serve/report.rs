//! The figures of a disk, and of a client.

use super::disk::StoreDisk;
use crate::control::{AlgorithmBlocks, Buckets, ClientStat, Operations, Stat};
use zram::{Histogram, StoreStats};
use zs_nbd::{ClientInfo, Origin};

/// Returns a disk's figures of this moment.
pub(super) fn stat(disk: &StoreDisk) -> Stat {
    let store = disk.store();
    let stats = store.stats();
    let algorithms = stats.algorithms.iter().map(|one| AlgorithmBlocks {
        priority: one.priority,
        name: one.algorithm.to_string(),
        blocks: one.blocks,
    });
    let algorithms = algorithms.collect();
    let [read, write, discard] = operations(&stats);
    Stat {
        export: disk.name().to_owned(),
        clients: disk.clients(),
        block_size: store.block_size() as u64,
        disksize: stats.size,
        orig_data_size: stats.orig_bytes,
        compr_data_size: stats.compr_bytes,
        mem_used_total: stats.mem_used,
        mem_limit: stats.mem_limit,
        mem_used_max: stats.mem_used_max,
        same_pages: stats.same_blocks,
        pages_compacted: stats.frames_compacted,
        huge_pages: stats.huge_blocks,
        huge_pages_since: stats.huge_since,
        failed_reads: stats.failed_reads,
        failed_writes: stats.failed_writes,
        notify_free: stats.discards,
        bd_count: stats.backing_blocks,
        bd_reads: stats.backing_reads,
        bd_writes: stats.backing_writes,
        metadata: stats.metadata,
        shared_blocks: stats.shared_blocks,
        shared_objects: stats.shared_objects,
        recompressed: stats.recompressed,
        algorithms,
        backing_used: stats.backing_used,
        backing_size: stats.backing_size,
        writeback_limit: store.writeback_limit(),
        read,
        write,
        discard,
    }
}

/// Returns a client's figures of this moment.
pub(super) fn client(info: &ClientInfo) -> ClientStat {
    let mut stat = ClientStat {
        id: info.number,
        export: info.export.clone(),
        connected_seconds: info.connected.as_secs(),
        idle_seconds: info.idle.as_secs(),
        requests: info.requests,
        bytes: info.bytes,
        ..ClientStat::default()
    };
    match info.origin {
        Origin::Unix { user, process } => {
            (stat.user, stat.process) = (Some(user), process);
        }
        Origin::Tcp(address) => stat.address = Some(address.to_string()),
    }
    stat
}

/// Reads, writes and discards.
fn operations(stats: &StoreStats) -> [Operations; 3] {
    let one = |requests, bytes, latency: &Histogram, time_ns| Operations {
        requests,
        bytes,
        latency: Buckets(latency.to_vec()),
        time_ns,
    };
    let [read_ns, write_ns, discard_ns] = stats.latency_sums;
    [
        one(stats.reads, stats.bytes_read, &stats.read_latency, read_ns),
        one(
            stats.writes,
            stats.bytes_written,
            &stats.write_latency,
            write_ns,
        ),
        one(stats.discards, 0, &stats.discard_latency, discard_ns),
    ]
}
