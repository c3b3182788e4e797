//! Programs that others wrote: whether they are there, and what they print.

use std::ffi::OsStr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Whether all of these programs are installed. If not, says which is missing.
pub(crate) fn installed(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &&&str| std::env::split_paths(&path).all(|dir| !dir.join(program).exists());
    let missing: Vec<_> = programs.iter().filter(has).copied().collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    println!("skipped: {missing} missing (`cargo xtask clients` says how to get it)");
    false
}

/// Whether this machine lets tests mount file systems: it has what that takes, and `ZS_MOUNT` is
/// set.
pub(crate) fn may_mount() -> bool {
    let device = |path: &str| {
        let kind = Path::new(path).metadata().map(|about| about.file_type());
        kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
    };
    let exports_files = attempt("qemu-storage-daemon", ["--help"])
        .is_some_and(|output| String::from_utf8_lossy(&output.stdout).contains("fuse"));
    let why = if !exports_files {
        "this qemu-storage-daemon was built without FUSE"
    } else if std::env::var_os("ZS_MOUNT").is_none() {
        "ZS_MOUNT is not set"
    } else if !rustix::process::geteuid().is_root() {
        "only root can mount"
    } else if !device("/dev/fuse") {
        "there is no /dev/fuse"
    } else if !attempt("losetup", ["--find"]).is_some_and(|output| output.status.success()) {
        "there is no free loop device"
    } else {
        return true;
    };
    println!("skipped: {why}");
    false
}

/// How a program ended; `None` if it did not begin.
pub(crate) fn attempt<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Option<Output> {
    Command::new(program).args(arguments).output().ok()
}

/// What a program prints that succeeds.
#[track_caller]
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}
