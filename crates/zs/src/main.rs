//! The command-line tool: arguments in, library calls, printing.
//!
//! | module | responsibility |
//! |---|---|
//! | `cli` | arguments, and what is wrong with them |
//! | `estimate` | `zs estimate`: what would compression give back? |
//! | `units` | sizes, times and shares, read and written |
//! | `output` | text to standard output, a closed pipe included |
//! | `failure` | how the tool ends |

#![forbid(unsafe_code)]

mod cli;
mod estimate;
mod failure;
mod output;
mod units;

use cli::Command;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = cli::parse().and_then(|command| match command {
        Command::Estimate(options) => estimate::run(&options),
        Command::Measure(job) => estimate::measure_as_child(&job),
    });
    outcome.unwrap_or_else(Failure::end)
}
