//! Arguments.

use crate::stress::{Store, Stress};
use bench_own::allocators::Allocators;
use clap::{Parser, Subcommand};

/// This project's benchmarks beside other allocators, each in a process of its own.
#[derive(Debug, Parser)]
#[command(
    name = "bench-rivals",
    arg_required_else_help = true,
    max_term_width = 80
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The stress protocol: libzsmalloc beside exact-size blobs of mimalloc
    Stress(Stress),
    /// The same work on these pools and on other allocators, in turn
    Allocators(Allocators),
    /// One run of one allocator on the objects at standard input; `allocators` calls it.
    #[command(hide = true)]
    MeasureAllocator {
        /// Whose.
        name: String,
        /// What, as JSON.
        job: String,
    },
    /// One run of one store; `stress` calls it.
    #[command(hide = true)]
    Measure {
        /// Whose.
        #[arg(value_enum)]
        store: Store,
        /// How.
        #[command(flatten)]
        options: Stress,
    },
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
