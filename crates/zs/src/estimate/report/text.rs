//! Sentences and the table.

use super::{Report, classes, overhead};
use crate::estimate::protocol::Measured;
use crate::output::wrap;
use crate::sources::Origin;
use crate::table::{ANSWER, HEADING, new_table, render, styled};
use crate::units::{Size, Time};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;

const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Columns from which on the table's labels are written out.
const WIDE: usize = 64;

/// A line of a table: its label, the same in short, and what it says of a codec.
pub(super) type Row<T> = (&'static str, &'static str, fn(&Report, &T) -> String);

const ROWS: [Row<Measured>; 9] = [
    ("pages stored", "pages stored", |_, codec| {
        codec.stored.to_string()
    }),
    ("payload: the compressed bytes", "payload", |_, codec| {
        Size(codec.payload_bytes).to_string()
    }),
    ("  ratio of the stored pages", "  ratio", |report, codec| {
        fixed(report.compression(codec), 2)
    }),
    ("held: frames and all metadata", "held", |_, codec| {
        Size(codec.held_bytes).to_string()
    }),
    ("  ratio of all pages", "  ratio of all", |report, codec| {
        fixed(report.ratio(codec), 2)
    }),
    (
        "  overhead over the payload",
        "  over payload",
        |_, codec| fixed(overhead(codec), 3),
    ),
    ("resident, as the system counts", "resident", |_, codec| {
        Size(codec.rss_bytes).to_string()
    }),
    ("time to store a page", "store a page", |_, codec| {
        time(codec.store_ns)
    }),
    ("time to load a page", "load a page", |_, codec| {
        time(codec.load_ns)
    }),
];

pub(super) fn fixed(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn time(ns: Option<f64>) -> String {
    ns.map_or("-".to_owned(), |ns| Time(ns).to_string())
}

fn percent(part: u64, whole: u64) -> String {
    let share = part as f64 * 100.0 / whole as f64;
    // Not one page and one page of many look different.
    let decimals = if part == 0 { 0 } else { 1 };
    format!("{share:.decimals$} %")
}

impl Report {
    /// Returns the report for people, on lines of `width` columns where that can be done.
    pub(in crate::estimate) fn text(&self, width: usize) -> String {
        let (lead, notes) = match &self.origin {
            Origin::Files(_) => (self.lead(), self.notes()),
            Origin::Processes(live) => (self.live_lead(live), live.notes(self.page)),
        };
        let mut lines = vec![wrap(&lead, width)];
        lines.extend(notes.iter().map(|note| wrap(note, width)));
        lines.push(String::new());
        if let Origin::Processes(live) = &self.origin {
            lines.extend(self.live_table(live, width));
        }
        lines.push(self.table(&ROWS, [&self.lz4, &self.zstd], width));
        lines.extend(self.answers(width));
        lines.extend(self.after_free(width));
        lines.extend(self.models(width));
        if self.with_classes {
            for (name, codec) in self.codecs() {
                lines.push(String::new());
                lines.push(styled(HEADING, &format!("size classes with {name}")));
                lines.push(classes::table(codec, width));
            }
            lines.push(String::new());
            lines.extend(classes::legend(width).iter().map(|line| wrap(line, width)));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// Returns what was not stored, and, of files, what it comes to; of processes that is said
    /// above.
    fn answers(&self, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, codec) in self.codecs() {
            let warning = self.warning(name, codec);
            lines.extend(warning.map(|text| styled(WARNING, &wrap(&text, width))));
            if matches!(self.origin, Origin::Files(_)) {
                lines.push(styled(ANSWER, &wrap(&self.answer(name, codec), width)));
            }
        }
        if !lines.is_empty() {
            lines.insert(0, String::new());
        }
        lines
    }

    fn lead(&self) -> String {
        let pages = self.pages();
        let mut lead = format!(
            "{pages} {} of {} ({})",
            if pages == 1 { "page" } else { "pages" },
            Size(self.page.bytes() as u64),
            Size(self.bytes()),
        );
        // Both codecs have seen the same pages unless the limit stopped one.
        if !self.limit_reached() {
            let (zero, same) = (self.lz4.zero, self.lz4.same_filled - self.lz4.zero);
            let (zero, same) = (percent(zero, pages), percent(same, pages));
            // Writing to a string does not fail.
            let _ = write!(lead, ": {zero} zero, {same} otherwise same-filled");
        }
        lead
    }

    /// Returns what is to be known of single files.
    fn notes(&self) -> Vec<String> {
        let of = |source: &zs_pages::Source| match (source.bytes, source.padding) {
            (0, _) => Some(format!("{:?} is empty: skipped", source.path)),
            (_, 0) => None,
            (_, padding) => Some(format!(
                "{:?}: last page filled up with {padding} zero {}",
                source.path,
                if padding == 1 { "byte" } else { "bytes" },
            )),
        };
        self.files().iter().filter_map(of).collect()
    }

    /// Returns a table with a column for each codec.
    pub(super) fn table<T>(&self, rows: &[Row<T>], codecs: [&T; 2], width: usize) -> String {
        let mut table = new_table(width);
        let names = self.codecs().map(|(name, _)| name);
        table.set_header([""].into_iter().chain(names));
        for (long, short, value) in rows {
            let label = if width < WIDE { short } else { long };
            let values = codecs.map(|codec| value(self, codec));
            table.add_row([label.to_string()].into_iter().chain(values));
        }
        let gap = if width < WIDE { 2 } else { 4 };
        render(&mut table, &[0], gap)
    }

    fn warning(&self, name: &str, codec: &Measured) -> Option<String> {
        let (done, pages, limit) = (codec.pages, self.pages(), Size(self.limit));
        codec.limit_reached.then(|| {
            format!("{name} stored {done} of {pages} pages: the limit of {limit} is reached")
        })
    }

    fn answer(&self, name: &str, codec: &Measured) -> String {
        let (bytes, held) = (self.bytes_of(codec), codec.held_bytes);
        let what = if codec.limit_reached { "these" } else { "it" };
        let (size, whole) = (Size(held), Size(bytes));
        let change = bytes.abs_diff(held) as f64 * 100.0 / bytes.max(1) as f64;
        if held <= bytes {
            format!("{name} would hold {what} in {size} of {whole}: {change:.0} % given back")
        } else {
            format!("{name} would hold {what} in {size} instead of {whole}: nothing given back")
        }
    }
}
