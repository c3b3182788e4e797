//! The verbs that are a cargo command or two: `fmt`, `clippy`, `docs`, `test`, `no-std`.

use anyhow::{Result, bail};

use crate::cli::Depth;
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
        .args(["clippy", "--workspace", "--exclude", "bench-rivals"])
        .args(["--all-targets", "--all-features", "--", "-D", "warnings"])
        .run()?;
    // Its features are rivals that take minutes to build.
    Cmd::cargo(workspace)
        .args(["clippy", "-p", "bench-rivals", "--all-targets"])
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
pub(crate) fn test(workspace: &Workspace, depth: Depth) -> Result<String> {
    let mut tests = Cmd::cargo(workspace).args(["test", "--workspace"]);
    if depth == Depth::Full {
        // A test that waits for what the system does with time.
        tests = tests.env("ZS_WAIT_FOR_KHUGEPAGED", "1");
    }
    if std::env::var_os("CI").is_some() {
        tests = tests.env_default("ZS_CGROUP", "prepare");
    }
    let mut output = tests.run_and_read()?;
    // The hook in every lock is no part of what ships, so it is not in the tests above either.
    output.push_str(
        &Cmd::cargo(workspace)
            .args([
                "test",
                "-p",
                "zs-sync",
                "-p",
                "bench-own",
                "--lib",
                "--bins",
            ])
            .args(["--features", "bench-own/hold-hook"])
            .run_and_read()?,
    );
    some_passed(&output)
}

/// The tests of memory pressure in a virtual machine with control groups of version 2, which an
/// installation with version 1 cannot show. It installs what it needs, so only where that can be
/// done.
pub(crate) fn pressure(workspace: &Workspace) -> Result<String> {
    const TOOLS: [&str; 3] = ["apt-get", "dpkg", "qemu-system-x86_64"];
    let has = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(tool).exists())
    };
    let may_install = std::env::var_os("CI").is_some() || has(TOOLS[2]);
    if !cfg!(target_arch = "x86_64") || !has(TOOLS[0]) || !has(TOOLS[1]) || !may_install {
        return Ok(
            "skipped: it takes Debian on x86-64; xtask/cgroup-vm.sh installs the rest and runs it"
                .to_owned(),
        );
    }
    let output = Cmd::new("bash", workspace)
        .arg("xtask/cgroup-vm.sh")
        .run_and_read()?;
    match output.lines().find(|line| line.starts_with("skipped: ")) {
        Some(line) => Ok(line.to_owned()),
        None => some_passed(&output),
    }
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
