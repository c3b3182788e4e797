//! `clients`: `zs serve` against programs that others wrote, and under the long stress.
//!
//! Of each program the version that is installed is used, and told. On a machine of CI (`CI` is
//! set) missing ones are installed first, where that can be done; a test of a program that is still
//! missing is skipped and named. What every client may do is tested without them:
//! `zs-nbd/tests/dialects.rs`.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::checks::some_passed;
use crate::cli::Depth;
use crate::command::Cmd;
use crate::workspace::Workspace;

/// A program that tests need.
struct Program {
    name: &'static str,
    /// What makes it tell its version.
    version: &'static str,
    /// The package of Debian and Ubuntu that has it.
    package: &'static str,
}

const fn program(name: &'static str, version: &'static str, package: &'static str) -> Program {
    Program {
        name,
        version,
        package,
    }
}

const PROGRAMS: [Program; 11] = [
    program("qemu-img", "--version", "qemu-utils"),
    program("qemu-io", "--version", "qemu-utils"),
    program("qemu-storage-daemon", "--version", "qemu-system-common"),
    program("nbdinfo", "--version", "libnbd-bin"),
    program("nbdcopy", "--version", "libnbd-bin"),
    program("fio", "--version", "fio"),
    program("mkfs.ext4", "-V", "e2fsprogs"),
    program("mkfs.xfs", "-V", "xfsprogs"),
    program("mkfs.btrfs", "--version", "btrfs-progs"),
    program("losetup", "--version", "mount"),
    program("fstrim", "--version", "util-linux"),
];

/// Returns how many times as long as in `test` the stress is here: half a minute, or ten.
fn times_as_long(depth: Depth) -> &'static str {
    match depth {
        Depth::Short => "6",
        Depth::Full => "120",
    }
}

/// Runs the tests that need clients, and returns what was skipped.
pub(crate) fn run(workspace: &Workspace, depth: Depth) -> Result<String> {
    if env::var_os("CI").is_some() {
        install(workspace, &missing());
    }
    for program in &PROGRAMS {
        let version = program.version();
        let version = version.unwrap_or_else(|| "not installed".to_owned());
        println!("{:20} {version}", program.name);
    }
    // Of the whole workspace, as in `test`: the same features, so nothing is built again.
    let output = Cmd::cargo(workspace)
        .args(["test", "--workspace", "--test", "clients"])
        .args(["--test", "nbd_stress", "--", "--nocapture"])
        .env_default("ZS_LONG", times_as_long(depth))
        .env("ZS_MOUNT", "1")
        .run_and_read()?;
    let mut note = some_passed(&output)?;
    for (at, _) in output.match_indices("skipped: ") {
        let line = output[at..].lines().next().unwrap_or_default();
        if !note.contains(line) {
            note.push_str(&format!("; {line}"));
        }
    }
    let packages = missing();
    if !packages.is_empty() {
        let packages = packages.join(" ");
        note.push_str(&format!(
            "; get what is missing by: apt-get install {packages}"
        ));
    }
    Ok(note)
}

impl Program {
    /// Returns the first line of what it says of its version; `None` if it is not there.
    fn version(&self) -> Option<String> {
        let output = Command::new(self.name).arg(self.version).output().ok()?;
        // Some say it on standard error.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| !line.trim().is_empty());
        Some(line.unwrap_or("of no version").to_owned())
    }
}

/// Returns the packages of programs that are not there.
fn missing() -> Vec<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| env::split_paths(&path).any(|dir| dir.join(name).exists());
    let missing = PROGRAMS.iter().filter(|program| !there(program.name));
    let mut packages: Vec<_> = missing.map(|program| program.package).collect();
    packages.dedup();
    packages
}

/// Installs what can be had. One package at a time: one that does not go with what is installed
/// keeps no other away.
fn install(workspace: &Workspace, packages: &[&str]) {
    let apt_get = |arguments: &[&str]| {
        // Another step of CI may be installing something, too.
        let done = Cmd::new("flock", workspace)
            .args(["/tmp/zs-apt.lock", "apt-get", "-qq"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .run();
        if let Err(error) = done {
            println!("goes on without: {error:#}");
        }
    };
    if packages.is_empty() {
        return;
    }
    apt_get(&["update"]);
    for package in packages {
        apt_get(&["install", "-y", "--no-install-recommends", package]);
    }
}
