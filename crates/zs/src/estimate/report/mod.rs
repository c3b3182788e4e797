//! The report, as text and as JSON.
//!
//! | module | responsibility |
//! |---|---|
//! | `text` | sentences and the table |
//! | `processes` | a line for each process |
//! | `processes_json` | the same for programs |
//! | `saving` | what compression would save of each |
//! | `estimator` | what a pool would hold, from a sample, and how sure that is |
//! | `after_free` | what is held after a share was freed: table and sentence |
//! | `models` | what other stores would hold |
//! | `classes` | the table of size classes |
//! | `json` | one object for programs |

mod after_free;
mod classes;
mod estimator;
mod json;
mod models;
mod processes;
mod processes_json;
mod saving;
mod text;

use crate::estimate::protocol::{AfterFree, Measured};
use crate::sources::Origin;
use zs_mm::PageSize;
use zs_pages::{SampledProcess, Source};

/// Everything that is reported.
pub(super) struct Report {
    pub(super) page: PageSize,
    pub(super) origin: Origin,
    pub(super) limit: u64,
    pub(super) lz4: Measured,
    pub(super) zstd: Measured,
    pub(super) with_classes: bool,
    /// The most processes that the text shows.
    pub(super) top: Option<u64>,
}

impl Report {
    /// Each codec by name.
    fn codecs(&self) -> [(&'static str, &Measured); 2] {
        [("lz4", &self.lz4), ("zstd", &self.zstd)]
    }

    /// Says whether any codec's pool reached its limit before all pages were stored.
    pub(super) fn limit_reached(&self) -> bool {
        self.codecs().iter().any(|(_, codec)| codec.limit_reached)
    }

    /// Returns the files, if they are files.
    fn files(&self) -> &[Source] {
        match &self.origin {
            Origin::Files(files) => files,
            Origin::Processes(_) => &[],
        }
    }

    /// Returns the number of bytes of all sources, without padding: of processes, those that were
    /// sampled.
    fn bytes(&self) -> u64 {
        match &self.origin {
            Origin::Files(files) => files.iter().map(|file| file.bytes).sum(),
            Origin::Processes(live) => {
                let pages: u64 = live.processes.iter().map(SampledProcess::sampled).sum();
                pages << self.page.shift()
            }
        }
    }

    fn padding(&self) -> u64 {
        self.files().iter().map(|file| file.padding).sum()
    }

    fn pages(&self) -> u64 {
        (self.bytes() + self.padding()) >> self.page.shift()
    }

    /// Returns the number of bytes of the sources that are within the pages which a codec got to.
    fn bytes_of(&self, codec: &Measured) -> u64 {
        if codec.limit_reached {
            codec.pages << self.page.shift()
        } else {
            self.bytes()
        }
    }

    /// Returns the source bytes over held bytes.
    fn ratio(&self, codec: &Measured) -> Option<f64> {
        quotient(self.bytes_of(codec), codec.held_bytes)
    }

    /// Returns the bytes of the pages that are left, same-filled ones among them, over held bytes.
    fn ratio_after_free(&self, codec: &Measured, after: &AfterFree) -> Option<f64> {
        let left = codec.pages - after.objects_freed;
        quotient(left << self.page.shift(), after.held_bytes)
    }

    /// Returns the bytes of the stored pages over those of their compressed forms.
    fn compression(&self, codec: &Measured) -> Option<f64> {
        quotient(codec.stored << self.page.shift(), codec.payload_bytes)
    }
}

/// Held bytes over payload.
fn overhead(codec: &Measured) -> Option<f64> {
    quotient(codec.held_bytes, codec.payload_bytes)
}

fn quotient(above: u64, below: u64) -> Option<f64> {
    (below > 0).then(|| above as f64 / below as f64)
}
