//! The command-line tool: arguments in, library calls, printing.
//!
//! | module | responsibility |
//! |---|---|
//! | `cli` | arguments, and what is wrong with them |
//! | `sources` | where pages come from: files, processes, a command |
//! | `sample_warnings` | what is to be known of pages of processes |
//! | `estimate` | `zs estimate`: what would compression give back? |
//! | `frag` | `zs frag`: what do compaction and migration make of a fragmented arena? |
//! | `capture` | `zs capture`: pages, written to a file |
//! | `limit` | the most that a pool may hold |
//! | `serve` | `zs serve`: a disk for whoever speaks NBD |
//! | `ctl` | `zs ctl`: what a running `zs serve` is told and asked |
//! | `control` | the requests and answers between these two |
//! | `progress` | a bar on the terminal |
//! | `table` | tables and styles of reports |
//! | `units` | sizes, times and shares, read and written |
//! | `output` | text to standard output, a closed pipe included |
//! | `failure` | how the tool ends |

#![forbid(unsafe_code)]

mod args;
mod capture;
mod cli;
mod control;
mod ctl;
mod estimate;
mod failure;
mod frag;
mod limit;
mod output;
mod pool;
mod progress;
mod sample_warnings;
mod serve;
mod sources;
mod table;
mod units;

use cli::Command;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = cli::parse().and_then(|command| match command {
        Command::Estimate(options) => estimate::run(&options),
        Command::Capture(options) => capture::run(&options),
        Command::Frag(options) => frag::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Ctl(options) => ctl::run(&options),
        Command::Measure(job) => estimate::measure_as_child(&job),
    });
    outcome.unwrap_or_else(Failure::end)
}
