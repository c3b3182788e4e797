//! The project's own benchmarks: how much memory compaction gives back, how long locks are held
//! meanwhile, how `zs estimate` does on live processes, the stress protocol, and what a call
//! through C costs.
//!
//! `give-back`: pages -> LZ4 -> objects -> a share freed -> compact, trim -> held and resident ->
//! bars. `frames`: pages -> LZ4 -> objects -> frames moved; a share freed -> maintained, beside
//! readers -> bars. `live`: programs that fill memory -> `zs estimate` -> time, memory, ratios ->
//! bars. `stress`: threads -> operations on pools, compaction beside them -> contents checked.
//! `allocators` (run by `bench-rivals`): the same work on these pools and on other allocators, in
//! turn -> times and memory. `nbd`: pages -> NBD -> `zs serve` and rivals, in turn -> times and
//! memory -> bars. `hostile`: a good client of `zs serve`, alone and beside each kind of hostile
//! ones -> times -> bar. `store`: pages -> block store, bare codec, the kernel's zram, in turn ->
//! times and memory -> bars. `c-calls`: the same calls by Rust and through C, in turn -> medians ->
//! bar.
//!
//! | module | responsibility |
//! |---|---|
//! | `cli` | arguments, and what is wrong with them |
//! | `give_back` | the parent, its measuring children, the bars |
//! | `frames` | frames moved, and maintenance, the bars |
//! | `live` | programs, `zs estimate` on them, the bars |
//! | `stress` | threads that allocate, map and free |
//! | [`allocators`] | these pools beside other allocators: all but the rivals |
//! | `c_calls` | what a call through C costs |
//! | `icount` | operations whose instructions are counted |
//! | `nbd` | the NBD server beside others |
//! | `hostile` | a good client of the NBD server beside hostile ones |
//! | `store` | the block store beside its codec, and beside the kernel's |
//! | `zram_device` | a zram device of the kernel |
//! | `map_modes` | an object that spans frames: copied, or mapped once more |
//! | `load` | the objects: which bytes each consists of |
//! | `holds` | how long locks are held (feature `hold-hook`) |
//! | `figures` | named numbers, their medians, and whether they meet a bar |
//! | `measured` | measurements in a process of their own |
//! | `machine` | what the figures were measured on |
//! | `numbers` | a generator of numbers, medians and quantiles |

#![deny(unsafe_code)]

pub mod allocators;
mod c_calls;
mod cli;
mod figures;
mod frames;
mod give_back;
#[cfg(feature = "hold-hook")]
mod holds;
mod hostile;
mod icount;
mod live;
mod load;
pub mod machine;
mod map_modes;
mod measured;
mod nbd;
pub mod numbers;
mod store;
mod stress;
mod zram_device;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use cli::{Cli, Command};

pub use c_calls::{CCalls, CallCost, run as c_calls};
pub use stress::contents;
pub use stress::{
    Counts as StressCounts, Memory, Outcome as StressOutcome, Pools, Stress, run as stress,
};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::GiveBack(options) => give_back::run(&options),
        Command::Live(options) => live::run(&options),
        Command::Frames(options) => frames::run(&options),
        Command::MeasureFrames { job } => frames::measure_as_child(&job),
        Command::Measure { job } => give_back::measure_as_child(&job),
        Command::Stress(options) => stress::run_and_print(&options),
        Command::MapModes(options) => map_modes::run(&options),
        Command::MeasureStore { seed } => store::measure_as_child(&seed),
        Command::Store(options) => store::run(&options),
        Command::Nbd(options) => nbd::run(&options),
        Command::Hostile(options) => hostile::run(&options),
        Command::Icount { operation } => icount::run(operation),
        Command::CCalls(options) => c_calls::run_and_print(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says something to whoever watches, on standard error.
fn note(text: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(io::stderr(), "bench-own: {text}");
}
