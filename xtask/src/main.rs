//! `cargo xtask VERB`: everything that CI runs, as commands that anyone can run.
//!
//! A verb prints each command it starts and ends with one `PASS` or `FAIL` line. A `FAIL` is
//! followed by the command that repeats it.
//!
//! | module | verbs |
//! |---|---|
//! | [`checks`] | `fmt`, `clippy`, `docs`, `test`, `no-std` |
//! | [`freestanding`] | the program that `no-std` builds and runs |
//! | [`fuzz`] | `fuzz` |
//! | [`layers`] | `layers`: who may depend on whom, and what source files may say |
//! | [`licences`] | `licences` |
//! | [`arms`] | `loom`, `schedules` |
//! | [`mutants`] | `mutants` |
//! | [`sanitizers`] | `asan`, `tsan` |
//! | [`clients`] | `clients`: `zs serve` against programs that others wrote, and under stress |
//! | [`capi`] | `capi`: libzsmalloc, with C and C++ programs |
//! | [`mod@bench`] | `bench`: this project beside other allocators |
//! | [`icount`] | `icount`: instructions of an operation, against a baseline |
//! | [`ci`] | `ci`: all of them, two at a time; `step`: one of them |
//!
//! [`cli`] holds the command line, [`verbs`] runs what it asks for, [`command`] starts processes,
//! [`report`] prints verdicts, [`test_output`] and [`test_watch`] read what the test harness
//! prints, [`workspace`] knows the files.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its terminal"
)]

mod arms;
mod bench;
mod capi;
mod checks;
mod ci;
mod cli;
mod clients;
mod command;
mod freestanding;
mod fuzz;
mod icount;
mod layers;
mod licences;
mod mutants;
mod report;
mod sanitizers;
mod test_output;
mod test_watch;
mod verbs;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match workspace::Workspace::find().and_then(|workspace| cli.verb.execute(&workspace)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
