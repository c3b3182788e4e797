//! `asan` and `tsan`: the lower crates' tests, built by the nightly compiler with a sanitizer.
//!
//! The standard library is the prebuilt one, without instrumentation. AddressSanitizer does not
//! mind. ThreadSanitizer sees neither the atomics inside `std` nor any stand-alone `fence`, so:
//!
//! - tests run with one harness thread, because the harness's own channel would be reported;
//! - `tsan-suppressions.txt` silences reports that lie within `std` itself;
//! - `--cfg zs_tsan` lets code tell the sanitizer what it cannot see, such as a contended
//!   `std::sync::Mutex` (see `__tsan_acquire` and `__tsan_release` of its run-time library);
//! - tests join their threads by handle, which it does see; leaving a scope it does not.
//!
//! `--prove` runs `fixtures/sanitizer-proof` built the same way: a seeded fault must be reported,
//! and a correct program must not be.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::checks;
use crate::command::{Cmd, Ended};
use crate::report::Failure;
use crate::workspace::Workspace;

/// The crates with unsafe code.
const UNSAFE: [&str; 5] = ["zs-sync", "zs-mm", "zsmalloc", "zs-os", "zs-capi"];

/// What AddressSanitizer watches beside them. ThreadSanitizer does not: the threads of a store meet
/// at locks of `std`, into which it cannot see.
const WATCHED: [&str; 2] = ["zram", "fuzz"];

/// The tests in which threads meet: the others would only meet the uninstrumented parts of `std`.
const THREADED_TESTS: [&str; 2] = ["--test", "threads"];

/// What AddressSanitizer watches is also built for the fuzzer, so that both share one build:
/// coverage as cargo-fuzz asks for it, but for the comparisons. Tracing them halves the runs per
/// second, and what there is to compare with lies in C.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing";

/// The C of liblz4 and libzstd: watched like Rust, and its comparisons, the one kind of feedback
/// that gcc and clang share, are traced. What is written in assembler could not be watched.
///
/// gcc alone traces comparisons of floating-point numbers, too; no run-time library of Rust knows
/// these, so they count as comparisons of integers ([`LINK`]).
///
/// gcc 12 makes a constant array of zstd static, and marks its place as out of scope at the block's
/// end; so scopes are not watched in C.
const C_FLAGS: &str = "-fsanitize=address -fno-sanitize-address-use-after-scope \
    -fsanitize-coverage=trace-cmp -DZSTD_DISABLE_ASM";

const LINK: &str = "-Clink-arg=-Wl,--defsym=__sanitizer_cov_trace_cmpd=__sanitizer_cov_trace_cmp8 \
    -Clink-arg=-Wl,--defsym=__sanitizer_cov_trace_cmpf=__sanitizer_cov_trace_cmp4";

/// Naming a target keeps the sanitizer away from build scripts and procedural macros.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

const PROOF_MANIFEST: &str = "xtask/fixtures/sanitizer-proof/Cargo.toml";
const PROOF_LIMIT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    Address,
    Thread,
}

/// A seeded fault and the words that its report must contain.
struct Fault {
    name: &'static str,
    report: &'static str,
}

impl Sanitizer {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Address => "asan",
            Self::Thread => "tsan",
        }
    }

    fn flags(self) -> String {
        // The last flag lets instrumented crates link with the prebuilt standard library.
        match self {
            Self::Address => {
                format!(
                    "-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer {COVERAGE} {LINK}"
                )
            }
            Self::Thread => {
                "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg zs_tsan".to_owned()
            }
        }
    }

    fn fault(self) -> Fault {
        match self {
            Self::Address => Fault {
                name: "use-after-free",
                report: "AddressSanitizer: heap-use-after-free",
            },
            Self::Thread => Fault {
                name: "data-race",
                report: "ThreadSanitizer: data race",
            },
        }
    }

    /// `cargo +nightly`, with the flags and the build folder of this sanitizer.
    pub(crate) fn cargo(self, workspace: &Workspace) -> Cmd {
        let command = Cmd::cargo(workspace)
            .arg("+nightly")
            .env("RUSTFLAGS", self.flags())
            .env("CARGO_TARGET_DIR", workspace.target_dir(self.verb()));
        match self {
            Self::Address => command.env(&format!("CFLAGS_{}", TARGET.replace('-', "_")), C_FLAGS),
            Self::Thread => {
                let list = workspace.root().join("xtask/tsan-suppressions.txt");
                let options = format!("suppressions={}", list.display());
                command.env_default("TSAN_OPTIONS", &options)
            }
        }
    }
}

impl Sanitizer {
    /// `cargo test` of all that it watches. Whoever needs a program of the same build takes this
    /// command, too: with fewer packages, what they share would have fewer features, and be
    /// built again.
    pub(crate) fn tests(self, workspace: &Workspace) -> Cmd {
        let command = self
            .cargo(workspace)
            // Long tests read this and shrink.
            .env("ZS_SANITIZER", "1")
            .args(["test", "--target", TARGET])
            .args(UNSAFE.iter().flat_map(|name| ["-p", name]));
        match self {
            Self::Address => command
                .args(WATCHED.iter().flat_map(|name| ["-p", name]))
                .arg("--tests"),
            Self::Thread => command.args(THREADED_TESTS),
        }
    }
}

/// What `ci` does: a silent sanitizer says something only after it was seen to speak.
pub(crate) fn prove_and_test(workspace: &Workspace, which: Sanitizer) -> Result<String> {
    let proof = prove(workspace, which)?;
    let tests = test(workspace, which)?;
    Ok(format!("{proof}; {tests}"))
}

pub(crate) fn test(workspace: &Workspace, which: Sanitizer) -> Result<String> {
    let command = which.tests(workspace);
    let command = match which {
        Sanitizer::Address => command.arg("--"),
        Sanitizer::Thread => command.args(["--", "--test-threads=1"]),
    };
    checks::some_passed(&command.run_and_read()?)
}

pub(crate) fn prove(workspace: &Workspace, which: Sanitizer) -> Result<String> {
    let fault = which.fault();
    let (ended, output) = run_proof(workspace, which, fault.name)?;
    if ended != Ended::Failed || !output.contains(fault.report) {
        println!("{output}");
        let what = format!("the seeded {} was not reported", fault.name);
        return Err(failure(what, which));
    }
    let (ended, output) = run_proof(workspace, which, "correct")?;
    if ended != Ended::Passed {
        println!("{output}");
        return Err(failure("a correct program was reported", which));
    }
    Ok(format!("seeded {} reported", fault.name))
}

fn failure(what: impl Into<String>, which: Sanitizer) -> anyhow::Error {
    Failure::new(what, format!("cargo xtask {} --prove", which.verb())).into()
}

fn run_proof(workspace: &Workspace, which: Sanitizer, part: &str) -> Result<(Ended, String)> {
    let folder = workspace.target_dir(which.verb());
    fs::create_dir_all(&folder)?;
    let log = folder.join(format!("proof-{part}.log"));
    let ended = which
        .cargo(workspace)
        .args(["run", "--locked", "--manifest-path", PROOF_MANIFEST])
        .args(["--target", TARGET, "--", part])
        .run_into(&log, PROOF_LIMIT)?;
    let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    // A program that never started reports nothing, whatever its exit status was.
    if !output.contains(&format!("proof: {part} begins")) {
        println!("{output}");
        bail!("the proof program did not start");
    }
    Ok((ended, output))
}
