//! The pictures.

use super::phase::{Moment, Outcome, Phase};
use super::report::{Fate, Report, Row};
use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (960, 480);
const FONT: (&str, u32) = ("sans-serif", 15);

/// Colours that are told apart by most eyes (Okabe and Ito), this project's first.
const COLOURS: [RGBColor; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// One allocator's thread, drawn with its colour; those with huge pages are only in the figures.
fn drawn(report: &Report) -> impl Iterator<Item = (&Row, &[Outcome], RGBColor)> {
    let rows = report
        .rows
        .iter()
        .filter(|row| row.threads == 1 && !row.huge);
    rows.zip(COLOURS)
        .filter_map(|(row, colour)| match &row.fate {
            Fate::Measured(outcomes) => Some((row, outcomes.as_slice(), colour)),
            Fate::Failed(_) => None,
        })
}

/// Resident memory through the whole run: a line for each allocator, and the payload of the first.
pub(super) fn memory(report: &Report) -> Result<String> {
    // The run of the middle, by its length: a run is one line, not a mean of many.
    let lines: Vec<_> = drawn(report)
        .filter_map(|(row, outcomes, colour)| Some((row.name(), middle(outcomes)?, colour)))
        .collect();
    let moments = || lines.iter().flat_map(|(_, moments, _)| moments.iter());
    let end = moments().map(|moment| moment.ms).fold(1.0, f64::max);
    let top = moments()
        .map(|moment| moment.resident_mib)
        .fold(1.0, f64::max)
        * 1.05;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                "Memory: load, read, free a random half, purge, refill, churn, purge, free, load, free, purge",
                FONT,
            )
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(75)
            .build_cartesian_2d(0.0..end, 0.0..top)
            .map_err(failed)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("ms of work")
            .y_desc("resident, MiB")
            .x_label_formatter(&whole)
            .y_label_formatter(&whole)
            .light_line_style(TRANSPARENT);
        mesh.label_style(FONT).draw().map_err(failed)?;
        if let Some((_, moments, _)) = lines.first() {
            let payload = moments.iter().map(|moment| (moment.ms, moment.payload_mib));
            let area = AreaSeries::new(payload, 0.0, RGBColor(225, 225, 225));
            let series = chart.draw_series(area).map_err(failed)?;
            series.label("live payload").legend(|(x, y)| {
                Rectangle::new(
                    [(x, y - 5), (x + 18, y + 5)],
                    RGBColor(225, 225, 225).filled(),
                )
            });
        }
        for (name, moments, colour) in &lines {
            let points = moments
                .iter()
                .map(|moment| (moment.ms, moment.resident_mib));
            let series = chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))
                .map_err(failed)?;
            let colour = *colour;
            series.label(name).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
            });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .position(SeriesLabelPosition::LowerLeft)
            .label_font(FONT)
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The moments of the run that took the middle time of all.
fn middle(outcomes: &[Outcome]) -> Option<&[Moment]> {
    let mut runs: Vec<&[Moment]> = outcomes
        .iter()
        .map(|outcome| outcome.moments.as_slice())
        .collect();
    let length = |moments: &[Moment]| moments.last().map_or(0.0, |last| last.ms);
    runs.sort_by(|a, b| length(a).total_cmp(&length(b)));
    runs.get(runs.len() / 2).copied()
}

/// What the bars show: the operation, its name, and which figure of it.
const OPERATIONS: [(Phase, &str); 6] = [
    (Phase::Insert, "insert (mean)"),
    (Phase::Read, "read"),
    (Phase::ReadPass, "read pass"),
    (Phase::ReadMany, "read many"),
    (Phase::FreeHalf, "free"),
    (Phase::Churn, "churn"),
];

/// Time of an operation, a bar for each allocator: the median, or the mean where there is none, or
/// where it says more.
pub(super) fn time(report: &Report) -> Result<String> {
    let rows: Vec<_> = drawn(report).collect();
    let ns = |row: &Row, phase| {
        let figures = row.figures(phase)?;
        let p50 = figures.p50_ns.filter(|_| phase != Phase::Insert);
        Some(p50.unwrap_or(figures.mean_ns))
    };
    let all = OPERATIONS
        .iter()
        .flat_map(|&(phase, _)| rows.iter().filter_map(move |(row, ..)| ns(row, phase)));
    let top = all.fold(1.0, f64::max) * 1.1;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Time of an operation, one thread", FONT)
            .margin(12)
            .x_label_area_size(30)
            .y_label_area_size(75)
            .build_cartesian_2d(0.0..OPERATIONS.len() as f64, 0.0..top)
            .map_err(failed)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .disable_x_axis()
            .y_desc("ns (p50)")
            .y_label_formatter(&whole)
            .light_line_style(TRANSPARENT);
        mesh.label_style(FONT).draw().map_err(failed)?;
        let width = 0.84 / rows.len().max(1) as f64;
        for (number, (row, _, colour)) in rows.iter().enumerate() {
            let bar = |(group, &(phase, _)): (usize, &(Phase, &str))| {
                let left = group as f64 + 0.08 + number as f64 * width;
                let corners = [(left, 0.0), (left + width * 0.92, ns(row, phase)?)];
                Some(Rectangle::new(corners, colour.filled()))
            };
            let bars = OPERATIONS.iter().enumerate().filter_map(bar);
            let colour = *colour;
            let series = chart.draw_series(bars).map_err(failed)?;
            series.label(row.name()).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled())
            });
        }
        for (group, (_, name)) in OPERATIONS.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(group as f64 + 0.5, 0.0));
            let style =
                TextStyle::from(FONT.into_font()).pos(plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Center,
                    plotters::style::text_anchor::VPos::Top,
                ));
            area.draw_text(name, &style, (x, y + 8)).map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .position(SeriesLabelPosition::UpperRight)
            .label_font(FONT)
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A number on an axis.
fn whole(number: &f64) -> String {
    format!("{number:.0}")
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture cannot be drawn: {error}")
}
