//! The verbs that are a cargo command or two: `fmt`, `clippy`, `docs`, `test`, `no-std`.

use anyhow::{Result, bail};

use crate::command::Cmd;
use crate::freestanding;
use crate::test_output::Counts;
use crate::workspace::Workspace;

/// Crates that must build without the standard library.
const NO_STD: [&str; 3] = ["zs-sync", "zs-mm", "zsmalloc"];

pub(crate) fn fmt(workspace: &Workspace) -> Result<String> {
    Cmd::cargo(workspace)
        .args(["fmt", "--all", "--check"])
        .run()?;
    Cmd::cargo(workspace)
        .args(["fmt", "--check", "--manifest-path"])
        .arg(freestanding::MANIFEST)
        .run()?;
    Ok(String::new())
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<String> {
    Cmd::cargo(workspace)
        .args(["clippy", "--workspace", "--all-targets", "--all-features"])
        .args(["--", "-D", "warnings"])
        .run()?;
    freestanding::cargo(workspace, "clippy")
        .args(["--all-targets", "--", "-D", "warnings"])
        .run()?;
    Ok(String::new())
}

pub(crate) fn docs(workspace: &Workspace) -> Result<String> {
    Cmd::cargo(workspace)
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(String::new())
}

/// Unit, integration and documentation tests: without a target option cargo runs all three.
///
/// A CI machine (`CI` is set) lets tests make control groups, which they remove again.
pub(crate) fn test(workspace: &Workspace) -> Result<String> {
    let mut tests = Cmd::cargo(workspace).args(["test", "--workspace"]);
    if std::env::var_os("CI").is_some() {
        tests = tests.env_default("ZS_CGROUP", "prepare");
    }
    let output = tests.run_and_read()?;
    some_passed(&output)
}

/// On the host's target: no other one is installed everywhere, and this one finds every use of
/// `std` that a feature does not cover. Then the program that uses all of them without it is run.
pub(crate) fn no_std(workspace: &Workspace) -> Result<String> {
    let packages = NO_STD.iter().flat_map(|name| ["-p", name]);
    Cmd::cargo(workspace)
        .arg("check")
        .args(packages)
        .arg("--no-default-features")
        .run()?;
    freestanding::run(workspace)?;
    Ok("a freestanding program passed".to_owned())
}

/// The note of a run of tests; a run without any test proves nothing and is an error.
pub(crate) fn some_passed(output: &str) -> Result<String> {
    let counts = Counts::read(output);
    if counts.passed == 0 {
        bail!("no test ran");
    }
    Ok(match counts.ignored {
        0 => format!("tests passed: {}", counts.passed),
        ignored => format!("tests passed: {}, ignored: {ignored}", counts.passed),
    })
}
