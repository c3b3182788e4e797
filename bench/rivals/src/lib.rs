//! This project beside other allocators.
//!
//! Data model: `parent -> child processes, one a rival and run, in turn -> medians -> ratio ->
//! bar`.
//!
//! | module | responsibility |
//! |---|---|
//! | `cli` | arguments |
//! | `allocators` | the rivals of `bench_own::allocators` |
//! | `stress` | the stress protocol: its parent, its children |
//! | `stress::blobs` | what a store of blobs must do |
//! | `stress::zs`, `stress::mimalloc` | stores of blobs |
//! | `stress::worker` | one thread's operations |

#![deny(unsafe_code)]

mod allocators;
mod cli;
mod stress;

use clap::Parser as _;
use cli::{Cli, Command};
use std::io::{self, Write as _};
use std::process::ExitCode;

pub use stress::{Store, Stress, nanoseconds};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Stress(options) => stress::run(&options),
        Command::Allocators(options) => allocators::run(&options),
        Command::MeasureAllocator { name, job } => allocators::measure(&name, &job),
        Command::Measure { store, options } => stress::measure(store, &options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told that standard error is closed.
            let _ = writeln!(io::stderr(), "bench-rivals: {error:#}");
            ExitCode::FAILURE
        }
    }
}
