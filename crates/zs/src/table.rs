//! Tables and styles of reports.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const ANSWER: Style = AnsiColor::Green.on_default().bold();

pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Makes a table without lines, for `width` columns.
pub(crate) fn new_table(width: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table
}

/// Draws a table: the columns of `left` to the left, the others to the right, `gap` blanks between,
/// its header bold.
pub(crate) fn render(table: &mut Table, left: &[usize], gap: u16) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { gap }, 0));
        column.set_cell_alignment(if left.contains(&index) {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        });
    }
    let lines = table.lines().enumerate().map(|(index, line)| match index {
        0 => styled(HEADING, line.trim_end()),
        _ => line.trim_end().to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
