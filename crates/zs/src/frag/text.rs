//! The report for people: maps of signs, a line over time, a table, sentences.

use super::cells::{Cell, blocks_per_cell, cells};
use super::outcome::{Bytes, Moment, Outcome, Snapshot};
use crate::output::wrap;
use crate::table::{ANSWER, HEADING, new_table, render, styled};
use crate::units::{Size, Time};
use anstyle::{AnsiColor, Style};
use zs_mm::BLOCK_BYTES;

const FULL: Style = AnsiColor::Green.on_default();
const MIXED: Style = AnsiColor::Yellow.on_default();
const FREE: Style = Style::new().dimmed();
const OFFLINE: Style = AnsiColor::Red.on_default();

/// Signs for eighths, from one to seven, and the whole.
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Columns before a row: an address, or what a line shows.
const LABEL: usize = 9;

/// A map that would need more rows has more blocks to a sign.
const MOST_ROWS: usize = 16;

impl Cell {
    fn sign(self) -> (Style, char) {
        match self {
            Self::Full => (FULL, '█'),
            Self::Mixed(share) => {
                let eighths = (share * 8.0).ceil() as usize;
                (MIXED, EIGHTHS[eighths.clamp(1, 7) - 1])
            }
            Self::Free => (FREE, '·'),
            Self::Offline => (OFFLINE, '×'),
        }
    }
}

/// Signs of a row: as many as fit, a power of two.
fn columns(width: usize) -> usize {
    let most = width.saturating_sub(LABEL + 1).max(1);
    1 << most.ilog2()
}

/// Returns the map of an arena in rows of at most `width` columns (if that is 11 at least), each
/// with the address that it begins at.
fn map(cells: &[Cell], blocks_per_cell: usize, width: usize) -> Vec<String> {
    let columns = columns(width);
    let rows = cells.chunks(columns).enumerate();
    let row = |(number, row): (usize, &[Cell])| {
        let start = (number * columns * blocks_per_cell * BLOCK_BYTES) as u64;
        format!("{:>LABEL$} {}", Size(start), signs(row))
    };
    rows.map(row).collect()
}

/// Signs of one style have it once.
fn signs(cells: &[Cell]) -> String {
    let mut text = String::new();
    let same = |a: &Cell, b: &Cell| a.sign().0 == b.sign().0;
    for run in cells.chunk_by(same) {
        let signs: String = run.iter().map(|cell| cell.sign().1).collect();
        text += &styled(run[0].sign().0, &signs);
    }
    text
}

/// Returns what the signs mean.
fn legend(blocks_per_cell: usize, width: usize) -> String {
    let size = Size((blocks_per_cell * BLOCK_BYTES) as u64);
    let blocks = match blocks_per_cell {
        1 => "a pageblock".to_owned(),
        many => format!("{many} pageblocks"),
    };
    let kinds = [
        (Cell::Full, "full"),
        (Cell::Mixed(0.5), "partly in use"),
        (Cell::Free, "free"),
        (Cell::Offline, "offline"),
    ];
    let signs = kinds.map(|(cell, what)| format!("{} {what}", cell.sign().1));
    let plain = format!("{}; a sign is {blocks} ({size})", signs.join(", "));
    // Coloured last: styles take no columns.
    kinds.iter().fold(wrap(&plain, width), |text, (cell, _)| {
        let (style, sign) = cell.sign();
        text.replace(sign, &styled(style, &sign.to_string()))
    })
}

/// Returns the bytes over time, as a row of bars; a full bar is `most`. Each column shows
/// the last reading of its part of the time, or of those before.
fn over_time(history: &[Moment], bytes: Bytes, most: u64, columns: usize) -> String {
    let last = history.last().map_or(0.0, |moment| moment.seconds);
    let mut next = 0;
    let column = |column: usize| {
        let end = last * (column + 1) as f64 / columns as f64;
        while next + 1 < history.len() && history[next + 1].seconds <= end {
            next += 1;
        }
        let eighths = bytes(&history[next]) as f64 * 8.0 / most.max(1) as f64;
        EIGHTHS[(eighths.ceil() as usize).clamp(1, 8) - 1]
    };
    (0..columns).map(column).collect()
}

impl Outcome {
    /// Returns the report for people, on lines of `width` columns where that can be done.
    pub(crate) fn text(&self, width: usize) -> String {
        let frames = self.page.frames_per_block() as u16;
        let longest = self.before.blocks.len().max(self.after.blocks.len());
        let per_cell = blocks_per_cell(longest, columns(width) * MOST_ROWS);
        let mut lines = vec![wrap(&self.lead(), width)];
        for (name, snapshot) in [("before", &self.before), ("after", &self.after)] {
            lines.push(String::new());
            lines.push(styled(HEADING, name));
            let cells = cells(&snapshot.blocks, frames, per_cell);
            lines.extend(map(&cells, per_cell, width));
        }
        lines.push(legend(per_cell, width));
        lines.extend(self.history_lines(width));
        lines.push(String::new());
        lines.push(self.table(width));
        lines.push(String::new());
        lines.push(styled(ANSWER, &wrap(&self.answer(), width)));
        lines.extend(self.readers_line().map(|line| wrap(&line, width)));
        lines.push(String::new());
        lines.join("\n")
    }

    fn lead(&self) -> String {
        let (pages, page) = (self.pages, Size(self.page.bytes() as u64));
        let noun = if pages == 1 { "page" } else { "pages" };
        let times = match self.rounds {
            1 => "once".to_owned(),
            rounds => format!("{rounds} times"),
        };
        format!(
            "{pages} {noun} of {page}, {} of them freed at random {times}",
            self.free
        )
    }

    fn history_lines(&self, width: usize) -> Vec<String> {
        let Some(last) = self.history.last() else {
            return Vec::new();
        };
        let columns = columns(width);
        let peak = self.history.iter().map(|moment| moment.rss_bytes).max();
        let peak = peak.unwrap_or_default();
        let line = |name, bytes| {
            let signs = over_time(&self.history, bytes, peak, columns);
            format!("{name:>LABEL$} {signs}")
        };
        vec![
            String::new(),
            styled(
                HEADING,
                &wrap(
                    &format!("{} from left to right", Time(last.seconds * 1e9)),
                    width,
                ),
            ),
            line("resident", |moment| moment.rss_bytes),
            line("payload", |moment| moment.payload_bytes),
            wrap(&format!("A full bar is {}.", Size(peak)), width),
        ]
    }

    fn table(&self, width: usize) -> String {
        let mut table = new_table(width);
        table.set_header(["", "before", "after"]);
        let mut row = |name: &str, value: &dyn Fn(&Snapshot) -> String| {
            table.add_row([name.to_owned(), value(&self.before), value(&self.after)]);
        };
        row("payload", &|at| Size(at.payload_bytes).to_string());
        row("resident", &|at| Size(at.rss_bytes).to_string());
        row("  over payload", &|at| {
            at.overhead()
                .map_or("-".to_owned(), |overhead| format!("{overhead:.2}"))
        });
        row("pageblocks", &|at| at.blocks.len().to_string());
        row("  free", &|at| at.free_blocks().to_string());
        render(&mut table, &[0], 4)
    }

    fn answer(&self) -> String {
        let back = self.before.rss_bytes.saturating_sub(self.after.rss_bytes);
        format!(
            "{} of the {} pageblocks that could be free are free; {} given back in {}, {} frames and {} objects moved",
            self.after.free_blocks(),
            self.blocks_possible,
            Size(back),
            Time(self.seconds * 1e9),
            self.frames_moved,
            self.objects_moved,
        )
    }

    fn readers_line(&self) -> Option<String> {
        let readers = self.readers?;
        let time = |ns: u64| Time(ns as f64);
        let (idle, busy) = (readers.idle, readers.busy);
        Some(format!(
            "readers meanwhile: half within {}, 99 % within {}; with nothing else going on: {}, {}",
            time(busy.p50_ns),
            time(busy.p99_ns),
            time(idle.p50_ns),
            time(idle.p99_ns),
        ))
    }
}
