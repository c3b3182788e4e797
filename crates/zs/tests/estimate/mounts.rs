//! The tool among mounts of its own, which only root can make: this test program, started again.

use crate::common::ZS;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::env;
use std::ffi::CString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What to mount, in the environment of the child: file system, place and options, a line each.
const MOUNTS: &str = "ZS_TEST_MOUNTS";

/// The program that the child becomes, and the user.
const PROGRAM: &str = "ZS_TEST_PROGRAM";
const USER: &str = "ZS_TEST_USER";

/// What the child is: a test of each program that uses this module must call [`be_child`].
const CHILD: &str = "places::a_child_with_mounts_of_its_own";

/// A file system, its place and its options; `ro` makes it read-only.
pub(crate) type Mount = (&'static str, &'static str, &'static str);

/// The tool with arguments, run as a user where these are mounted; `None`, and that is said, if
/// this user may not mount.
pub(crate) fn run_with(
    mounts: &[Mount],
    program: &Path,
    user: u32,
    arguments: &[&str],
) -> Option<Output> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can mount; run the tests as root");
        return None;
    }
    if mounts
        .iter()
        .any(|(_, place, _)| Path::new(ZS).starts_with(place))
    {
        println!("skipped: {ZS} would be hidden by a mount");
        return None;
    }
    let lines = mounts
        .iter()
        .map(|(kind, place, options)| format!("{kind} {place} {options}"));
    let output = Command::new(env::current_exe().unwrap())
        .args([CHILD, "--exact", "--nocapture"])
        .env(MOUNTS, lines.collect::<Vec<_>>().join("\n"))
        .env(PROGRAM, program)
        .env(USER, user.to_string())
        .env("ZS_TEST_ARGUMENTS", arguments.join("\n"))
        .output()
        .unwrap();
    if output.status.code() == Some(REFUSED) {
        println!("skipped: root may not mount in this container");
        return None;
    }
    Some(output)
}

/// How the child ends if it may not mount.
const REFUSED: i32 = 97;

/// Mounts what it was started for and becomes the tool; returns if it was not.
pub(crate) fn be_child() {
    let Ok(mounts) = env::var(MOUNTS) else {
        return;
    };
    // SAFETY: what this thread leaves is the mounts and the working folder of the others, no
    // descriptors.
    let own = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    let made = own
        .and_then(|()| mount_change("/", private))
        .and_then(|()| {
            mounts.lines().try_for_each(|line| {
                let [kind, place, options] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}");
                };
                let flags = match options {
                    "ro" => MountFlags::RDONLY,
                    _ => MountFlags::empty(),
                };
                let options = CString::new(options.trim_start_matches("ro")).unwrap();
                mount(kind, place, kind, flags, &*options)
            })
        });
    if made.is_err() {
        std::process::exit(REFUSED);
    }
    let user = env::var(USER).unwrap().parse().unwrap();
    let program = PathBuf::from(env::var_os(PROGRAM).unwrap());
    let arguments = env::var("ZS_TEST_ARGUMENTS").unwrap();
    let error = Command::new(program)
        .args(arguments.lines())
        .env_remove("TMPDIR")
        .uid(user)
        .gid(user)
        .exec();
    panic!("{error}");
}
