//! Statistics as OpenMetrics (version 1.0): each metric once, with a sample for each disk. Readers
//! of Prometheus' older text format take it, too: to them what is new in it is a remark.

use crate::control::{Buckets, Operations, Stat};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

/// Buckets of latencies that are told, by their number: those that end at 256 ns to 17 s. What is
/// faster counts to the first one, what is slower is in `+Inf` only.
const BUCKETS: Range<usize> = 7..34;

/// A metric with one sample a disk.
struct Metric {
    /// No counter has that of a gauge: they are told apart without `_total`.
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Stat) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Stat) -> u64) -> Metric {
    Metric {
        name,
        kind: "gauge",
        help,
        value,
    }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Stat) -> u64) -> Metric {
    Metric {
        name,
        kind: "counter",
        help,
        value,
    }
}

const METRICS: [Metric; 23] = [
    gauge("zs_clients", "Clients connected now.", |s| s.clients),
    gauge("zs_disk_bytes", "Size of the disk.", |s| s.disksize),
    gauge(
        "zs_block_bytes",
        "Bytes that are compressed together.",
        |s| s.block_size,
    ),
    gauge(
        "zs_original_bytes",
        "Bytes of blocks that hold something.",
        |s| s.orig_data_size,
    ),
    gauge(
        "zs_compressed_bytes",
        "Bytes that are stored of them in memory.",
        |s| s.compr_data_size,
    ),
    gauge("zs_memory_bytes", "Memory held, everything counted.", |s| {
        s.mem_used_total
    }),
    gauge(
        "zs_memory_limit_bytes",
        "Most memory that may be held.",
        |s| s.mem_limit,
    ),
    gauge("zs_memory_max_bytes", "Most memory that was held.", |s| {
        s.mem_used_max
    }),
    gauge("zs_metadata_bytes", "Metadata in the memory held.", |s| {
        s.metadata
    }),
    gauge(
        "zs_same_filled_blocks",
        "Blocks of one repeated word.",
        |s| s.same_pages,
    ),
    gauge(
        "zs_huge_blocks",
        "Blocks that are stored as they are.",
        |s| s.huge_pages,
    ),
    gauge("zs_shared_blocks", "Blocks that share an object.", |s| {
        s.shared_blocks
    }),
    gauge("zs_shared_objects", "Objects that blocks share.", |s| {
        s.shared_objects
    }),
    gauge("zs_backing_blocks", "Blocks in the backing.", |s| {
        s.bd_count
    }),
    gauge(
        "zs_backing_used_bytes",
        "Bytes of the backing in use.",
        |s| s.backing_used,
    ),
    gauge("zs_backing_bytes", "Bytes of the backing.", |s| {
        s.backing_size
    }),
    counter(
        "zs_huge_blocks_stored",
        "Blocks that were stored as they are.",
        |s| s.huge_pages_since,
    ),
    counter(
        "zs_frames_compacted",
        "Frames that compaction freed.",
        |s| s.pages_compacted,
    ),
    counter(
        "zs_recompressed_blocks",
        "Blocks that recompression made smaller.",
        |s| s.recompressed,
    ),
    counter(
        "zs_backing_read_blocks",
        "Blocks read from the backing.",
        |s| s.bd_reads,
    ),
    counter(
        "zs_backing_written_blocks",
        "Blocks written to the backing.",
        |s| s.bd_writes,
    ),
    counter("zs_failed_reads", "Reads that failed.", |s| s.failed_reads),
    counter(
        "zs_failed_writes",
        "Writes and discards that failed.",
        |s| s.failed_writes,
    ),
];

/// Returns all metrics of some disks.
pub(super) fn text(stats: &[Stat]) -> String {
    let mut page = Page(String::new());
    for metric in &METRICS {
        page.begin(metric.name, metric.kind, metric.help);
        let suffix = if metric.kind == "counter" {
            "_total"
        } else {
            ""
        };
        let name = format!("{}{suffix}", metric.name);
        for stat in stats {
            page.sample(&name, &export(stat), (metric.value)(stat));
        }
    }
    page.begin(
        "zs_algorithm_blocks",
        "gauge",
        "Blocks by the algorithm that they are stored by.",
    );
    for stat in stats {
        for one in &stat.algorithms {
            let labels = format!(
                "{},algorithm=\"{}\",priority=\"{}\"",
                export(stat),
                escape(&one.name),
                one.priority
            );
            page.sample("zs_algorithm_blocks", &labels, one.blocks);
        }
    }
    page.begin("zs_request_bytes", "counter", "Bytes read and written.");
    each_operation(stats, |labels, name, operations| {
        if name != "discard" {
            page.sample("zs_request_bytes_total", labels, operations.bytes);
        }
    });
    page.begin("zs_request_seconds", "histogram", "How long requests took.");
    each_operation(stats, |labels, _, operations| {
        page.histogram(labels, operations);
    });
    page.0.push_str("# EOF\n");
    page.0
}

fn each_operation(stats: &[Stat], mut visit: impl FnMut(&str, &str, &Operations)) {
    for stat in stats {
        let all = [
            ("read", &stat.read),
            ("write", &stat.write),
            ("discard", &stat.discard),
        ];
        for (name, operations) in all {
            let labels = format!("{},operation=\"{name}\"", export(stat));
            visit(&labels, name, operations);
        }
    }
}

fn export(stat: &Stat) -> String {
    format!("export=\"{}\"", escape(&stat.export))
}

/// Returns a label's value.
fn escape(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

struct Page(String);

impl Page {
    /// What is said of a metric before its samples. A counter's samples have the name and `_total`.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        let units = ["bytes", "seconds"];
        let has = |unit: &&str| name.ends_with(&format!("_{unit}"));
        if let Some(unit) = units.iter().find(|unit| has(unit)) {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn histogram(&mut self, labels: &str, operations: &Operations) {
        let counts = &operations.latency.0;
        let total = operations.latency.total();
        for index in BUCKETS {
            let below: u64 = counts.iter().take(index + 1).sum();
            let end = Buckets::end(index).as_secs_f64();
            let labels = format!("{labels},le=\"{end}\"");
            self.sample("zs_request_seconds_bucket", &labels, below);
        }
        let all = format!("{labels},le=\"+Inf\"");
        self.sample("zs_request_seconds_bucket", &all, total);
        let sum = Duration::from_nanos(operations.time_ns).as_secs_f64();
        self.sample("zs_request_seconds_sum", labels, sum);
        self.sample("zs_request_seconds_count", labels, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_buckets_grow() {
        let mut latency = vec![0; 40];
        (latency[0], latency[8], latency[39]) = (1, 2, 4);
        let stat = Stat {
            export: "a\"b\\c\nd".to_owned(),
            read: Operations {
                latency: Buckets(latency),
                time_ns: 1_500_000_000,
                ..Operations::default()
            },
            ..Stat::default()
        };
        let text = text(&[stat]);
        let has = |line: &str| assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        let labels = r#"export="a\"b\\c\nd",operation="read""#;
        has(&format!(
            r#"zs_request_seconds_bucket{{{labels},le="0.000000256"}} 1"#
        ));
        has(&format!(
            r#"zs_request_seconds_bucket{{{labels},le="0.000000512"}} 3"#
        ));
        has(&format!(
            r#"zs_request_seconds_bucket{{{labels},le="+Inf"}} 7"#
        ));
        has(&format!("zs_request_seconds_sum{{{labels}}} 1.5"));
        has(&format!("zs_request_seconds_count{{{labels}}} 7"));
    }
}
