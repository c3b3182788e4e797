//! `zs frag`: what do compaction and migration make of a fragmented arena?
//!
//! `pages -> pool, churned -> before -> maintained -> after -> report`
//!
//! | module | responsibility |
//! |---|---|
//! | `run` | the work |
//! | `churn` | a pool that is filled, freed and refilled at random |
//! | `reading` | what is held and resident, as time goes by |
//! | `readers` | threads that read meanwhile |
//! | `outcome` | what was found out; the JSON object |
//! | `cells` | pageblocks, put together until they fit a picture |
//! | `text` | maps, a line over time, a table and sentences for a terminal |
//! | `svg` | the same as a picture |

mod cells;
mod churn;
mod outcome;
mod readers;
mod reading;
mod run;
mod svg;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use run::run;

use crate::cli::Frag;
use crate::failure::Failure;
use crate::output;
use outcome::Outcome;

/// Prints what was found out, and writes the picture if one is asked for.
fn present(outcome: &Outcome, options: &Frag) -> Result<(), Failure> {
    if let Some(path) = &options.svg {
        let written = std::fs::write(path, outcome.svg());
        written.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    }
    let text = if options.json {
        outcome.json()?
    } else {
        outcome.text(output::width())
    };
    output::print(&text)
}
