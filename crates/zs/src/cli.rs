//! Arguments, and what is wrong with them.

use crate::failure::Failure;
use crate::units::{Share, parse_share, parse_size};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use zcomp::Algorithm;
use zs_mm::{BLOCK_BYTES, InvalidArena, MAX_ARENA_BYTES, PageSize};

const EXAMPLES: &str = "\
Examples:
  zs estimate --file /proc/self/exe
  zs estimate --file core.1234 heap.pages.zst --classes
  zs estimate --file db.snapshot --page-size 16k --limit 1G --json
  zs estimate --file heap.pages.zst --free 50%";

const ENDINGS: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 the limit was reached before all pages were stored (the report then \
covers the pages that fitted).

The sources are unpacked to a file without a name in $TMPDIR (or /tmp), and each codec is measured in a process of its \
own. Colours are used on a terminal only, and not if NO_COLOR is set.";

/// What chooses the pages that `--free` frees, if nothing else is asked for.
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
    /// How much memory would compression give back for these bytes?
    Estimate(Estimate),
    /// Measures one codec on the page file at standard input; `estimate` calls it.
    #[command(hide = true)]
    Measure(Job),
}

/// How much memory would compression give back for these bytes?
///
/// Cuts the files into pages, stores them through the real compressors in a real pool, measures what that takes,
/// reads every page back and compares it. Pages of one repeated 8-byte word are counted, not stored.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{ENDINGS}"))]
pub(crate) struct Estimate {
    /// Files to read, each from the start of a page; a .zst file is unpacked first
    #[arg(long, short, required = true, num_args = 1.., value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    /// Also print the size classes that hold objects
    #[arg(long)]
    pub(crate) classes: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Size of a page, and of a frame of the pool
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = page_size())]
    pub(crate) page_size: PageSize,

    /// Most memory that a pool may hold, as in 64M or 1G [default: enough for all pages uncompressed, but no more
    /// than is available]
    #[arg(long, value_name = "SIZE", value_parser = limit)]
    pub(crate) limit: Option<u64>,

    /// Then free a random share of the stored pages, as in 50% or 12.5%, compact, and measure again
    #[arg(long, value_name = "SHARE", value_parser = parse_share, allow_hyphen_values = true)]
    pub(crate) free: Option<Share>,

    /// Which pages --free chooses: with the same files, a seed always chooses the same [default: 1]
    #[arg(long, value_name = "N", value_parser = seed, allow_hyphen_values = true)]
    seed: Option<u64>,
}

impl Estimate {
    /// What chooses the pages that are freed.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(DEFAULT_SEED)
    }
}

/// One codec, to be measured in this process.
#[derive(Debug, Args)]
pub(crate) struct Job {
    #[arg(long)]
    pub(crate) codec: Algorithm,
    #[arg(long, value_parser = page_size())]
    pub(crate) page_size: PageSize,
    #[arg(long)]
    pub(crate) limit: u64,
    #[arg(long, value_parser = parse_share)]
    pub(crate) free: Option<Share>,
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub(crate) seed: u64,
}

/// The page sizes as they are written, and as [`PageSize`] displays itself.
const PAGE_SIZES: [(&str, PageSize); 3] = [
    ("4k", PageSize::K4),
    ("16k", PageSize::K16),
    ("64k", PageSize::K64),
];

fn page_size() -> impl TypedValueParser<Value = PageSize> {
    PossibleValuesParser::new(PAGE_SIZES.map(|(name, _)| name)).map(|given| {
        let named = PAGE_SIZES.into_iter().find(|(name, _)| *name == given);
        named.map_or_else(PageSize::default, |(_, size)| size)
    })
}

fn limit(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        limit if limit < BLOCK_BYTES as u64 => Err(InvalidArena::LimitTooSmall(limit).to_string()),
        limit if limit > MAX_ARENA_BYTES => Err(InvalidArena::LimitTooLarge(limit).to_string()),
        limit => Ok(limit),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    let wrong = |_| {
        format!(
            "{text:?} is no seed: expected a whole number from 0 to {}",
            u64::MAX
        )
    };
    text.parse().map_err(wrong)
}

/// What clap is not asked to check, so that the answer says more than that an argument is missing.
fn checked(command: Command) -> Result<Command, Failure> {
    match command {
        Command::Estimate(Estimate { seed: Some(_), free: None, .. }) => Err(Failure::Usage(
            "--seed is given without --free: it chooses the pages that --free frees; add --free 50%, for example".to_owned(),
        )),
        command => Ok(command),
    }
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
                ErrorKind::MissingRequiredArgument => {
                    "\nFor example: zs estimate --file /proc/self/exe"
                }
                _ => "",
            };
            Err(Failure::Usage(format!("{}{hint}", text.trim_end())))
        }
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
    fn page_sizes_are_written_as_they_are_displayed() {
        for size in PageSize::ALL {
            assert!(PAGE_SIZES.contains(&(size.to_string().as_str(), size)));
        }
    }

    #[test]
    fn seeds_are_whole_numbers() {
        assert_eq!(seed("0"), Ok(0));
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "-1", "1.5", "one", "18446744073709551616"] {
            let error = seed(text).unwrap_err();
            assert!(
                error.contains("expected a whole number from 0 to"),
                "{error}"
            );
        }
    }

    #[test]
    fn limits_are_those_of_an_arena() {
        assert_eq!(limit("2M"), Ok(2 << 20));
        assert_eq!(limit("1T"), Ok(1 << 40));
        for (text, part) in [
            (
                "0",
                "a limit of 0 bytes is below one pageblock (2097152 bytes)",
            ),
            ("2097151", "below one pageblock"),
            ("1025G", "above the largest arena (1099511627776 bytes)"),
            ("lots", "is no size"),
        ] {
            let error = limit(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
