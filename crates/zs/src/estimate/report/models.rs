//! The memory of other allocators, by models of them.

use super::text::fixed;
use super::{Report, overhead, quotient};
use crate::estimate::protocol::Measured;
use crate::output::wrap;
use crate::table::{HEADING, new_table, render, styled};
use crate::units::Size;
use serde::Serialize;

/// A model as `--json` has it.
#[derive(Serialize)]
pub(super) struct ModelObject<'a> {
    name: &'a str,
    frame_bytes: u64,
    overhead: Option<f64>,
}

/// Returns the models of a codec, if they were asked for.
pub(super) fn objects(codec: &Measured) -> Option<Vec<ModelObject<'_>>> {
    let models = codec.models.as_ref()?.iter().map(|model| ModelObject {
        name: &model.name,
        frame_bytes: model.frame_bytes,
        overhead: quotient(model.frame_bytes, codec.payload_bytes),
    });
    Some(models.collect())
}

impl Report {
    /// Returns the lines about what others would hold, if they were asked for.
    pub(super) fn models(&self, width: usize) -> Vec<String> {
        let [Some(lz4), Some(zstd)] = [&self.lz4.models, &self.zstd.models] else {
            return Vec::new();
        };
        let mut table = new_table(width);
        table.set_header(["", "lz4", "over payload", "zstd", "over payload"]);
        let cells = |codec: &Measured, bytes: u64| {
            let over = fixed(quotient(bytes, codec.payload_bytes), 3);
            [Size(bytes).to_string(), over]
        };
        for (one, other) in lz4.iter().zip(zstd) {
            let name = [format!("model: {}", one.name)];
            let lz4 = cells(&self.lz4, one.frame_bytes);
            let zstd = cells(&self.zstd, other.frame_bytes);
            table.add_row(name.into_iter().chain(lz4).chain(zstd));
        }
        let held = |codec: &Measured| {
            let over = fixed(overhead(codec), 3);
            [Size(codec.held_bytes).to_string(), over]
        };
        let name = ["measured: this pool".to_owned()];
        table.add_row(
            name.into_iter()
                .chain(held(&self.lz4))
                .chain(held(&self.zstd)),
        );
        let note = "Models: computed from the lengths of the same objects, not measured; page frames alone, without \
                    those stores' handles and tables. Measured: everything.";
        vec![
            String::new(),
            styled(HEADING, "what others would hold, by models"),
            render(&mut table, &[0], 2),
            wrap(note, width),
        ]
    }
}
