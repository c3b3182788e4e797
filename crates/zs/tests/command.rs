//! `zs estimate -- CMD`: a command that the tool starts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::memory::{
    HELD, NAME, hold, hold_and_end, hold_by, hold_bytes, largest, stop_with_child,
};
use common::users::{as_nobody, mount_small, unmount, world_readable};
use common::*;
use rustix::process::{Pid, Signal, getpgid, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn watch(arguments: &[&str], words: &[&str]) -> Output {
    zs(&[&["estimate"], arguments, &["--"], words].concat())
        .output()
        .unwrap()
}

fn report(words: &[&str], code: i32) -> serde_json::Value {
    let output = watch(&["--json"], words);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_command_is_sampled_when_it_is_large() {
    let output = watch(&["--json"], &["sh", "-c", &hold()]);
    // What it prints does not get in the way of the report.
    assert!(stderr(&output).contains(&format!("holds {HELD}\n")));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let process = largest(&report);
    assert_eq!(process["command"], NAME);
    let command = &report["command"];
    assert_eq!(command["name"], "sh");
    assert_eq!(command["exit_code"], 0);
    let (most, sampled) = (
        number(command, "largest_bytes"),
        number(command, "bytes_at_sample"),
    );
    assert!(sampled > 0 && sampled <= most, "{command}");
    assert!(number(command, "samples") >= 1);
    assert!(number(command, "counts") >= number(command, "samples"));
    assert!(fraction(command, "sampled_after_seconds") > 0.0);
    assert_eq!(command["left_running"].as_array().unwrap().len(), 0);
}

/// It ends only when it was stopped at 85 % of its largest, or more.
#[test]
fn the_sample_is_of_the_largest_moment() {
    let report = report(&["sh", "-c", &format!("{} >/dev/null", hold())], 0);
    let command = &report["command"];
    let most = number(command, "largest_bytes");
    let sampled = number(command, "bytes_at_sample");
    assert!(most >= HELD * 4 / 5, "{command}");
    assert!(sampled * 5 >= most * 4, "{command}");
    assert!(number(largest(&report), "memory_bytes") * 5 >= HELD * 4);
}

/// A program with the set-user-id bit holds memory that is counted, and that only its owner may
/// read.
#[test]
fn a_descendant_that_may_not_be_read_is_said() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start a command that another user's zs may not read");
        return;
    }
    // As nobody, zs may not read what a program of root's with the set-user-id bit holds.
    let folder = world_readable();
    let suid = folder.path().join("suid-holder");
    fs::copy(std::env::current_exe().unwrap(), &suid).unwrap();
    fs::set_permissions(&suid, PermissionsExt::from_mode(0o4755)).unwrap();
    let script = format!("{} >/dev/null", hold_by(&suid));
    let mut command = as_nobody(&folder);
    let output = command
        .args(["estimate", "--json", "--", "sh", "-c", &script])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let command = &report["command"];
    assert!(number(command, "largest_bytes") >= HELD * 4 / 5, "{report}");
    let processes = report["processes"].as_array().unwrap();
    if processes.iter().any(|process| process["command"] == NAME) {
        println!("skipped: set-user-id programs are not started so here (nosuid)");
        return;
    }
    // The last sample may have been without it.
    let unread = report["unread"].as_array().unwrap();
    assert!(
        unread
            .iter()
            .any(|one| one["reason"].as_str().unwrap().starts_with("mem: refused")),
        "{report}"
    );
}

#[test]
fn the_command_goes_on_if_the_tool_is_killed_while_it_is_stopped() {
    // It takes a new page now and then, so that it is stopped again and again.
    let script =
        "exec >/dev/null; while :; do x=$x$x.; x=${x:-y}; case ${#x} in ????????*) x=y; esac; done";
    let mut tool = zs(&["estimate", "--", "sh", "-c", script]);
    // What is left over if this fails must not keep the test's own output open.
    tool.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut tool = tool.spawn().unwrap();
    let command = wait_for_child(tool.id(), "sh");
    // Once the tool stands still, nobody continues the command that it has stopped.
    while !both_stand_still(tool.id(), command) {
        assert!(tool.try_wait().unwrap().is_none(), "the tool ended");
    }
    tool.kill().unwrap();
    tool.wait().unwrap();
    // The guard sees the end of its input and wakes it; until then it is waited for, though not for
    // ever.
    let killed = Instant::now();
    while state(command) == Some('T') {
        assert!(
            killed.elapsed() < Duration::from_secs(60),
            "nobody wakes it"
        );
        std::thread::yield_now();
    }
    signal(command, Signal::KILL);
}

/// Stops the tool if its command is stopped; whether the command then still is. Otherwise both go
/// on.
fn both_stand_still(tool: u32, command: u32) -> bool {
    if state(command) != Some('T') {
        std::thread::yield_now();
        return false;
    }
    signal(tool, Signal::STOP);
    while state(tool) != Some('T') {
        std::thread::yield_now();
    }
    let still = state(command) == Some('T');
    if !still {
        signal(tool, Signal::CONT);
    }
    still
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The state of a process, one letter; `None` if there is none.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The child of a process that has so a name, and is not the guard, which has a process group of
/// its own.
fn wait_for_child(parent: u32, name: &str) -> u32 {
    let group = |pid: u32| getpgid(Pid::from_raw(pid as i32)).ok();
    loop {
        for entry in fs::read_dir("/proc").unwrap() {
            let Ok(pid) = entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap_or("")
                .parse::<u32>()
            else {
                continue;
            };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((start, rest)) = stat.rsplit_once(") ") else {
                continue;
            };
            let is_child = rest.split(' ').nth(1) == Some(&parent.to_string());
            if is_child && start.ends_with(&format!("({name}")) && group(pid) == group(parent) {
                return pid;
            }
        }
    }
}

/// A command that stops itself since its child was stopped, as `script` and `sudo` do, goes on.
#[test]
fn who_stops_because_its_child_was_stopped_goes_on() {
    let report = report(&["sh", "-c", &stop_with_child()], 0);
    assert!(number(&report["command"], "samples") > 0);
}

/// Whether the command is seen while it is large, the system decides; what becomes of a sample that
/// fails, a test of zs-pages tells in every run
/// (`without_room_for_another_sample_the_last_one_is_kept`).
#[test]
fn a_full_disk_is_told_and_the_last_sample_reported() {
    let folder = folder();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    if !mount_small(&disk, "16m") {
        println!("skipped: no small disk can be mounted; run the tests as root");
        return;
    }
    let mut command = zs(&["estimate", "--json", "--", "sh", "-c", &hold_and_end()]);
    let output = command.env("TMPDIR", &disk).output().unwrap();
    unmount(&disk);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!report["processes"].as_array().unwrap().is_empty());
    let Some(failed) = report["command"]["failed"].as_str() else {
        let sampled = number(&report["command"], "bytes_at_sample");
        assert!(sampled < 17 << 20, "{report}");
        return;
    };
    assert!(failed.contains("no room in"), "{failed}");
}

#[test]
fn a_limit_on_files_is_an_error_and_leaves_nobody_stopped() {
    let script = format!(
        "ulimit -f 8; exec {ZS} estimate -- sh -c '{} >/dev/null; echo went on >&2'",
        hold_and_end()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(stderr(&output).contains("went on"), "{}", stderr(&output));
}

#[test]
fn a_command_that_fails_is_reported_and_said() {
    let output = watch(
        &[],
        &["sh", "-c", &format!("{} >/dev/null; exit 7", hold())],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains(NAME), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("sh failed (exit status: 7)"),
        "{}",
        stderr(&output)
    );
    let killed = report(
        &["sh", "-c", &format!("{} >/dev/null; kill -9 $$", hold())],
        1,
    );
    assert_eq!(killed["command"]["signal"], 9);
    assert!(killed["command"]["exit_code"].is_null());
}

#[test]
fn a_command_that_cannot_be_started_is_named() {
    let text = failure(&watch(&[], &["/nonexistent/command"]), 1);
    assert!(
        text.contains("\"/nonexistent/command\" cannot be started: No such file"),
        "{text}"
    );
    let text = failure(&watch(&[], &["/"]), 1);
    assert!(
        text.contains("\"/\" cannot be started: Permission denied"),
        "{text}"
    );
    let text = failure(&watch(&[], &[""]), 1);
    assert!(text.contains("\"\" cannot be started"), "{text}");
}

#[test]
fn what_a_command_leaves_behind_is_said_and_not_waited_for() {
    // The daemon holds no descriptor of ours, and ends when the pipe that only this test writes to
    // does.
    let (ours, theirs) = std::io::pipe().map(|(read, write)| (write, read)).unwrap();
    let script = format!(
        "exec 3<&0; {} >/dev/null; (exec cat <&3 >/dev/null 2>&1) & exit 0",
        hold()
    );
    let mut command = zs(&["estimate", "--json", "--", "sh", "-c", &script]);
    let output = command.stdin(theirs).output().unwrap();
    // The command has the other end too.
    drop(command);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let left = report["command"]["left_running"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(left.len(), 1, "{report}");
    // It still runs, and is not stopped.
    let stat = fs::read_to_string(format!("/proc/{}/stat", left[0])).unwrap();
    let state = stat.rsplit_once(") ").unwrap().1.chars().next();
    assert!(matches!(state, Some('S' | 'R')), "{stat}");
    drop(ours);
}

#[test]
fn a_command_that_closes_its_output_is_sampled_all_the_same() {
    let script = format!("exec >&- 2>&-; {}", hold());
    let report = report(&["sh", "-c", &script], 0);
    assert_eq!(largest(&report)["command"], NAME);
}

#[test]
fn an_interrupted_command_is_reported() {
    // The shell sends the signal to the tool itself, as a terminal does, and then dies by it.
    let script = format!("{} >/dev/null; kill -INT $PPID; kill -INT $$", hold());
    let report = report(&["sh", "-c", &script], 1);
    assert_eq!(report["command"]["signal"], 2);
    assert!(!report["processes"].as_array().unwrap().is_empty());
}

#[test]
fn a_signal_to_the_tool_alone_is_passed_on() {
    for (name, number) in [("TERM", 15), ("HUP", 1)] {
        // Without the signal it would sleep for longer than anybody waits.
        let script = format!(
            "{} >/dev/null; kill -{name} $PPID; exec sleep 100000",
            hold()
        );
        let report = report(&["sh", "-c", &script], 1);
        assert_eq!(report["command"]["signal"], number);
    }
}

/// It stops itself when no sample is due, since there was much more memory before; then there is
/// more than ever.
#[test]
fn a_process_that_stopped_itself_is_not_woken() {
    let script = format!(
        "{} >/dev/null; sh -c 'kill -STOP $$; exit 5' & p=$!; until [ \"$state\" = T ]; do read -r _ _ state _ </proc/$p/stat; done; {} >/dev/null; read -r _ _ state _ </proc/$p/stat; kill -CONT $p; wait $p; echo $state",
        hold(),
        hold_bytes(2 * HELD)
    );
    let output = watch(&["--json"], &["sh", "-c", &script]);
    assert!(output.status.success());
    assert_eq!(stderr(&output).trim(), "T");
}

#[test]
fn an_end_before_the_first_look_is_said() {
    let output = watch(&[], &["true"]);
    // Whether it was seen depends on how fast it was.
    if output.status.success() {
        assert!(stdout(&output).contains("true: sampled"));
    } else {
        let text = failure(&output, 1);
        assert!(
            text.contains("true ended (exit status: 0) before a page of it could be read"),
            "{text}"
        );
    }
}

#[test]
fn nobody_reads_the_report() {
    let mut command = Command::new(ZS);
    command.args(["estimate", "--", "sh", "-c", &hold()]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
