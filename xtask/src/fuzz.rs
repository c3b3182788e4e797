//! `fuzz`: the targets of `fuzz/`, built by the nightly compiler as cargo-fuzz builds them, with
//! AddressSanitizer in Rust and in C: in one build with the tests of `asan`.
//!
//! Data model: `fuzz/corpus/TARGET (committed seeds) + target/fuzz/corpus/TARGET (earlier finds) ->
//! libFuzzer -> new finds there, crashes in target/fuzz/artifacts`. cargo-fuzz itself is not
//! needed: installing it takes longer than all targets run.
//!
//! `--prove` runs targets with a seeded fault, from nothing: the fuzzer must find each within a
//! bounded number of runs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cli::{Depth, FuzzArgs};
use crate::command::{Cmd, Ended};
use crate::report::Failure;
use crate::sanitizers::{Sanitizer, TARGET};
use crate::workspace::Workspace;

/// Memory that was freed is kept from reuse up to this size; the default of 256 MiB only costs page
/// faults.
const ASAN_OPTIONS: &str = "quarantine_size_mb=1";

/// What an input may take: a `.zst` file can ask for a window of 128 MiB.
const LIMITS: [&str; 3] = ["-timeout=10", "-malloc_limit_mb=256", "-rss_limit_mb=1024"];

/// A run that does not end by itself by then hangs.
const GRACE: Duration = Duration::from_secs(60);
const PROOF_LIMIT: Duration = Duration::from_secs(300);

/// Seconds for each target in `ci --full`.
const FULL_SECONDS: u32 = 60;

/// A target, and the longest input that is tried, in bytes.
struct Target {
    name: &'static str,
    longest: u32,
}

const TARGETS: [Target; 9] = [
    target("ops", 512),
    target("ops_client_words", 512),
    target("lz4", 2048),
    target("zstd", 2048),
    target("unpack", 1024),
    target("nbd_handshake", 512),
    target("nbd_requests", 1024),
    target("snapshot", 2048),
    target("dictionary", 4096),
];

const fn target(name: &'static str, longest: u32) -> Target {
    Target { name, longest }
}

/// A target with a seeded fault, the runs within which it must be found, and the words of its
/// report.
struct Proof {
    name: &'static str,
    runs: u32,
    report: [&'static str; 2],
}

/// The first needs feedback from Rust, and the sanitizer in C; the second is reported by the
/// driver. Each is found in about an eighth of the runs that it is given.
const PROOFS: [Proof; 2] = [
    Proof {
        name: "proof_feedback",
        runs: 8_000_000,
        report: ["ERROR: AddressSanitizer", "zstd-sys"],
    },
    Proof {
        name: "proof_mismatch",
        runs: 40_000,
        report: ["no memory without a reason", "libFuzzer: deadly signal"],
    },
];

/// What `ci` does: a silent fuzzer says something only after it was seen to find.
pub(crate) fn prove_and_run(workspace: &Workspace, depth: Depth) -> Result<String> {
    let fuzzer = Fuzzer::build(workspace)?;
    let proof = fuzzer.prove()?;
    let mut args = FuzzArgs::default();
    if depth == Depth::Full {
        args.seconds = FULL_SECONDS;
    }
    let runs = fuzzer.run_all(&args)?;
    Ok(format!("{proof}; {runs}"))
}

pub(crate) fn run(workspace: &Workspace, args: &FuzzArgs) -> Result<String> {
    let fuzzer = Fuzzer::build(workspace)?;
    if args.prove {
        fuzzer.prove()
    } else {
        fuzzer.run_all(args)
    }
}

/// The programs, built, and the folders around them.
struct Fuzzer<'w> {
    workspace: &'w Workspace,
    programs: PathBuf,
    folder: PathBuf,
}

impl<'w> Fuzzer<'w> {
    fn build(workspace: &'w Workspace) -> Result<Self> {
        let sanitizer = Sanitizer::Address;
        // The targets are built for the tests of their package.
        sanitizer.tests(workspace).arg("--no-run").run()?;
        let folder = workspace.target_dir("fuzz");
        let programs = workspace
            .target_dir(sanitizer.verb())
            .join(TARGET)
            .join("debug");
        Ok(Self {
            workspace,
            programs,
            folder,
        })
    }

    /// One program, told what all of them are told.
    fn program(&self, name: &str, longest: u32) -> Cmd {
        Cmd::program(self.workspace, &self.binary(name))
            .env_default("ASAN_OPTIONS", ASAN_OPTIONS)
            .args(["-seed=1", "-print_final_stats=1"])
            .arg(format!("-max_len={longest}"))
            .args(LIMITS)
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// An empty folder for what a program leaves behind.
    fn fresh(&self, kind: &str, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(kind).join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn run_all(&self, args: &FuzzArgs) -> Result<String> {
        let wanted = |target: &&Target| {
            args.target
                .as_deref()
                .is_none_or(|name| name == target.name)
        };
        let mut note = Vec::new();
        for target in TARGETS.iter().filter(wanted) {
            let runs = self.run_one(target, args.seconds)?;
            note.push(format!("{} {runs}", target.name));
        }
        if note.is_empty() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            bail!("no such target; there are {}", names.join(", "));
        }
        Ok(format!("runs: {}", note.join(", ")))
    }

    /// Runs a target and returns how many inputs it was given.
    fn run_one(&self, target: &Target, seconds: u32) -> Result<u64> {
        let name = target.name;
        let finds = self.folder.join("corpus").join(name);
        fs::create_dir_all(&finds)?;
        let artifacts = self.fresh("artifacts", name)?;
        let log = self.folder.join(format!("{name}.log"));
        let ended = self
            .program(name, target.longest)
            .env("TMPDIR", self.fresh("tmp", name)?)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(finds)
            .arg(Path::new("fuzz/corpus").join(name))
            .run_into(&log, Duration::from_secs(seconds.into()) + GRACE)?;
        let output = read(&log)?;
        if ended != Ended::Passed {
            println!("{}", tail(&output));
            return Err(self.find(name, &artifacts)?);
        }
        let runs = executed(&output).context("libFuzzer told no number of runs")?;
        if runs == 0 {
            bail!("{name}: no input was run");
        }
        println!(
            "{name}: {runs} runs, {} a second",
            runs / u64::from(seconds.max(1))
        );
        Ok(runs)
    }

    /// The error for a target that crashed, hung or took too much, with the input that did it.
    fn find(&self, name: &str, artifacts: &Path) -> Result<anyhow::Error> {
        let Some(entry) = fs::read_dir(artifacts)?.next() else {
            let repeat = format!("cargo xtask fuzz {name}");
            return Ok(Failure::new(format!("{name} failed, without an input"), repeat).into());
        };
        let input = entry?.path();
        println!(
            "the input, in hexadecimal for `xxd -r -p`:\n{}",
            hex(&fs::read(&input)?)
        );
        let what = format!("{name} found {}", input.display());
        let program = self.binary(name);
        Ok(Failure::new(what, format!("{} {}", program.display(), input.display())).into())
    }

    fn prove(&self) -> Result<String> {
        let mut note = Vec::new();
        for proof in &PROOFS {
            let log = self.folder.join(format!("{}.log", proof.name));
            let artifacts = self.fresh("artifacts", proof.name)?;
            let ended = self
                .program(proof.name, 64)
                .arg(format!("-runs={}", proof.runs))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .run_into(&log, PROOF_LIMIT)?;
            let output = read(&log)?;
            let reported = proof.report.iter().all(|words| output.contains(words));
            if ended != Ended::Failed || !reported {
                println!("{}", tail(&output));
                let what = format!("the seeded fault of {} was not found", proof.name);
                return Err(Failure::new(what, "cargo xtask fuzz --prove").into());
            }
            note.push(proof.name);
        }
        Ok(format!("seeded faults found: {}", note.join(", ")))
    }
}

fn read(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| log.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a log, with the report.
fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

/// The number of runs that `-print_final_stats` told.
fn executed(output: &str) -> Option<u64> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_runs_is_read() {
        let log = "#9 DONE\nstat::number_of_executed_units: 9059\nstat::new_units_added: 3\n";
        assert_eq!(executed(log), Some(9059));
        assert_eq!(executed("Done 9 runs in 1 second(s)\n"), None);
    }

    #[test]
    fn inputs_are_shown_in_hexadecimal() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
