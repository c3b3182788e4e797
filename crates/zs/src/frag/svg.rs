//! The report as a picture: maps before and after, and memory over time. Plain SVG 1.1; nothing in
//! it comes from a user, so nothing is escaped.

use super::cells::{Cell, blocks_per_cell, cells};
use super::outcome::{Bytes, Moment, Outcome};
use crate::units::Size;
use std::fmt::Write as _;

const WIDTH: usize = 960;
const MARGIN: usize = 24;

/// Cells of a row of a map, and the side of one.
const COLUMNS: usize = 32;
const SIDE: usize = 14;

/// A map that would need more rows has more blocks to a cell.
const MOST_ROWS: usize = 32;

/// Where the maps begin: below their titles.
const MAP_TOP: usize = 56;

const CHART_HEIGHT: usize = 220;
/// Room for the labels left of and below the chart.
const AXIS: usize = 64;
const BELOW: usize = 48;
/// What a letter of a label is wide at most, and what two rows of labels are apart.
const LETTER: f64 = 8.0;
const LABEL_ROW: f64 = 13.0;

const FULL: &str = "#2f7d4f";
const FREE: &str = "#e9edf0";
const OFFLINE: &str = "#c0392b";
const RESIDENT: &str = "#c0392b";
const PAYLOAD: &str = "#2f7d4f";
const TEXT: &str = "#333333";

/// A picture that grows. Writing to a string does not fail, so results of writes are dropped.
#[derive(Default)]
struct Picture(String);

impl Picture {
    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = writeln!(
            self.0,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), style: &str) {
        let _ = writeln!(
            self.0,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" {style}/>"#
        );
    }

    fn rect(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), fill: &str) {
        let _ = writeln!(
            self.0,
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>"#
        );
    }

    /// A map whose upper left corner is at (`left`, [`MAP_TOP`]).
    fn map(&mut self, left: usize, cells: &[Cell]) {
        for (row, cells) in cells.chunks(COLUMNS).enumerate() {
            let mut column = 0;
            for run in cells.chunk_by(|a, b| a.fill() == b.fill()) {
                let at = (left + column * SIDE, MAP_TOP + row * SIDE);
                self.rect(at, (run.len() * SIDE, SIDE - 1), &run[0].fill());
                column += run.len();
            }
        }
    }
}

impl Cell {
    /// Returns the colour: the fuller, the darker, in sixteen steps.
    fn fill(self) -> String {
        match self {
            Self::Full => FULL.to_owned(),
            Self::Free => FREE.to_owned(),
            Self::Offline => OFFLINE.to_owned(),
            Self::Mixed(share) => {
                let step = (share * 16.0).round() / 16.0;
                let (light, dark) = ([0xfb, 0xe6, 0xa8], [0xd9, 0x8e, 0x04]);
                let mut colour = "#".to_owned();
                for (light, dark) in light.into_iter().zip(dark) {
                    let part = f64::from(light) + (f64::from(dark) - f64::from(light)) * step;
                    let _ = write!(colour, "{:02x}", part.round() as u8);
                }
                colour
            }
        }
    }
}

/// The area in which lines are drawn, and what its edges stand for.
struct Chart {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    seconds: f64,
    bytes: f64,
}

impl Chart {
    fn x(&self, seconds: f64) -> f64 {
        self.left + self.width * seconds / self.seconds
    }

    fn y(&self, bytes: f64) -> f64 {
        self.top + self.height * (1.0 - bytes / self.bytes)
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn axes(&self, picture: &mut Picture) {
        let grid = r##"stroke="#dddddd""##;
        let step = byte_step(self.bytes);
        for tick in (0..).map(|tick| f64::from(tick) * step) {
            if tick > self.bytes {
                break;
            }
            let y = self.y(tick);
            picture.line((self.left, y), (self.left + self.width, y), grid);
            let label = Size(tick as u64).to_string();
            picture.text(self.left - 8.0, y + 4.0, "end", &label);
        }
        let step = second_step(self.seconds);
        for tick in (0..).map(|tick| f64::from(tick) * step) {
            if tick > self.seconds {
                break;
            }
            let x = self.x(tick);
            picture.line((x, self.bottom()), (x, self.bottom() + 5.0), grid);
            picture.text(x, self.bottom() + 18.0, "middle", &self.time(tick));
        }
    }

    /// Returns a time, in the unit that suits the whole; without the last digits of inexact steps.
    fn time(&self, seconds: f64) -> String {
        let (factor, unit) = match self.seconds {
            all if all >= 1.0 => (1.0, "s"),
            all if all >= 1e-3 => (1e3, "ms"),
            _ => (1e6, "us"),
        };
        format!("{} {unit}", (seconds * factor * 1e3).round() / 1e3)
    }

    fn curve(&self, picture: &mut Picture, history: &[Moment], bytes: Bytes, colour: &str) {
        let points = history.iter().map(|moment| {
            let (x, y) = (self.x(moment.seconds), self.y(bytes(moment) as f64));
            format!("{x:.1},{y:.1}")
        });
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            picture.0,
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#
        );
    }
}

/// Returns the least power of two of bytes that makes at most six steps.
fn byte_step(most: f64) -> f64 {
    let mut step = 1.0;
    while most / step > 6.0 {
        step *= 2.0;
    }
    step
}

/// Returns the least of 1, 2 and 5 times a power of ten, in seconds, that makes at most ten steps.
fn second_step(most: f64) -> f64 {
    let mut step = 1e-9;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if most / step <= 10.0 {
            break;
        }
        step *= factor;
    }
    step
}

impl Outcome {
    /// Returns the picture, as the text of an SVG file.
    pub(crate) fn svg(&self) -> String {
        let mut picture = Picture::default();
        let chart_top = self.maps(&mut picture) + 40;
        let height = chart_top + CHART_HEIGHT + BELOW;
        self.chart(&mut picture, chart_top);
        let body = picture.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" \
             fill=\"{TEXT}\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
        )
    }

    /// Draws both maps and what their colours mean; returns where they end.
    fn maps(&self, picture: &mut Picture) -> usize {
        let frames = self.page.frames_per_block() as u16;
        let longest = self.before.blocks.len().max(self.after.blocks.len());
        let per_cell = blocks_per_cell(longest, COLUMNS * MOST_ROWS);
        let right = WIDTH - MARGIN - COLUMNS * SIDE;
        for (left, name, at) in [
            (MARGIN, "before", &self.before),
            (right, "after", &self.after),
        ] {
            let title = format!(
                "{name}: {} resident, {} payload, {} of {} pageblocks free",
                Size(at.rss_bytes),
                Size(at.payload_bytes),
                at.free_blocks(),
                at.blocks.len()
            );
            picture.text(left as f64, (MAP_TOP - 16) as f64, "start", &title);
            picture.map(left, &cells(&at.blocks, frames, per_cell));
        }
        let rows = longest.div_ceil(per_cell).div_ceil(COLUMNS);
        let end = MAP_TOP + rows * SIDE + 12;
        let mut left = MARGIN;
        for (cell, what) in [
            (Cell::Full, "full"),
            (Cell::Mixed(0.75), "partly in use: the darker, the fuller"),
            (Cell::Free, "free"),
            (Cell::Offline, "offline"),
        ] {
            picture.rect((left, end), (12, 12), &cell.fill());
            picture.text((left + 18) as f64, (end + 10) as f64, "start", what);
            left += 42 + 7 * what.len();
        }
        let blocks = Size((per_cell * zs_mm::BLOCK_BYTES) as u64);
        let scale = format!("a cell is {blocks}");
        picture.text((WIDTH - MARGIN) as f64, (end + 10) as f64, "end", &scale);
        end + 12
    }

    /// Draws memory over time, with a line where each phase began.
    fn chart(&self, picture: &mut Picture, top: usize) {
        let Some(last) = self.history.last() else {
            return;
        };
        let most = |moment: &Moment| moment.rss_bytes.max(moment.payload_bytes);
        let chart = Chart {
            left: (MARGIN + AXIS) as f64,
            top: top as f64,
            width: (WIDTH - 2 * MARGIN - AXIS) as f64,
            height: CHART_HEIGHT as f64,
            seconds: last.seconds.max(1e-9),
            bytes: self.history.iter().map(most).max().unwrap_or(1).max(1) as f64,
        };
        chart.axes(picture);
        // Two rows of labels: one that finds no room in either is left out.
        let mut taken = [0.0; 2];
        for mark in &self.marks {
            let x = chart.x(mark.seconds);
            let dashed = r##"stroke="#888888" stroke-dasharray="3 3""##;
            picture.line((x, chart.top), (x, chart.bottom()), dashed);
            if let Some(row) = taken.iter().position(|&end| end <= x) {
                taken[row] = x + 4.0 + mark.what.len() as f64 * LETTER;
                let above = 6.0 + row as f64 * LABEL_ROW;
                picture.text(x + 4.0, chart.top - above, "start", mark.what);
            }
        }
        let curves: [(&str, &str, Bytes); 2] = [
            ("resident", RESIDENT, |moment| moment.rss_bytes),
            ("live payload", PAYLOAD, |moment| moment.payload_bytes),
        ];
        for (index, (name, colour, bytes)) in curves.into_iter().enumerate() {
            chart.curve(picture, &self.history, bytes, colour);
            let left = MARGIN + AXIS + index * 120;
            let below = top + CHART_HEIGHT + 30;
            picture.rect((left, below), (12, 12), colour);
            picture.text((left + 18) as f64, (below + 10) as f64, "start", name);
        }
    }
}
