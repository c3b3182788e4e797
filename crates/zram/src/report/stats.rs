//! What a store holds, and what was done with it.

use crate::block::content::{Form, Kind, MAX_PRIORITY};
use crate::counters::Event;
use crate::counters::histogram::{Histogram, Timed};
use crate::store::Store;
use zcomp::Algorithm;
use zs_mm::{Backing, wide};

/// The blocks of one algorithm, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlgorithmStats {
    /// 0 is the primary algorithm.
    pub priority: u8,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Blocks that are stored in its form; of those that share an object, one.
    pub blocks: u64,
    /// Bytes of those objects.
    pub bytes: u64,
}

/// The contents of a store, and its work, in figures. The kernel's names in brackets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreStats {
    /// Bytes shown (disksize).
    pub size: u64,
    /// Bytes of blocks that hold something, as they were written (orig_data_size).
    pub orig_bytes: u64,
    /// Bytes that are stored of them, written back ones not counted (compr_data_size).
    pub compr_bytes: u64,
    /// Bytes of memory held, all metadata included (mem_used_total).
    pub mem_used: u64,
    /// The limit (mem_limit).
    pub mem_limit: u64,
    /// The most that was held since the store was made or reset (mem_used_max).
    pub mem_used_max: u64,
    /// Of the memory held, what are no frames: words, records, descriptors, indexes.
    pub metadata: u64,
    /// Blocks of one repeated word (same_pages); of those that share an object, one.
    pub same_blocks: u64,
    /// Frames that compaction freed (pages_compacted).
    pub frames_compacted: u64,
    /// Blocks that are stored raw (huge_pages); of those that share an object, one.
    pub huge_blocks: u64,
    /// Blocks that were stored raw since the store was made or reset (huge_pages_since).
    pub huge_since: u64,
    /// Blocks that share an object, and those objects; zeros without deduplication.
    pub shared_blocks: u64,
    /// The objects that they share.
    pub shared_objects: u64,
    /// By algorithm.
    pub algorithms: Vec<AlgorithmStats>,
    /// Blocks that recompression made smaller.
    pub recompressed: u64,
    /// Requests that were answered.
    pub reads: u64,
    /// Requests that were answered.
    pub writes: u64,
    /// Discards and writes of zeros that were answered (notify_free).
    pub discards: u64,
    /// Bytes that requests read.
    pub bytes_read: u64,
    /// Bytes that requests wrote.
    pub bytes_written: u64,
    /// Reads that failed (failed_reads).
    pub failed_reads: u64,
    /// Writes and discards that failed (failed_writes).
    pub failed_writes: u64,
    /// Blocks that lie in the backing (bd_count).
    pub backing_blocks: u64,
    /// Blocks that were read from it (bd_reads).
    pub backing_reads: u64,
    /// Blocks that were written to it (bd_writes).
    pub backing_writes: u64,
    /// Bytes of it that are in use.
    pub backing_used: u64,
    /// Bytes of it that may be used; 0 without one.
    pub backing_size: u64,
    /// The times of reads that were answered.
    pub read_latency: Histogram,
    /// The times of writes that were answered.
    pub write_latency: Histogram,
    /// The times of discards and writes of zeros that were answered.
    pub discard_latency: Histogram,
    /// The time of all reads, of all writes and of all discards, in nanoseconds.
    pub latency_sums: [u64; 3],
}

impl<B: Backing> Store<B> {
    /// Returns what the store holds. Each figure is of one moment; together they are of slightly
    /// different ones while others are at work. Takes each class lock of the pool once.
    pub fn stats(&self) -> StoreStats {
        let arena = self.arena().stats();
        let events = |event| self.counters.events(event);
        let blocks = |kind| self.counters.blocks(kind);
        let full = [Kind::Same, Kind::Object, Kind::Backed, Kind::Shared].map(blocks);
        let objects = |form| self.counters.of_form(form).0;
        let shares = self.table().shares.as_ref();
        let (_, shared_objects) =
            shares.map_or((0, 0), |shares| shares.counts(self.arena().host()));
        let (backing_used, backing_size) = self.writeback.usage();
        let latency = |what| self.counters.histogram(what);
        StoreStats {
            size: self.size(),
            orig_bytes: full.iter().sum::<u64>() * wide(self.block_size()),
            compr_bytes: self.pool.stats().payload_bytes,
            mem_used: arena.held,
            mem_limit: arena.limit,
            mem_used_max: arena.peak,
            metadata: arena.held.saturating_sub(arena.in_use + arena.cached),
            same_blocks: full[0] + objects(Form::Wide),
            frames_compacted: events(Event::FramesCompacted),
            huge_blocks: objects(Form::Raw),
            huge_since: events(Event::RawSince),
            shared_blocks: full[3],
            shared_objects,
            algorithms: self.algorithm_stats(),
            recompressed: events(Event::Recompressed),
            reads: events(Event::Reads),
            writes: events(Event::Writes),
            discards: events(Event::Discards),
            bytes_read: events(Event::BytesRead),
            bytes_written: events(Event::BytesWritten),
            failed_reads: events(Event::FailedReads),
            failed_writes: events(Event::FailedWrites),
            backing_blocks: full[2],
            backing_reads: events(Event::BackingReads),
            backing_writes: events(Event::BackingWrites),
            backing_used,
            backing_size,
            read_latency: latency(Timed::Read),
            write_latency: latency(Timed::Write),
            discard_latency: latency(Timed::Discard),
            latency_sums: [Timed::Read, Timed::Write, Timed::Discard]
                .map(|what| self.counters.spent_ns(what)),
        }
    }

    fn algorithm_stats(&self) -> Vec<AlgorithmStats> {
        let one = |priority| {
            let (blocks, bytes) = self.counters.of_form(Form::Compressed(priority));
            Some(AlgorithmStats {
                priority,
                algorithm: self.codecs.get(priority)?.algorithm,
                blocks,
                bytes,
            })
        };
        (0..=MAX_PRIORITY).filter_map(one).collect()
    }
}
