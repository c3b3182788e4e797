//! The programs under AddressSanitizer and valgrind. Each is proved by a program with a fault.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::library::BESIDE_STATIC;
use super::programs::{self, Program, ended, passes};
use super::{CRATE, has, stem};
use crate::command::{Cmd, Ended};
use crate::sanitizers::{Sanitizer, TARGET};
use crate::workspace::Workspace;

/// What the fault says before it happens: a program that never started reports nothing either.
const BEGINS: &str = "fault: about to happen";

/// What a child forgets it has from its parent: its leaks say nothing.
const LEAKS_BY_DESIGN: [&str; 1] = ["forks"];

pub(super) fn run(workspace: &Workspace, prefix: &Path) -> Result<String> {
    let folder = workspace.target_dir("capi").join("watched");
    fs::create_dir_all(&folder)?;
    let watchers = Watched {
        workspace,
        prefix,
        folder,
    };
    let mut notes = Vec::new();
    if cfg!(target_arch = "x86_64") {
        watchers.asan()?;
        notes.push("AddressSanitizer");
    }
    if has("valgrind") {
        watchers.valgrind()?;
        notes.push("valgrind");
    }
    if notes.is_empty() {
        bail!("neither AddressSanitizer nor valgrind is here");
    }
    Ok(format!(
        "nothing found, a seeded fault found by {}",
        notes.join(" and ")
    ))
}

struct Watched<'a> {
    workspace: &'a Workspace,
    prefix: &'a Path,
    folder: PathBuf,
}

impl Watched<'_> {
    fn fault() -> Program {
        Program {
            source: format!("{CRATE}/tests/c/fault.c").into(),
            arguments: &[],
            whole: true,
        }
    }

    /// Compiles a program by gcc: valgrind knows its debug information, and its run-time library
    /// takes the compiler of Rust's objects, too.
    fn compile(
        &self,
        program: &Program,
        kind: &str,
        flags: &[&str],
        library: &Path,
    ) -> Result<PathBuf> {
        let built = self
            .folder
            .join(format!("{}-{kind}", stem(&program.source)));
        Cmd::new("gcc", self.workspace)
            .args(["-std=c11", "-O1", "-g"])
            .args(flags)
            .arg(&program.source)
            .arg("-I")
            .arg(self.prefix.join("include"))
            .arg("-o")
            .arg(&built)
            .arg(library)
            .args(BESIDE_STATIC)
            .run()?;
        Ok(built)
    }

    /// Library and program are both instrumented.
    fn asan(&self) -> Result<()> {
        let target = self.workspace.target_dir(Sanitizer::Address.verb());
        Sanitizer::Address
            .cargo(self.workspace)
            .args(["rustc", "-p", "zs-capi", "--lib", "--target", TARGET])
            .args(["--crate-type", "staticlib"])
            .run()?;
        let library = target.join(TARGET).join("debug/libzs_capi.a");
        let flags = ["-fsanitize=address"];
        for program in programs::all() {
            let built = self.compile(&program, "asan", &flags, &library)?;
            passes(self.workspace, self.prefix, &built, program.arguments)?;
        }
        let built = self.compile(&Self::fault(), "asan", &flags, &library)?;
        let (ended, output) = ended(Cmd::program(self.workspace, &built), &built)?;
        reported(ended, &output, "AddressSanitizer: heap-buffer-overflow")
    }

    fn valgrind(&self) -> Result<()> {
        let library = self.prefix.join("lib/libzsmalloc.a");
        for program in programs::all() {
            let built = self.compile(&program, "valgrind", &[], &library)?;
            let leaks = !LEAKS_BY_DESIGN.contains(&stem(&program.source).as_str());
            let (ended, output) = ended(
                self.under_valgrind(&built, leaks).args(program.arguments),
                &built,
            )?;
            if ended != Ended::Passed {
                println!("{output}");
                bail!("valgrind: {}: {ended:?}", program.source.display());
            }
        }
        let built = self.compile(&Self::fault(), "valgrind", &[], &library)?;
        let (ended, output) = ended(self.under_valgrind(&built, false), &built)?;
        reported(ended, &output, "Invalid read")
    }

    fn under_valgrind(&self, program: &Path, leaks: bool) -> Cmd {
        let leaks = if leaks { "full" } else { "no" };
        Cmd::new("valgrind", self.workspace)
            // Threads take turns: without, one that waits for a lock may wait for a minute.
            .args(["--quiet", "--error-exitcode=9", "--fair-sched=try"])
            .arg(format!("--leak-check={leaks}"))
            .arg("--errors-for-leak-kinds=definite,indirect")
            .arg(program)
    }
}

/// A fault must have been reported in these words.
fn reported(ended: Ended, output: &str, words: &str) -> Result<()> {
    if ended == Ended::Failed && output.contains(BEGINS) && output.contains(words) {
        return Ok(());
    }
    println!("{output}");
    bail!("the seeded fault was not reported as `{words}`: {ended:?}")
}
