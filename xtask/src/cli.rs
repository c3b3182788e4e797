//! The command line: verbs, their options, and the steps that `ci` is made of.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Checks of this workspace, the same for people and for CI.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 80)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run every check below, two at a time (what .ci/run does)
    Ci(CiArgs),
    /// Run one step of `ci` as it does; asan, tsan and fuzz then prove
    /// themselves first
    Step {
        step: Step,
        /// As `ci --full` does
        #[arg(long)]
        full: bool,
    },
    /// Check the formatting of every crate
    Fmt,
    /// Check dependency order and what source files may say
    Layers,
    /// Check the licence of every dependency
    Licences,
    /// Lint every target with every feature, warnings denied
    Clippy,
    /// Build the documentation, warnings denied
    Docs,
    /// Build the lower crates, and run a program of them, without the
    /// standard library
    NoStd,
    /// Run unit, integration and documentation tests
    Test,
    /// Run the tests of memory pressure in a small virtual machine
    Pressure,
    /// Run `zs serve` with the clients and file systems that are installed, and
    /// under stress for a minute
    Clients,
    /// Run the loom models (tests/loom_*.rs)
    Loom(ArmArgs),
    /// Run seeded schedules of threads (tests/schedule_*.rs); ZS_SEED=n runs
    /// one seed again
    Schedules(ArmArgs),
    /// Break the code as listed and require that tests notice
    Mutants(MutantsArgs),
    /// Run the lower crates' tests under AddressSanitizer
    Asan(SanitizerArgs),
    /// Run the lower crates' tests under ThreadSanitizer
    Tsan(SanitizerArgs),
    /// Build libzsmalloc, and run C and C++ programs with it
    Capi(CapiArgs),
    /// Run the fuzz targets (fuzz/), each for some seconds
    Fuzz(FuzzArgs),
    /// Measure this project beside others; no part of `ci`
    #[command(subcommand)]
    Bench(BenchVerb),
    /// Count the instructions of an operation under valgrind, and compare them
    /// with bench/results/icount.csv; no part of `ci`
    Icount(IcountArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Run `bench-own store`, the block store beside its codec and the
    /// kernel's zram, with these arguments (--help lists them)
    Store {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build `zs`, and run `bench-own nbd`, its server beside others, with
    /// these arguments (--help lists them)
    Nbd {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build every allocator that can be built, and run `bench-rivals
    /// allocators` with these arguments (--help lists them)
    Allocators {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct IcountArgs {
    /// Write the counts as the new baseline instead
    #[arg(long)]
    pub(crate) write: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct CiArgs {
    /// Leave a step out (may be repeated)
    #[arg(long, value_name = "STEP")]
    pub(crate) skip: Vec<Step>,
    /// Go on after a failed step
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Run every mutation, fuzz for a minute a target, stress for ten minutes
    #[arg(long)]
    pub(crate) full: bool,
}

/// How long the steps take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What tells most in a second.
    Short,
    /// Everything.
    Full,
}

impl Depth {
    /// Returns what `--full` asks for.
    pub(crate) fn of(full: bool) -> Self {
        if full { Self::Full } else { Self::Short }
    }

    /// Returns the time after which a step is killed.
    pub(crate) fn step_limit(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(20 * 60),
            Self::Full => Duration::from_secs(90 * 60),
        }
    }
}

impl CiArgs {
    pub(crate) fn depth(&self) -> Depth {
        Depth::of(self.full)
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct ArmArgs {
    /// Run only the tests whose name contains this
    pub(crate) filter: Option<String>,
    /// Build and run only this test target, such as loom_lock
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct MutantsArgs {
    /// Only the mutations whose name contains this
    pub(crate) filter: Option<String>,
    /// List the mutations and run nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Only those whose file or test changed since the last full run, and a few others by turns,
    /// as `ci` does
    #[arg(long)]
    pub(crate) few: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SanitizerArgs {
    /// Instead of the tests, run a program with a seeded fault and require
    /// that the sanitizer reports it
    #[arg(long)]
    pub(crate) prove: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct CapiArgs {
    /// Only write the headers anew (crates/zs-capi/include)
    #[arg(long, conflicts_with = "install")]
    pub(crate) write: bool,
    /// Only build the library, and install it with its headers under this folder
    #[arg(long, value_name = "PREFIX")]
    pub(crate) install: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Run only this target
    pub(crate) target: Option<String>,
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value_t = FUZZ_SECONDS)]
    pub(crate) seconds: u32,
    /// Instead of the targets, run those with a seeded fault and require
    /// that the fuzzer finds it
    #[arg(long, conflicts_with_all = ["target", "seconds"])]
    pub(crate) prove: bool,
}

/// Seconds for each fuzz target where nobody says otherwise.
const FUZZ_SECONDS: u32 = 6;

impl Default for FuzzArgs {
    fn default() -> Self {
        Self {
            target: None,
            seconds: FUZZ_SECONDS,
            prove: false,
        }
    }
}

/// One step of `ci`: a verb without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    Fmt,
    Layers,
    Licences,
    Clippy,
    Docs,
    NoStd,
    Test,
    Pressure,
    Clients,
    Loom,
    Schedules,
    Mutants,
    Asan,
    Tsan,
    Capi,
    Fuzz,
}

impl Step {
    /// The verb as it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Layers => "layers",
            Self::Licences => "licences",
            Self::Clippy => "clippy",
            Self::Docs => "docs",
            Self::NoStd => "no-std",
            Self::Test => "test",
            Self::Pressure => "pressure",
            Self::Clients => "clients",
            Self::Loom => "loom",
            Self::Schedules => "schedules",
            Self::Mutants => "mutants",
            Self::Asan => "asan",
            Self::Tsan => "tsan",
            Self::Capi => "capi",
            Self::Fuzz => "fuzz",
        }
    }

    /// What it builds in, below `target`: cargo lets nobody else build there meanwhile.
    pub(crate) fn build_folders(self) -> &'static [&'static str] {
        match self {
            Self::Fmt | Self::Layers | Self::Licences | Self::Clippy => &["debug"],
            Self::Docs | Self::NoStd | Self::Test | Self::Pressure | Self::Clients => &["debug"],
            Self::Loom => &["loom"],
            Self::Schedules => &["schedules"],
            // And a few in `debug`, which it waits for.
            Self::Mutants => &["loom", "schedules"],
            Self::Tsan => &["tsan"],
            // `capi` builds in `release`, too, where no other step does.
            Self::Asan | Self::Fuzz | Self::Capi => &["asan"],
        }
    }
}
