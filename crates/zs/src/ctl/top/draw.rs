//! A frame: what matters most first, so that a small terminal shows that.

use super::history::{History, Rate};
use crate::control::Stat;
use crate::ctl::text::{ratio, time};
use crate::units::Size;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Gauge, Paragraph, Row, Sparkline, Table};

const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);
const GRAPH: Style = Style::new().fg(Color::Green);

/// Rows that are always there: title, memory, sizes, four of requests, keys.
const FIXED_ROWS: u16 = 8;

/// Most rows of the graph, its title among them.
const GRAPH_ROWS: u16 = 6;

/// From so many rows on, the parts stand apart.
const SPACIOUS: u16 = 24;

/// Draws the whole terminal.
pub(super) fn frame(frame: &mut Frame<'_>, history: &History) {
    let stat = history.now();
    let height = frame.area().height;
    let spacing = u16::from(height >= SPACIOUS);
    let left = height.saturating_sub(FIXED_ROWS + 6 * spacing);
    // One row for each algorithm, a heading, and two other forms: all of them, or none.
    let forms = stat.algorithms.len() as u16 + 3;
    let forms = if left >= forms { forms } else { 0 };
    let rows = [1, 1, 1, 4, (left - forms).min(GRAPH_ROWS), forms, 1];
    let [title, gauge, sizes, requests, graph, blocks, keys] =
        Layout::vertical(rows.map(Constraint::Length))
            .spacing(spacing)
            .areas(frame.area());
    frame.render_widget(Line::styled(heading(stat), HEADING), title);
    frame.render_widget(memory(stat), gauge);
    frame.render_widget(Line::raw(stored(stat)), sizes);
    frame.render_widget(rates(history), requests);
    draw_graph(frame, history, graph);
    frame.render_widget(forms_of(stat), blocks);
    frame.render_widget(Paragraph::new("q quits"), keys);
}

fn heading(stat: &Stat) -> String {
    let name = match stat.export.as_str() {
        "" => "zs".to_owned(),
        name => format!("zs {name}"),
    };
    let clients = match stat.clients {
        1 => "1 client".to_owned(),
        count => format!("{count} clients"),
    };
    format!(
        "{name}: {}, {clients}, ratio {}",
        Size(stat.disksize),
        ratio(stat)
    )
}

fn memory(stat: &Stat) -> Gauge<'static> {
    let share = stat.mem_used_total as f64 / stat.mem_limit.max(1) as f64;
    let label = format!(
        "memory {} of {}",
        Size(stat.mem_used_total),
        Size(stat.mem_limit)
    );
    // A store may for a moment hold more than a limit that was just lowered.
    let gauge = Gauge::default().ratio(share.clamp(0.0, 1.0)).label(label);
    gauge.gauge_style(GRAPH)
}

fn stored(stat: &Stat) -> String {
    let mut text = format!(
        "data {} as {}",
        Size(stat.orig_data_size),
        Size(stat.compr_data_size)
    );
    if stat.backing_size > 0 {
        text.push_str(&format!(", backing {}", Size(stat.backing_used)));
    }
    text
}

/// Columns of the table of rates: 40 together.
const WIDTHS: [usize; 5] = [5, 8, 11, 8, 8];

fn rates(history: &History) -> Table<'static> {
    let row = |name: &str, rate: Rate, bytes: String| {
        let requests = rate.requests.to_string();
        cells([name, &requests, &bytes, &time(rate.p50), &time(rate.p99)])
    };
    let bytes = |rate: Rate| format!("{}/s", Size(rate.bytes));
    let (read, write) = (history.read(), history.write());
    let rows = [
        row("read", read, bytes(read)),
        row("write", write, bytes(write)),
        row("trim", history.discard(), "-".to_owned()),
    ];
    let header = cells(["", "req/s", "bytes/s", "p50 <", "p99 <"]).style(HEADING);
    let widths = WIDTHS.map(|width| Constraint::Length(width as u16));
    Table::new(rows, widths).header(header).column_spacing(0)
}

/// Returns a row, all but the first cell to the right.
fn cells(texts: [&str; 5]) -> Row<'static> {
    let pairs = texts.iter().zip(WIDTHS).enumerate();
    Row::new(pairs.map(|(index, (text, width))| match index {
        0 => (*text).to_owned(),
        _ => format!("{text:>width$}"),
    }))
}

fn draw_graph(frame: &mut Frame<'_>, history: &History, area: Rect) {
    if area.height < 2 {
        return;
    }
    let data = history.throughput(area.width.into());
    let most = data.iter().max().copied().unwrap_or(0);
    let [title, graph] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let text = format!("bytes/s, at most {}/s", Size(most));
    frame.render_widget(Line::styled(text, HEADING), title);
    frame.render_widget(Sparkline::default().data(data).style(GRAPH), graph);
}

/// Returns the blocks by the form that they are stored in.
fn forms_of(stat: &Stat) -> Table<'static> {
    let algorithms = stat.algorithms.iter();
    let mut rows: Vec<(String, u64)> = algorithms
        .map(|one| (one.name.clone(), one.blocks))
        .collect();
    rows.push(("as they are".to_owned(), stat.huge_pages));
    rows.push(("same-filled".to_owned(), stat.same_pages));
    let rows = rows
        .into_iter()
        .map(|(name, blocks)| Row::new([name, format!("{blocks:>12}")]));
    let header = Row::new(["stored".to_owned(), format!("{:>12}", "blocks")]);
    Table::new(rows, [Constraint::Length(14), Constraint::Length(12)]).header(header.style(HEADING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{AlgorithmBlocks, Buckets, Operations};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::{Duration, Instant};

    fn operations(requests: u64) -> Operations {
        let mut latency = vec![0; 40];
        latency[12] = requests;
        Operations {
            requests,
            bytes: requests * 4096,
            latency: Buckets(latency),
            ..Operations::default()
        }
    }

    fn stat(requests: u64) -> Stat {
        let one = |priority, name: &str, blocks| AlgorithmBlocks {
            priority,
            name: name.to_owned(),
            blocks,
        };
        Stat {
            clients: 2,
            disksize: 8 << 30,
            orig_data_size: 1000 << 20,
            compr_data_size: 380 << 20,
            mem_used_total: 400 << 20,
            mem_limit: 1600 << 20,
            huge_pages: 12_345,
            same_pages: 678,
            backing_size: 8 << 30,
            backing_used: 5 << 20,
            algorithms: vec![one(0, "lz4", 200_000), one(1, "zstd:9", 31)],
            read: operations(requests),
            write: operations(3 * requests),
            ..Stat::default()
        }
    }

    /// Returns what a terminal of that size shows, without blanks at the ends of lines.
    fn shown(width: u16, height: u16) -> Vec<String> {
        let start = Instant::now();
        let mut history = History::new(stat(0), start);
        for second in 1..100 {
            history.add(
                stat(second * second * 400),
                start + Duration::from_secs(second),
            );
        }
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|area| frame(area, &history)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |row: &[ratatui::buffer::Cell]| {
            let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            line.trim_end().to_owned()
        };
        buffer.content().chunks(width.into()).map(line).collect()
    }

    #[test]
    fn a_usual_terminal_shows_everything() {
        let shown = shown(80, 24);
        let text = shown.join("\n");
        assert_eq!(shown[0], "zs: 8 GiB, 2 clients, ratio 2.50");
        assert!(shown[2].contains("memory 400 MiB of 1.56 GiB"), "{text}");
        assert_eq!(shown[4], "data 0.98 GiB as 380 MiB, backing 5 MiB");
        assert_eq!(shown[6], "        req/s    bytes/s   p50 <   p99 <");
        assert_eq!(shown[7], "read    78800  308 MiB/s 8.19 us 8.19 us");
        assert_eq!(shown[9], "trim        0          -       -       -");
        assert_eq!(shown[11], "bytes/s, at most 1.20 GiB/s");
        assert!(
            shown[15].ends_with("▆▆▇▇▇█") || shown[15].contains("████"),
            "{text}"
        );
        assert_eq!(shown[18], "lz4                  200000");
        assert_eq!(shown[19], "zstd:9                   31");
        assert_eq!(shown[23], "q quits");
    }

    #[test]
    fn a_small_terminal_shows_what_matters() {
        let shown = shown(40, 10);
        let text = shown.join("\n");
        assert_eq!(shown[0], "zs: 8 GiB, 2 clients, ratio 2.50");
        assert_eq!(shown[4], "read    78800  308 MiB/s 8.19 us 8.19 us");
        assert!(shown[8].contains('█'), "{text}");
        assert_eq!(shown[9], "q quits");
        assert!(!text.contains("zstd:9"), "{text}");
    }

    #[test]
    fn no_terminal_is_too_small() {
        for (width, height) in [(1, 1), (20, 4), (200, 3), (3, 60)] {
            let rows = shown(width, height);
            assert_eq!(rows.len(), usize::from(height));
        }
    }
}
