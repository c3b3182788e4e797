//! `zs estimate -- CMD`: a command that the tool starts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod common;

use common::memory::{HELD, HOLD, largest};
use common::*;
use std::process::{Command, Output, Stdio};

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
    let output = watch(&["--json"], &["sh", "-c", HOLD]);
    // What it prints does not get in the way of the report.
    assert_eq!(stderr(&output).trim(), HELD.to_string());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let process = largest(&report);
    assert_eq!(process["command"], "tail");
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

/// It waits at its largest until the tool has seen that: it is stopped for the sample, and goes on.
#[test]
fn the_sample_is_of_the_largest_moment() {
    // Only when it has been continued does it end; the shell's counter is the clock of last resort.
    let script = format!(
        "{{ head -c {HELD} /dev/urandom; i=0; while [ $i -lt 300 ]; do i=$((i+1)); command -p sleep 0.01; done; }} | tail -c {HELD} | wc -c >/dev/null"
    );
    let report = report(&["sh", "-c", &script], 0);
    let command = &report["command"];
    let (most, sampled) = (
        number(command, "largest_bytes"),
        number(command, "bytes_at_sample"),
    );
    assert!(most >= HELD, "{command}");
    assert!(sampled * 11 >= most * 10, "{command}");
    assert!(number(largest(&report), "memory_bytes") * 11 >= HELD * 10);
}

#[test]
fn a_command_that_fails_is_reported_and_said() {
    let output = watch(&[], &["sh", "-c", &format!("{HOLD} >/dev/null; exit 7")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("tail"), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("sh failed (exit status: 7)"),
        "{}",
        stderr(&output)
    );
    let killed = report(&["sh", "-c", &format!("{HOLD} >/dev/null; kill -9 $$")], 1);
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
    // The daemon holds no descriptor of ours, and ends when the pipe that only this test writes to does.
    let (ours, theirs) = std::io::pipe().map(|(read, write)| (write, read)).unwrap();
    let script = format!("exec 3<&0; {HOLD} >/dev/null; (exec cat <&3 >/dev/null 2>&1) & exit 0");
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
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", left[0])).unwrap();
    let state = stat.rsplit_once(") ").unwrap().1.chars().next();
    assert!(matches!(state, Some('S' | 'R')), "{stat}");
    drop(ours);
}

#[test]
fn a_command_that_closes_its_output_is_sampled_all_the_same() {
    let script = format!(
        "exec >&- 2>&-; {} >/dev/null",
        HOLD.trim_end_matches(" | wc -c")
    );
    let report = report(&["sh", "-c", &script], 0);
    assert_eq!(largest(&report)["command"], "tail");
}

#[test]
fn an_interrupted_command_is_reported() {
    // The shell sends the signal to the tool itself, as a terminal does, and then dies by it.
    let script = format!("{HOLD} >/dev/null; kill -INT $PPID; kill -INT $$");
    let report = report(&["sh", "-c", &script], 1);
    assert_eq!(report["command"]["signal"], 2);
    assert!(!report["processes"].as_array().unwrap().is_empty());
}

#[test]
fn a_signal_to_the_tool_alone_is_passed_on() {
    for (name, number) in [("TERM", 15), ("HUP", 1)] {
        // Without the signal it would sleep for longer than anybody waits.
        let script = format!("{HOLD} >/dev/null; kill -{name} $PPID; exec sleep 100000");
        let report = report(&["sh", "-c", &script], 1);
        assert_eq!(report["command"]["signal"], number);
    }
}

#[test]
fn a_process_that_stopped_itself_is_not_woken() {
    let script = format!(
        "sh -c 'kill -STOP $$; exit 5' & p=$!; {HOLD} >/dev/null; read -r _ _ state _ </proc/$p/stat; kill -CONT $p; wait $p; echo $state"
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
    command.args(["estimate", "--", "sh", "-c", HOLD]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
