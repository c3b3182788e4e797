//! Arguments, and what is wrong with them.

mod frag;

pub(crate) use frag::Frag;

use crate::args::page_size;
use crate::failure::Failure;
use crate::units::{SIZES, Share, parse_share, parse_size};
use crate::{ctl, serve};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use zcomp::Algorithm;
use zs_mm::{BLOCK_BYTES, InvalidArena, MAX_ARENA_BYTES, PageSize};
use zs_pages::SampleOptions;

const EXAMPLES: &str = "\
Examples:
  zs estimate -- cargo check
  zs estimate --pid 1234 5678
  zs estimate --all --top 20
  zs estimate --file core.1234 heap.pages.zst --classes
  zs estimate --file db.snapshot --page-size 16k --limit 1G --json
  zs estimate --file heap.pages.zst --free 50%
  zs capture -o heap.pages --pid 1234
  zs serve --size 8G --socket /run/user/1000/disk
  zs serve --size 8G --run 'qemu-img convert -n -O raw in.qcow2 \"$uri\"'
  zs ctl --socket /run/user/1000/disk stat";

const PROCESSES: &str = "\
Processes: the anonymous memory of each is counted, in memory or in swap, and a random sample of its pages is read. A page that is \
read comes back from swap. Pages that a fork shares count once.

Shared memory (memfd, tmpfs and /dev/shm, shmget, shared anonymous mappings) is left out, and its size is printed (the proportional \
share, Pss_Shmem). With --shared it is sampled: the pages that a process has mapped at that moment, each once however many processes \
map it. Shared pages in swap, and those that no process maps, are not seen.

Never read: files, and mappings that are kept out of dumps, locked, of devices, of hugetlbfs, or registered with userfaultfd.

A command is counted while it and its descendants run. Whenever they have grown by a tenth, they are stopped (SIGSTOP), sampled and \
continued; shells with job control and debuggers notice that. The command's standard output goes to standard error.";

const ENDINGS: &str = "\
Exit codes: 0 done; 1 failed, or the command that was watched did; 2 wrong arguments; 3 the limit was reached before all pages were \
stored (the report then covers the pages that fitted).

The pages are collected in a file without a name in $TMPDIR (or /tmp, or /var/tmp where that lies in memory), and each codec is measured in a process of its \
own. Colours are used on a terminal only, and not if NO_COLOR is set.";

const SAMPLE: &str = "Most memory that is read, of all processes together [default: 256M]";

const SHARED: &str =
    "Also sample memory that processes share; without it, only its size is printed";

/// What is sampled of processes if nothing else is asked for, in bytes.
const DEFAULT_SAMPLE: u64 = 256 << 20;

/// What chooses pages, if nothing else is asked for.
const DEFAULT_SEED: u64 = 1;

/// Compressed memory for user space.
#[derive(Debug, Parser)]
#[command(name = "zs", version, arg_required_else_help = true, after_help = EXAMPLES, max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // Their help is that of their options: a comment here would take its place.
    Estimate(Estimate),
    Capture(Capture),
    Frag(Frag),
    Serve(Box<serve::Options>),
    Ctl(ctl::Options),
    /// Measures one codec on the page file at standard input; `estimate` calls it.
    #[command(hide = true)]
    Measure(Job),
}

/// How much memory would compression give back here?
///
/// Takes pages of files, of running processes or of a command, and stores them through the real
/// compressors in a real pool. The memory and time of that are measured, and every page is read
/// back and compared. Pages of one repeated 8-byte word are counted, not stored.
#[derive(Debug, Args)]
#[command(override_usage = "zs estimate [OPTIONS] <--file FILE...|--pid PID...|--all|-- CMD...>")]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{PROCESSES}\n\n{ENDINGS}\n\n{SIZES}"))]
pub(crate) struct Estimate {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[arg(long, value_name = "SIZE", value_parser = sample, help = SAMPLE)]
    sample: Option<u64>,

    /// Number that chooses the sample of processes, and the pages that --free frees; of the same
    /// pages, the same number always chooses the same [default: 1]
    #[arg(long, value_name = "N", value_parser = seed, allow_hyphen_values = true)]
    seed: Option<u64>,

    #[arg(long, help = SHARED)]
    shared: bool,

    /// Show only the first N processes, those that would save most
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) top: Option<u64>,

    /// Also print the size classes that hold objects
    #[arg(long)]
    pub(crate) classes: bool,

    /// Also print the memory that the kernel's zsmalloc, zbud and z3fold would take, by models of
    /// them
    #[arg(long)]
    pub(crate) compare: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Size of a page, and of a frame of the pool [default: 4k; of processes, that of the system]
    #[arg(long, value_name = "SIZE", value_parser = page_size(), ignore_case = true)]
    pub(crate) page_size: Option<PageSize>,

    /// Most memory that a pool may hold, as in 64M or 1G [default: enough for all pages
    /// uncompressed, but no more than is available]
    #[arg(long, value_name = "SIZE", value_parser = limit)]
    pub(crate) limit: Option<u64>,

    /// Then free a random share of the stored pages, as in 50% or 12.5%, compact, and measure
    /// again
    #[arg(long, value_name = "SHARE", value_parser = parse_share, allow_hyphen_values = true)]
    pub(crate) free: Option<Share>,
}

impl Estimate {
    /// Returns how processes are sampled, and what chooses the pages that are freed.
    pub(crate) fn sampling(&self) -> SampleOptions {
        sampling(self.sample, self.seed, self.shared)
    }
}

/// Write pages of processes, or of files, to a file
///
/// The file holds the pages one after the other, and nothing else: for benchmarks, and for `zs
/// estimate --file`. It is the memory of others, with their keys and passwords perhaps, so it is a
/// new file that only its owner can read.
#[derive(Debug, Args)]
#[command(
    override_usage = "zs capture -o FILE [OPTIONS] <--file F...|--pid PID...|--all|-- CMD...>"
)]
#[command(after_long_help = PROCESSES)]
pub(crate) struct Capture {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[arg(long, value_name = "SIZE", value_parser = sample, help = SAMPLE)]
    sample: Option<u64>,

    /// Number that chooses the sample of processes; of the same pages, the same number always
    /// chooses the same [default: 1]
    #[arg(long, value_name = "N", value_parser = seed, allow_hyphen_values = true)]
    seed: Option<u64>,

    #[arg(long, help = SHARED)]
    shared: bool,

    /// File to write to, which must not exist
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

impl Capture {
    /// Returns how processes are sampled.
    pub(crate) fn sampling(&self) -> SampleOptions {
        sampling(self.sample, self.seed, self.shared)
    }
}

/// Where pages come from: one of these.
#[derive(Debug, Args)]
#[group(id = "source", required = true, multiple = false)]
pub(crate) struct SourceArgs {
    /// Files to read, each from the start of a page; a .zst file is unpacked first
    #[arg(long, short, num_args = 1.., value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    /// Processes to sample
    #[arg(long, short, num_args = 1.., value_name = "PID", value_parser = pid, allow_negative_numbers = true)]
    pub(crate) pid: Vec<u32>,

    /// Sample every process that may be read
    #[arg(long)]
    pub(crate) all: bool,

    /// A command to run, and to sample when it is largest
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// One codec, to be measured in this process.
#[derive(Debug, Args)]
pub(crate) struct Job {
    #[arg(long)]
    pub(crate) codec: Algorithm,
    #[arg(long, value_parser = page_size(), ignore_case = true)]
    pub(crate) page_size: PageSize,
    #[arg(long)]
    pub(crate) limit: u64,
    #[arg(long, value_parser = parse_share)]
    pub(crate) free: Option<Share>,
    #[arg(long)]
    pub(crate) compare: bool,
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub(crate) seed: u64,
    /// Pages of each process, in the order of the page file; nothing if they are not of processes.
    #[arg(long)]
    pub(crate) parts: Vec<u64>,
}

fn limit(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        limit if limit < BLOCK_BYTES as u64 => Err(InvalidArena::LimitTooSmall(limit).to_string()),
        limit if limit > MAX_ARENA_BYTES => Err(InvalidArena::LimitTooLarge(limit).to_string()),
        limit => Ok(limit),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    whole(text, "seed")
}

fn count(text: &str) -> Result<u64, String> {
    whole(text, "count")
}

fn whole(text: &str, what: &str) -> Result<u64, String> {
    let wrong = |_| {
        format!(
            "{text:?} is no {what}: expected a whole number from 0 to {}",
            u64::MAX
        )
    };
    text.parse().map_err(wrong)
}

fn sample(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => {
            Err("a sample of nothing says nothing: expected a page at least, as in 64M".to_owned())
        }
        size => Ok(size),
    }
}

fn pid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(format!(
            "{text:?} is no process number: expected a whole number from 1 on, as ps shows it"
        )),
    }
}

fn sampling(bytes: Option<u64>, seed: Option<u64>, shared: bool) -> SampleOptions {
    SampleOptions {
        bytes: bytes.unwrap_or(DEFAULT_SAMPLE),
        seed: seed.unwrap_or(DEFAULT_SEED),
        shared,
    }
}

/// Returns what clap is not asked to check, so that the answer says more than that an argument is
/// missing.
fn checked(command: Command) -> Result<Command, Failure> {
    const NAME_PROCESSES: &str = "leave it out, or name processes by --pid, --all or -- CMD";
    let (source, sample, seed, shared, top, frees) = match &command {
        Command::Estimate(options) => (
            &options.source,
            options.sample,
            options.seed,
            options.shared,
            options.top,
            options.free.is_some(),
        ),
        Command::Capture(options) => (
            &options.source,
            options.sample,
            options.seed,
            options.shared,
            None,
            false,
        ),
        Command::Frag(options) => (
            &options.source,
            options.sample,
            options.seed,
            options.shared,
            None,
            true,
        ),
        Command::Serve(_) | Command::Ctl(_) | Command::Measure(_) => return Ok(command),
    };
    let wrong = if source.file.is_empty() {
        None
    } else if sample.is_some() {
        Some(format!(
            "--sample is given with --file: files are read whole; {NAME_PROCESSES}"
        ))
    } else if shared {
        Some(format!(
            "--shared is given with --file: it is about the memory of processes; {NAME_PROCESSES}"
        ))
    } else if top.is_some() {
        Some(format!(
            "--top is given with --file: it shortens the list of processes; {NAME_PROCESSES}"
        ))
    } else if seed.is_some() && !frees {
        Some(
            "--seed is given without --free: of files it chooses the pages that --free frees; \
             add --free 50%, for example"
                .to_owned(),
        )
    } else {
        None
    };
    wrong.map_or(Ok(command), |text| Err(Failure::Usage(text)))
}

/// Returns an example of the command that an error is about, which its usage names.
fn example(error: &str) -> String {
    let examples = [
        (
            "zs estimate",
            "zs estimate --file /proc/self/exe, or zs estimate -- make",
        ),
        ("zs capture", "zs capture -o heap.pages --pid 1234"),
        ("zs frag", "zs frag --file /proc/self/exe"),
        (
            "zs serve",
            "zs serve --size 8G --socket /run/user/1000/disk",
        ),
    ];
    let meant = |(name, _): &&(&str, &str)| error.contains(&format!("Usage: {name} "));
    let found = examples.iter().find(meant);
    found.map_or_else(String::new, |(_, text)| format!("\nFor example: {text}"))
}

/// Reads the arguments of this process.
pub(crate) fn parse() -> Result<Command, Failure> {
    let error = match Cli::try_parse() {
        Ok(cli) => return checked(cli.command),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayVersion => {
            // Closed or not, there is nothing more to say.
            let _ = error.print();
            Err(Failure::Silent(ExitCode::from(error.exit_code() as u8)))
        }
        kind => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let hint = match kind {
                ErrorKind::MissingRequiredArgument => example(text),
                _ => String::new(),
            };
            Err(Failure::Usage(format!("{}{hint}", text.trim_end())))
        }
    }
}

#[cfg(test)]
mod tests;
