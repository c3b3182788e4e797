//! The table of size classes.

use crate::estimate::protocol::{Class, Measured};
use crate::table::{new_table, render};
use crate::units::Size;

/// Columns from which on the table is shown whole.
const WIDE: usize = 72;

/// Returns what the columns mean that are shown on so many columns.
pub(super) fn legend(width: usize) -> &'static [&'static str] {
    if width < WIDE {
        &["size: bytes of a slot; 72 columns or --json show more"]
    } else {
        &[
            "size: bytes of a slot; chain, slots: frames and slots of a whole zspage",
            "fullness: zspages with 0 %, below 10 %, ... below 100 %, and 100 % of their slots in use; a dot is none, \
             + is 10 or more",
        ]
    }
}

/// Returns the classes of one codec's pool that hold objects.
pub(super) fn table(codec: &Measured, width: usize) -> String {
    let mut table = new_table(width);
    if width < WIDE {
        table.set_header(["size", "objects", "frames", "payload"]);
    } else {
        table.set_header([
            "size", "chain", "slots", "objects", "frames", "zspages", "payload", "fullness",
        ]);
    }
    for class in &codec.classes {
        let payload = Size(class.payload_bytes).to_string();
        let [size, objects, frames] =
            [class.size.into(), class.objects, class.frames.into()].map(|n: u64| n.to_string());
        if width < WIDE {
            table.add_row([size, objects, frames, payload]);
            continue;
        }
        let [chain, slots, zspages] =
            [class.chain.into(), class.slots.into(), class.zspages].map(|n: u32| n.to_string());
        let fullness = fullness(class);
        table.add_row([
            size, chain, slots, objects, frames, zspages, payload, fullness,
        ]);
    }
    render(&mut table, &[], 2)
}

/// Returns the fullness groups, a character each.
fn fullness(class: &Class) -> String {
    let character = |&zspages: &u32| match zspages {
        0 => '.',
        few => char::from_digit(few, 10).unwrap_or('+'),
    };
    class.groups.iter().map(character).collect()
}
