//! Arguments of `zs frag`.

use super::{PROCESSES, SAMPLE, SHARED, SourceArgs, limit, sample, sampling, seed};
use crate::args::page_size;
use crate::units::{Share, parse_share};
use clap::Args;
use clap::value_parser;
use std::path::PathBuf;
use zs_mm::PageSize;
use zs_pages::SampleOptions;

const EXAMPLES: &str = "\
Examples:
  zs frag --file heap.pages.zst
  zs frag --pid 1234 --free 90% --rounds 10 --svg frag.svg
  zs frag --file db.snapshot --arena-size 512M --json";

const ENDINGS: &str = "\
Exit codes: 0 done; 1 failed, or the command did; 2 wrong arguments; 3 the limit was reached before all pages were stored (the \
report then covers the pages that fitted).

Colours are used on a terminal only, and not if NO_COLOR is set.";

/// Fragment an arena, mend it, and draw both
///
/// Takes pages of files, of running processes or of a command, and stores them compressed. Frees a
/// random share and fills up again, as often as --rounds says, and frees that share a last time.
/// Then objects and frames are moved until free memory is in whole pageblocks of 2 MiB, while
/// readers go on. Prints a map of the pageblocks before and after, memory over time, and the number
/// of objects and frames that were moved.
#[derive(Debug, Args)]
#[command(override_usage = "zs frag [OPTIONS] <--file FILE...|--pid PID...|--all|-- CMD...>")]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{PROCESSES}\n\n{ENDINGS}"))]
pub(crate) struct Frag {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[arg(long, value_name = "SIZE", value_parser = sample, help = SAMPLE)]
    pub(super) sample: Option<u64>,

    /// Number that chooses the sample of processes, and the pages that are freed; of the same
    /// pages, the same number always chooses the same [default: 1]
    #[arg(long, value_name = "N", value_parser = seed, allow_hyphen_values = true)]
    pub(super) seed: Option<u64>,

    #[arg(long, help = SHARED)]
    pub(super) shared: bool,

    /// Random share of the stored pages that is freed
    #[arg(long, value_name = "SHARE", value_parser = parse_share, allow_hyphen_values = true, default_value = "75%")]
    pub(crate) free: Share,

    /// How often that share is freed, 1 to 1000; it is filled up in between
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1000), allow_negative_numbers = true, default_value_t = 4)]
    pub(crate) rounds: u32,

    /// Most memory that the arena may hold, as in 64M or 1G [default: enough for all pages
    /// uncompressed, but no more than is available]
    #[arg(long, visible_alias = "arena-size", value_name = "SIZE", value_parser = limit)]
    pub(crate) limit: Option<u64>,

    /// Size of a page, and of a frame of the arena [default: 4k; of processes, that of the system]
    #[arg(long, value_name = "SIZE", value_parser = page_size(), ignore_case = true)]
    pub(crate) page_size: Option<PageSize>,

    /// Also draw a picture into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

impl Frag {
    /// Returns how processes are sampled, and what chooses the pages that are freed.
    pub(crate) fn sampling(&self) -> SampleOptions {
        sampling(self.sample, self.seed, self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        frag: Frag,
    }

    fn parsed(arguments: &[&str]) -> Result<Frag, String> {
        let arguments = ["zs", "--file", "pages"].iter().chain(arguments);
        match Command::try_parse_from(arguments) {
            Ok(command) => Ok(command.frag),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn three_quarters_go_four_times_unless_something_else_is_asked_for() {
        let frag = parsed(&[]).unwrap();
        assert_eq!((frag.free.of(100), frag.rounds, frag.limit), (75, 4, None));
        assert!(!frag.json && frag.svg.is_none());
        let frag = parsed(&["--free", "12.5%", "--rounds", "1000", "--arena-size", "1G"]).unwrap();
        assert_eq!((frag.free.of(1000), frag.rounds), (125, 1000));
        assert_eq!(frag.limit, Some(1 << 30));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (arguments, part) in [
            (["--rounds", "0"], "1..=1000"),
            (["--rounds", "-1"], "1..=1000"),
            (["--rounds", "1001"], "1..=1000"),
            (["--free", "75"], "expected 0% to 100%"),
            (["--free", "-5%"], "expected 0% to 100%"),
            (
                ["--arena-size", "1M"],
                "below one pageblock (2097152 bytes)",
            ),
            (["--limit", "2T"], "above the largest arena"),
            (["--seed", "x"], "expected a whole number"),
            (["--page-size", "8k"], "possible values: 4k, 16k, 64k"),
        ] {
            let error = parsed(&arguments).unwrap_err();
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
    }
}
