//! Arguments, and what is wrong with them.

use crate::c_calls::CCalls;
use crate::hostile::Hostile;
use crate::icount::Operation;
use crate::map_modes::MapModes;
use crate::nbd::Nbd;
use crate::store::StoreBench;
use crate::stress::Stress;
use clap::{Args, Parser, Subcommand, value_parser};
use std::path::PathBuf;

/// The project's own benchmarks.
#[derive(Debug, Parser)]
#[command(name = "bench-own", arg_required_else_help = true, max_term_width = 80)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How much memory goes back after a share of the objects was freed, and how fast?
    GiveBack(GiveBack),
    /// How fast, how small and how exact is `zs estimate --pid`?
    Live(Live),
    /// What does a frame's move cost, and what does maintenance make of a churned arena?
    Frames(Frames),
    /// One measurement of the page file at standard input; `frames` calls it.
    #[command(hide = true)]
    MeasureFrames {
        /// What is measured, as JSON.
        job: String,
    },
    /// Threads allocate, map and free, with every byte checked
    Stress(Stress),
    /// What does a call through C cost beside the same call of Rust?
    CCalls(CCalls),
    /// An object that spans frames, in one piece: copied, or mapped once more?
    MapModes(MapModes),
    /// How fast and how dense is the block store, beside its codec, and beside the kernel's zram?
    Store(StoreBench),
    /// One store's memory, of the page file at standard input; `store` calls it.
    #[command(hide = true)]
    MeasureStore {
        /// The seed of its random order.
        seed: String,
    },
    /// How fast is `zs serve`, beside nbdkit's disks of memory and on the kernel's zram?
    Nbd(Nbd),
    /// How long does a good client of `zs serve` wait beside hostile ones?
    Hostile(Hostile),
    /// One kind of operation, often, for callgrind; `cargo xtask icount` calls it.
    #[command(hide = true)]
    Icount {
        /// Which.
        #[arg(value_enum)]
        operation: Operation,
    },
    /// One measurement of the page file at standard input; `give-back` calls it.
    #[command(hide = true)]
    Measure {
        /// What is measured, as JSON.
        job: String,
    },
}

/// How much memory goes back after a share of the objects was freed, and how fast?
///
/// Stores LZ4-compressed pages (4 KiB each, same-filled ones left out), frees a random share of
/// them, compacts and trims, and reads what the pool holds and what is resident; then compares
/// every live object. Each measurement runs in a process of its own.
#[derive(Debug, Args)]
pub(crate) struct GiveBack {
    /// Files of pages; a .zst file is unpacked first [default: this program]
    #[arg(long, num_args = 1.., value_name = "FILE", default_value = "/proc/self/exe", hide_default_value = true)]
    pub(crate) pages: Vec<PathBuf>,

    /// How many times the pages are stored; lengths of all but the first copy are jittered by up
    /// to 8 bytes
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = value_parser!(u32).range(1..=4096))]
    pub(crate) copies: Vec<u32>,

    /// Shares of the objects that are freed, in percent
    #[arg(long, value_delimiter = ',', default_value = "50,75,95", value_parser = percent)]
    pub(crate) free: Vec<u32>,

    /// When memory is read after compaction, in seconds
    #[arg(long, value_delimiter = ',', default_value = "1,90", value_parser = value_parser!(u64).range(0..=3600))]
    pub(crate) settle: Vec<u64>,

    /// Measurements of each case; the figures are medians
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,

    /// Also compact while so many threads read random live objects, in windows that alternate with
    /// idle ones
    #[arg(long, default_value = "0", value_parser = value_parser!(u32).range(0..=256))]
    pub(crate) readers: u32,

    /// What is freed, and the jitter, follow from it
    #[arg(long, default_value = "12345")]
    pub(crate) seed: u32,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Also write the figures to this file, one line a case
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
}

/// What does a frame's move cost, and what does maintenance make of a churned arena?
///
/// Stores LZ4-compressed pages, moves all frames beside copies of 4 KiB between cold frames, frees
/// a random share of a fresh pool and maintains it without a budget, and once more in pieces beside
/// threads that read. Each run is a process of its own; every live object is compared.
#[derive(Debug, Args)]
pub(crate) struct Frames {
    /// Files of pages; a .zst file is unpacked first [default: this program]
    #[arg(long, num_args = 1.., value_name = "FILE", default_value = "/proc/self/exe", hide_default_value = true)]
    pub(crate) pages: Vec<PathBuf>,

    /// How many times the pages are stored; lengths of all but the first copy are jittered by up
    /// to 8 bytes
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=4096))]
    pub(crate) copies: u32,

    /// The share of the objects that is freed, in percent
    #[arg(long, default_value = "75", value_parser = percent)]
    pub(crate) free: u32,

    /// Threads that read beside the maintenance
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(0..=256))]
    pub(crate) readers: u32,

    /// Measurements; the figures are medians
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,

    /// What is freed, the order of moves and the jitter follow from it
    #[arg(long, default_value = "12345")]
    pub(crate) seed: u32,

    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
}

/// How fast, how small and how exact is `zs estimate --pid`?
///
/// Starts python3, node and redis-server one after the other, has them fill memory, and estimates
/// each on one CPU: with the default sample, by seeds from 1 on, and of all pages. A program that
/// is not installed is said, and not measured.
#[derive(Debug, Args)]
pub(crate) struct Live {
    /// The zs that is measured [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) zs: Option<PathBuf>,

    /// Estimates with the default sample; the figures are their worst and their mean
    #[arg(long, default_value = "3", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,

    /// Anonymous memory that each program fills, in MiB; the bars are for 1024
    #[arg(long, default_value = "1024", value_parser = value_parser!(u32).range(64..=65536))]
    pub(crate) mib: u32,

    /// Also write the figures to this file, one line a program
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
}

/// `50` or `50%`.
fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse() {
        Ok(share @ 1..=99) => Ok(share),
        _ => Err("a share is 1 to 99 percent".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shares_leave_something_to_measure() {
        assert_eq!((percent("50"), percent("95%")), (Ok(50), Ok(95)));
        for text in ["0", "100", "-1", "half", "", "5.5"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
