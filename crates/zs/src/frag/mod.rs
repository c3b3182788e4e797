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
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// Prints what was found out, and draws it into `picture` if that was asked for.
fn present(outcome: &Outcome, options: &Frag, picture: Option<Picture<'_>>) -> Result<(), Failure> {
    // Drawn first, since the reader of the text may be gone; what went wrong with it is said after
    // the text.
    let drawn = picture.map_or(Ok(()), |picture| picture.write(&outcome.svg()));
    let text = if options.json {
        outcome.json()?
    } else {
        outcome.text(output::width())
    };
    output::print(&text)?;
    drawn
}

/// The file that a picture goes into.
struct Picture<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Picture<'a> {
    /// Opens the file before the work, which takes long: what cannot be written to is told at once.
    fn open(path: &'a Path) -> Result<Self, Failure> {
        match File::create(path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(Failure::Failed(format!("{path:?}: {error}"))),
        }
    }

    fn write(mut self, svg: &str) -> Result<(), Failure> {
        let written = self.file.write_all(svg.as_bytes());
        written.map_err(|error| Failure::Failed(format!("{:?}: {error}", self.path)))
    }
}
