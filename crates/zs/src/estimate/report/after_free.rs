//! The memory that is held after a share was freed: table and sentence.

use super::text::{Row, fixed};
use super::{Report, quotient};
use crate::estimate::protocol::AfterFree;
use crate::output::wrap;
use crate::table::{ANSWER, HEADING, styled};
use crate::units::{Size, Time};

const ROWS: [Row<AfterFree>; 10] = [
    ("pages freed", "pages freed", |_, after| {
        after.objects_freed.to_string()
    }),
    ("payload of the pages left", "payload left", |_, after| {
        Size(after.payload_bytes).to_string()
    }),
    ("held before compaction", "held before", |_, after| {
        Size(after.held_before_compact_bytes).to_string()
    }),
    (OVERHEAD.0, OVERHEAD.1, |_, after| {
        fixed(after.over_payload(after.held_before_compact_bytes), 3)
    }),
    ("held after compaction", "held after", |_, after| {
        Size(after.held_bytes).to_string()
    }),
    (OVERHEAD.0, OVERHEAD.1, |_, after| {
        fixed(after.over_payload(after.held_bytes), 3)
    }),
    ("resident a second later", "resident", |_, after| {
        Size(after.rss_bytes).to_string()
    }),
    (OVERHEAD.0, OVERHEAD.1, |_, after| {
        fixed(after.over_payload(after.rss_bytes), 3)
    }),
    ("objects moved", "objects moved", |_, after| {
        after.objects_moved.to_string()
    }),
    ("time to compact", "time to compact", |_, after| {
        time(after).to_string()
    }),
];

const OVERHEAD: (&str, &str) = ("  overhead over the payload", "  over payload");

fn time(after: &AfterFree) -> Time {
    Time(after.compact_ms * 1e6)
}

impl AfterFree {
    /// So many bytes over the payload that is left.
    pub(super) fn over_payload(&self, bytes: u64) -> Option<f64> {
        quotient(bytes, self.payload_bytes)
    }
}

impl Report {
    /// Returns the lines about what is left after a share was freed, if one was.
    pub(super) fn after_free(&self, width: usize) -> Vec<String> {
        let [Some(lz4), Some(zstd)] = [&self.lz4.after_free, &self.zstd.after_free] else {
            return Vec::new();
        };
        let heading = format!(
            "after a random {} of the stored pages is freed (seed {})",
            lz4.share_percent, lz4.seed
        );
        let mut lines = vec![
            String::new(),
            styled(HEADING, &wrap(&heading, width)),
            self.table(&ROWS, [lz4, zstd], width),
            String::new(),
        ];
        for (name, after) in [("lz4", lz4), ("zstd", zstd)] {
            lines.push(styled(ANSWER, &wrap(&answer(name, after), width)));
        }
        lines
    }
}

fn answer(name: &str, after: &AfterFree) -> String {
    let freed = match (after.objects_freed, after.objects) {
        (0, _) => "nothing freed".to_owned(),
        (_, 0) => "everything freed".to_owned(),
        _ => format!("a random {} freed", after.share_percent),
    };
    let [before, now] = [after.held_before_compact_bytes, after.held_bytes];
    let over = |bytes| after.over_payload(bytes);
    let (before, now) = match (over(before), over(now)) {
        (Some(before), Some(now)) => (format!("{before:.2}x the payload"), format!("{now:.2}x")),
        _ => (Size(before).to_string(), Size(now).to_string()),
    };
    let time = time(after);
    format!("{name}, {freed}: {before} held; compacted {now}, in {time}")
}
