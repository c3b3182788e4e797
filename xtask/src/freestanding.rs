//! The program without standard library, heap or operating system, `examples/freestanding`: built
//! with and without debug assertions, looked into, and run.
//!
//! It is no member of the workspace, so the other verbs ask for its manifest here.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::command::{Cmd, Ended};
use crate::workspace::Workspace;

pub(crate) const MANIFEST: &str = "examples/freestanding/Cargo.toml";

/// The program's last line when everything holds.
const PASSED: &str = "freestanding: passed";

/// It takes a fraction of a second.
const LIMIT: Duration = Duration::from_secs(60);

/// Cargo profiles, and the folders of what they build.
const PROFILES: [(&str, &str); 2] = [("dev", "debug"), ("release", "release")];

/// What `readelf` says of a program that no dynamic linker need load.
const STATIC: &str = "There is no dynamic section in this file.";

/// A cargo command for the program, in a build folder of its own.
pub(crate) fn cargo(workspace: &Workspace, verb: &str) -> Cmd {
    Cmd::cargo(workspace)
        .args([verb, "--locked", "--manifest-path", MANIFEST])
        .env("CARGO_TARGET_DIR", workspace.target_dir("freestanding"))
}

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    for (profile, folder) in PROFILES {
        cargo(workspace, "build")
            .args(["--profile", profile])
            .run()?;
        let folder = workspace.target_dir("freestanding").join(folder);
        let program = folder.join("freestanding");
        stands_alone(workspace, &program)?;
        passes(workspace, &program, &folder.join("output.txt"))?;
    }
    Ok(())
}

/// Whether the program has neither undefined symbols nor a dynamic linker.
fn stands_alone(workspace: &Workspace, program: &Path) -> Result<()> {
    let undefined = Cmd::new("nm", workspace)
        .arg("--undefined-only")
        .arg(program)
        .run_and_read()?;
    if !undefined.trim().is_empty() {
        bail!("{} has undefined symbols", program.display());
    }
    let dynamic = Cmd::new("readelf", workspace)
        .arg("--dynamic")
        .arg(program)
        .env("LC_ALL", "C")
        .run_and_read()?;
    if dynamic.trim() != STATIC {
        bail!("{} needs a dynamic linker", program.display());
    }
    Ok(())
}

fn passes(workspace: &Workspace, program: &Path, log: &Path) -> Result<()> {
    let ended = Cmd::new(program, workspace).run_into(log, LIMIT)?;
    let output = fs::read(log)?;
    let output = String::from_utf8_lossy(&output);
    print!("{output}");
    if ended != Ended::Passed || output.lines().last() != Some(PASSED) {
        bail!("{}: {ended:?}", program.display());
    }
    Ok(())
}
