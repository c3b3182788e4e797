//! `clients`: `zs serve` against programs that others wrote, and under the long stress.
//!
//! On a machine of CI (`CI` is set), what is missing is installed first, and a test that had to be skipped for want of a program
//! fails. Elsewhere it is said what is missing, and how to get it.

use std::env;

use anyhow::{Result, bail};

use crate::checks::some_passed;
use crate::cli::Depth;
use crate::command::Cmd;
use crate::workspace::Workspace;

/// Programs that tests need, and the packages of Debian and Ubuntu that have them.
const PROGRAMS: [(&str, &str); 11] = [
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("qemu-storage-daemon", "qemu-system-common"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdcopy", "libnbd-bin"),
    ("fio", "fio"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("losetup", "mount"),
    ("fstrim", "util-linux"),
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
    let required = env::var_os("CI").is_some();
    if required && !missing().is_empty() {
        install(workspace, &missing())?;
    }
    let packages = missing();
    let how = format!(
        "get what is missing by: apt-get install {}",
        packages.join(" ")
    );
    if required && !packages.is_empty() {
        bail!("clients are missing; {how}");
    }
    // Of the whole workspace, as in `test`: the same features, so nothing is built again.
    let mut tests = Cmd::cargo(workspace)
        .args(["test", "--workspace", "--test", "clients"])
        .args(["--test", "nbd_stress", "--", "--nocapture"])
        .env_default("ZS_LONG", times_as_long(depth))
        .env("ZS_MOUNT", "1");
    if packages.is_empty() {
        tests = tests.env("ZS_NBD_CLIENTS", "1");
    }
    let output = tests.run_and_read()?;
    let mut note = some_passed(&output)?;
    for (at, _) in output.match_indices("skipped: ") {
        let line = output[at..].lines().next().unwrap_or_default();
        if !note.contains(line) {
            note.push_str(&format!("; {line}"));
        }
    }
    if !packages.is_empty() {
        note.push_str(&format!("; {how}"));
    }
    Ok(note)
}

/// The packages of programs that are not there.
fn missing() -> Vec<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| env::split_paths(&path).any(|dir| dir.join(program).exists());
    let missing = PROGRAMS.iter().filter(|(program, _)| !there(program));
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let apt_get = |arguments: &[&str]| {
        // One at a time: another step of CI may be installing something, too.
        Cmd::new("flock", workspace)
            .args(["/tmp/zs-apt.lock", "apt-get", "-qq"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .run()
    };
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}
