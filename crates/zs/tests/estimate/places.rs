//! `zs estimate` and `zs capture` where something of the system is missing or shut: the cause is
//! said.

use crate::common::memory::Holder;
use crate::common::users::{NOBODY, world_readable};
use crate::common::*;
use crate::mounts::{Mount, be_child, run_with};
use std::path::Path;

/// Not a test of its own: what [`run_with`] starts.
#[test]
fn a_child_with_mounts_of_its_own() {
    be_child();
}

/// What the tool says, as root, where these are mounted.
fn refusal(mounts: &[Mount], arguments: &[&str]) -> Option<String> {
    run_with(mounts, Path::new(ZS), 0, arguments).map(|output| {
        // Above it the test harness has its say.
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        text.to_owned()
    })
}

const NO_PROC: &[Mount] = &[("tmpfs", "/proc", "")];

#[test]
fn without_proc_that_is_said() {
    for arguments in [
        &["estimate", "--file", "/dev/../etc/passwd"][..],
        &["estimate", "--pid", "1"],
        &["estimate", "--all"],
        &["estimate", "--", "true"],
        &["capture", "-o", "/tmp/zs-never-made", "--pid", "1"],
    ] {
        let Some(text) = refusal(NO_PROC, arguments) else {
            return;
        };
        assert!(
            text.contains("zs: /proc is not mounted"),
            "{arguments:?}: {text}"
        );
        assert!(text.contains("mount -t proc proc /proc"), "{text}");
    }
}

#[test]
fn where_nothing_can_be_written_every_folder_is_named_with_its_cause() {
    let read_only = [("tmpfs", "/tmp", "ro"), ("tmpfs", "/var/tmp", "ro")];
    let Some(text) = refusal(&read_only, &["estimate", "--file", "/etc/passwd"]) else {
        return;
    };
    for folder in ["/tmp", "/var/tmp"] {
        let cause = format!("\"{folder}\": Read-only file system");
        assert!(text.contains(&cause), "{text}");
    }
    assert!(
        text.contains("set TMPDIR to a folder that can be written to"),
        "{text}"
    );
}

#[test]
fn one_folder_that_can_be_written_to_is_enough() {
    let read_only = [("tmpfs", "/tmp", "ro")];
    let arguments = ["estimate", "--json", "--file", "/etc/passwd"];
    let Some(output) = run_with(&read_only, Path::new(ZS), 0, &arguments) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_tmpdir_that_is_none_is_named_with_its_cause() {
    let output = zs(&["estimate", "--file", ZS])
        .env("TMPDIR", "/nonexistent/x")
        .output();
    let text = failure(&output.unwrap(), 1);
    assert!(
        text.contains("\"/nonexistent/x\": No such file or directory"),
        "{text}"
    );
    assert!(text.contains("set TMPDIR"), "{text}");
}

#[test]
fn a_process_that_hidepid_hides_is_not_said_to_be_none() {
    let folder = world_readable();
    let program = folder.path().join("zs");
    let holder = Holder::start();
    let pid = holder.pid.to_string();
    for options in ["hidepid=1", "hidepid=2"] {
        let mounts = [("proc", "/proc", options)];
        let arguments = ["estimate", "--pid", &pid];
        let Some(output) = run_with(&mounts, &program, NOBODY, &arguments) else {
            return;
        };
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("it is there, but /proc does not show it"),
            "{text}"
        );
        assert!(text.contains("hidepid"), "{text}");
    }
}
