//! The report on processes: a line each, and the total.

use super::Report;
use super::estimator::Saving;
use super::saving::{Row, Savings, Total};
use super::text::fixed;
use crate::output::wrap;
use crate::sources::Live;
use crate::table::{ANSWER, HEADING, new_table, render, styled};
use crate::units::Size;
use comfy_table::Row as TableRow;
use zs_pages::SampledProcess;

/// Columns from which on all columns of the table are shown.
const WIDE: usize = 76;

/// The least that is left for a command's name.
const NAME: usize = 6;

/// A process's name takes no more; the kernel cuts it there.
const LONGEST_NAME: usize = 15;

impl Report {
    /// Returns the first line.
    pub(super) fn live_lead(&self, live: &Live) -> String {
        let sum = |of: fn(&SampledProcess) -> u64| live.processes.iter().map(of).sum::<u64>();
        let (all, sampled) = (sum(SampledProcess::pages), sum(SampledProcess::sampled));
        let weighted = live.processes.iter().map(SampledProcess::weighted_pages);
        let bytes = Size((weighted.sum::<f64>() * self.page.bytes() as f64) as u64);
        let size = Size(self.page.bytes() as u64);
        let count = live.processes.len();
        let plural = if count == 1 { "" } else { "es" };
        let kind = match live.sampling.shared {
            true => "anonymous and shared",
            false => "anonymous",
        };
        if sampled == all {
            format!("all {all} {kind} pages of {size} ({bytes}) of {count} process{plural}")
        } else {
            format!(
                "a random {sampled} of {all} {kind} pages of {size} ({bytes}) of {count} process{plural} (seed {})",
                live.sampling.seed
            )
        }
    }

    /// Returns the table of processes, and what it comes to.
    pub(super) fn live_table(&self, live: &Live, width: usize) -> Vec<String> {
        let savings = self.savings(live);
        let mut lines = vec![self.processes(&savings, width), String::new()];
        let shared = match live.sampling.shared {
            true => ", and shared",
            false => "",
        };
        let legend = format!(
            "memory: anonymous, in memory or swap{shared}; lz4, zstd: memory over held; held, saved, and the error of held (95 %): with lz4"
        );
        lines.push(wrap(&legend, width));
        lines.push(String::new());
        for (index, (name, _)) in self.codecs().into_iter().enumerate() {
            let answer = answer(name, &savings.total, index);
            lines.extend(answer.map(|answer| styled(ANSWER, &wrap(&answer, width))));
        }
        lines.push(String::new());
        lines.push(styled(HEADING, "the sample, measured in a pool"));
        lines
    }

    fn processes(&self, savings: &Savings<'_>, width: usize) -> String {
        let shown = self.top.map_or(usize::MAX, |top| top as usize);
        let is_wide = width >= WIDE;
        let mut rows: Vec<Vec<String>> = Vec::new();
        rows.extend(
            savings
                .rows
                .iter()
                .take(shown)
                .map(|row| cells(row, is_wide)),
        );
        let others = savings.rows.len().saturating_sub(shown);
        rows.push(total_cells(&savings.total, others, is_wide));
        let header: &[&str] = if is_wide {
            &[
                "pid", "command", "memory", "read", "zero", "same", "lz4", "zstd", "held", "saved",
                "error",
            ]
        } else {
            &["pid", "command", "memory", "lz4", "zstd", "saved"]
        };
        shorten_names(&mut rows, header, width);
        let mut table = new_table(width);
        table.set_header(header.to_vec());
        for row in rows {
            table.add_row(TableRow::from(row));
        }
        render(&mut table, &[1], 1)
    }
}

/// Cuts the second column so that lines are no longer than `width`.
fn shorten_names(rows: &mut [Vec<String>], header: &[&str], width: usize) {
    let len = |text: &str| text.chars().count();
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| len(&row[column]));
        cells.max().unwrap_or(0).max(len(header[column]))
    };
    let others: usize = (0..header.len())
        .filter(|&column| column != 1)
        .map(widest)
        .sum();
    let gaps = header.len() - 1;
    let room = width
        .saturating_sub(others + gaps)
        .clamp(NAME, LONGEST_NAME);
    for row in rows {
        row[1] = row[1].chars().take(room).collect();
    }
}

fn cells(row: &Row<'_>, is_wide: bool) -> Vec<String> {
    let process = row.process;
    let middle = Middle {
        memory: row.memory,
        read: process.sampled(),
        zero: row.zero,
        same_filled: row.same_filled,
        savings: row.savings,
    };
    let mut cells = vec![process.pid.to_string(), process.name.clone()];
    cells.extend(middle.cells(is_wide));
    cells
}

fn total_cells(total: &Total, others: usize, is_wide: bool) -> Vec<String> {
    let middle = Middle {
        memory: total.memory,
        read: total.sampled,
        zero: total.zero,
        same_filled: total.same_filled,
        savings: total.savings,
    };
    let name = if others > 0 {
        format!("+{others} more")
    } else {
        String::new()
    };
    let mut cells = vec!["total".to_owned(), name];
    cells.extend(middle.cells(is_wide));
    cells
}

/// The columns that a process and the total share.
struct Middle {
    memory: f64,
    read: u64,
    zero: Option<f64>,
    same_filled: Option<f64>,
    savings: [Option<Saving>; 2],
}

impl Middle {
    fn cells(&self, is_wide: bool) -> Vec<String> {
        let [lz4, zstd] = self.savings;
        let memory = Size(self.memory as u64).to_string();
        let ratio = |saving: Option<Saving>| match saving {
            // Nothing but same-filled pages.
            Some(saving) if saving.held == 0.0 => "all".to_owned(),
            saving => quotient_of(saving.and_then(|saving| saving.ratio(self.memory))),
        };
        let saved = match lz4.map(|saving| saving.saved(self.memory)) {
            None => "-".to_owned(),
            Some(saved) if saved < 0.0 => "none".to_owned(),
            Some(saved) => Size(saved as u64).to_string(),
        };
        let ratios = [ratio(lz4), ratio(zstd)];
        let mut cells = vec![memory];
        if !is_wide {
            cells.extend(ratios);
            cells.push(saved);
            return cells;
        }
        let held = lz4.map_or("-".to_owned(), |saving| {
            Size(saving.held as u64).to_string()
        });
        let error = lz4.map_or("-".to_owned(), |saving| error(saving.error));
        cells.extend([
            self.read.to_string(),
            share(self.zero),
            share(self.same_filled),
        ]);
        cells.extend(ratios);
        cells.extend([held, saved, error]);
        cells
    }
}

/// Returns a ratio, in five columns at most.
fn quotient_of(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if ratio >= 999.5 => ">999".to_owned(),
        Some(ratio) if ratio >= 99.95 => format!("{ratio:.0}"),
        Some(ratio) if ratio >= 9.995 => format!("{ratio:.1}"),
        ratio => fixed(ratio, 2),
    }
}

/// Returns a share as a whole percentage; what is not nothing does not look like nothing.
fn share(share: Option<f64>) -> String {
    match share.map(|share| share * 100.0) {
        None => "-".to_owned(),
        Some(percent) if percent > 0.0 && percent < 1.0 => "<1 %".to_owned(),
        Some(percent) => format!("{percent:.0} %"),
    }
}

/// Returns a relative error.
fn error(error: Option<f64>) -> String {
    match error.map(|error| error * 100.0) {
        None => "?".to_owned(),
        Some(0.0) => "0 %".to_owned(),
        Some(percent) if percent < 0.1 => "<.1 %".to_owned(),
        Some(percent) if percent < 9.95 => format!("{percent:.1} %"),
        Some(percent) => format!("{percent:.0} %"),
    }
}

fn answer(name: &str, total: &Total, codec: usize) -> Option<String> {
    let saving = total.savings[codec]?;
    let memory = total.memory;
    let (held, all) = (Size(saving.held as u64), Size(memory as u64));
    let saved = saving.saved(memory);
    let about = match saving.error {
        Some(0.0) => String::new(),
        None => " (how sure that is, so small a sample does not say)".to_owned(),
        of => format!(" (held: +-{})", error(of)),
    };
    let percent = saved * 100.0 / memory;
    Some(if saved < 0.0 {
        format!("{name} would hold it in {held} instead of {all}: nothing given back{about}")
    } else {
        format!("{name} would hold it in {held} of {all}: {percent:.0} % given back{about}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_errors_are_short() {
        for (value, text) in [
            (None, "-"),
            (Some(0.0), "0 %"),
            (Some(0.001), "<1 %"),
            (Some(0.25), "25 %"),
            (Some(1.0), "100 %"),
        ] {
            assert_eq!(share(value), text);
        }
        for (value, text) in [
            (None, "?"),
            (Some(0.0), "0 %"),
            (Some(0.0004), "<.1 %"),
            (Some(0.0123), "1.2 %"),
            (Some(0.5), "50 %"),
        ] {
            assert_eq!(error(value), text);
        }
    }

    #[test]
    fn ratios_keep_to_their_column() {
        for (ratio, text) in [
            (None, "-"),
            (Some(0.804), "0.80"),
            (Some(9.99), "9.99"),
            (Some(31.43), "31.4"),
            (Some(124.5), "124"),
            (Some(11_935.89), ">999"),
        ] {
            assert_eq!(quotient_of(ratio), text);
        }
    }

    #[test]
    fn names_make_room() {
        let row = |name: &str| vec!["1".to_owned(), name.to_owned(), "10".to_owned()];
        let header = ["pid", "command", "memory"];
        let mut rows = [row("a-very-long-name"), row("sh")];
        shorten_names(&mut rows, &header, 20);
        assert_eq!(rows[0][1], "a-very-lo");
        assert_eq!(rows[1][1], "sh");
        shorten_names(&mut rows, &header, 5);
        assert_eq!(rows[0][1], "a-very");
    }
}
