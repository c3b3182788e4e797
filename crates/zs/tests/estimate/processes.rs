//! `zs estimate` of processes that run.

use crate::common::memory::{HELD, Holder, MEMORY, NAME, hold_by, largest};
use crate::common::users::{as_nobody, world_readable};
use crate::common::*;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    zs(arguments).output().unwrap()
}

fn estimate_pid(pid: u32, arguments: &[&str]) -> Output {
    let pid = pid.to_string();
    run(&[&["estimate", "--pid", &pid], arguments].concat())
}

/// Whether what a holder would be held in is what it holds, and a little more.
fn held_whole(saving: &serde_json::Value) -> bool {
    (HELD * 97 / 100..HELD * 120 / 100).contains(&number(saving, "held_bytes"))
}

#[test]
fn a_process_is_estimated() {
    let holder = Holder::start();
    let output = estimate_pid(holder.pid, &["--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json_of(&output);
    let process = largest(&report);
    assert_eq!(process["pid"], holder.pid);
    assert_eq!(process["command"], NAME);
    let memory = number(process, "memory_bytes");
    assert!(MEMORY.contains(&memory), "{process}");
    assert_eq!(memory, number(process, "pages") * 4096);
    // All was read, so that nothing is uncertain; random bytes cannot be compressed, only what lies
    // between them.
    assert_eq!(process["sampled_pages"], process["pages"]);
    for codec in CODECS {
        let saving = &process["codecs"][codec];
        assert_eq!(fraction(saving, "error"), 0.0);
        assert!(held_whole(saving), "{saving}");
        // The one process is the whole pool.
        let held = number(&report["codecs"][codec], "held_bytes");
        assert!(held.abs_diff(number(saving, "held_bytes")) <= 1);
    }
    assert_eq!(report["total"]["memory_bytes"], process["memory_bytes"]);
    assert_eq!(report["unread"].as_array().unwrap().len(), 0);
    assert!(report.get("command").is_none());
}

#[test]
fn a_sample_is_as_large_as_was_asked_for_and_says_its_error() {
    let holder = Holder::start();
    let output = estimate_pid(holder.pid, &["--json", "--sample", "4M"]);
    let report = json_of(&output);
    let process = largest(&report);
    assert_eq!(number(process, "sampled_pages"), 1024);
    assert_eq!(number(&report, "pages"), 1024);
    let saving = &process["codecs"]["lz4"];
    let error = fraction(saving, "error");
    assert!(error > 0.0 && error < 0.05, "{error}");
    assert!(held_whole(saving), "{process}");
}

#[test]
fn processes_that_cannot_be_read_are_said_and_do_not_end_the_run() {
    let holder = Holder::start();
    let pid = holder.pid.to_string();
    let output = run(&["estimate", "--pid", "4194305", &pid, &pid, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json_of(&output);
    assert_eq!(report["processes"].as_array().unwrap().len(), 1);
    let unread = report["unread"].as_array().unwrap();
    assert_eq!(unread.len(), 1);
    assert_eq!(unread[0]["pid"], 4_194_305);
    assert_eq!(unread[0]["reason"], "there is no such process");
    let text = run(&["estimate", "--pid", "4194305", &pid]);
    let text = stdout(&text);
    assert!(
        text.contains("process 4194305 was not read: there is no such process"),
        "{text}"
    );
}

#[test]
fn with_nothing_to_read_the_reason_is_said() {
    let text = failure(&run(&["estimate", "--pid", "4194305", "4194306"]), 1);
    assert!(text.contains("no page could be read"), "{text}");
    assert!(
        text.contains("2 processes were not read (4194305, 4194306): there is no such process"),
        "{text}"
    );
    // The child of a test is no zs: its own number is only known to itself.
    let script = format!("exec {ZS} estimate --pid $$");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(failure(&output, 1).contains("it is zs itself"));
}

#[test]
fn a_zombie_has_no_memory() {
    let mut child = Command::new("sh")
        .args(["-c", "read x"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    drop(child.stdin.take());
    let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
    let wait = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(id, wait).unwrap();
    assert!(failure(&estimate_pid(pid, &[]), 1).contains("it is a zombie"));
    child.wait().unwrap();
}

#[test]
fn a_process_of_another_user_is_refused_with_the_ways_round() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user; run the tests as root");
        return;
    }
    let holder = Holder::start();
    let folder = world_readable();
    let as_nobody = |arguments: &[&str]| as_nobody(&folder).args(arguments).output().unwrap();
    let pid = holder.pid.to_string();
    let text = failure(&as_nobody(&["estimate", "--pid", &pid]), 1);
    for part in [
        "refused",
        "another user",
        "as root (sudo)",
        "zs estimate -- CMD",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Whoever starts the command may read it, and sees by Pss what it shares, if it shares
    // anything.
    let program = folder.path().join("holder");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let script = hold_by(&program);
    let own = as_nobody(&["estimate", "--json", "--", "sh", "-c", &script]);
    assert!(own.status.success(), "{}", stderr(&own));
    assert!(
        number(
            largest(&serde_json::from_slice(&own.stdout).unwrap()),
            "memory_bytes"
        ) > 0
    );
}

#[test]
fn all_processes_are_listed_by_what_they_save() {
    let holder = Holder::start();
    let output = run(&["estimate", "--all", "--json", "--sample", "8M"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json_of(&output);
    let processes = report["processes"].as_array().unwrap();
    assert!(processes.iter().any(|process| process["pid"] == holder.pid));
    let saved = |process: &serde_json::Value| process["codecs"]["lz4"]["saved_bytes"].as_i64();
    let saved: Vec<_> = processes.iter().filter_map(saved).collect();
    assert!(
        saved.len() > 1 && saved.is_sorted_by(|one, other| one >= other),
        "{saved:?}"
    );
    let sum: u64 = processes
        .iter()
        .map(|process| number(process, "memory_bytes"))
        .sum();
    let total = number(&report["total"], "memory_bytes");
    assert!(
        sum.abs_diff(total) <= processes.len() as u64,
        "{sum} {total}"
    );
}

#[test]
fn the_table_fits_and_top_shortens_it() {
    let holder = Holder::start();
    let pids = [holder.pid.to_string(), std::process::id().to_string()];
    let arguments = ["estimate", "--sample", "2M", "--pid", &pids[0], &pids[1]];
    let whole = run(&arguments);
    let whole = stdout(&whole);
    let lines = |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).count();
    assert!(
        whole.lines().all(|line| line.chars().count() <= 80),
        "{whole}"
    );
    let name = format!(" {NAME} ");
    assert_eq!(lines(whole, &name), 1, "{whole}");
    let top = run(&[&arguments[..], &["--top", "1"]].concat());
    let top = stdout(&top);
    assert!(lines(top, "+1 more") == 1, "{top}");
    let none = run(&[&arguments[..], &["--top", "0"]].concat());
    assert!(lines(stdout(&none), "+2 more") == 1 && lines(stdout(&none), &name) == 0);
}

#[test]
fn what_a_limit_kept_out_is_not_guessed_at() {
    let holder = Holder::start();
    let pids = [holder.pid.to_string(), std::process::id().to_string()];
    let output = run(&[
        "estimate", "--json", "--limit", "8M", "--pid", &pids[0], &pids[1],
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for codec in CODECS {
        assert!(report["total"]["codecs"][codec].is_null(), "{report}");
        // The holder's pages are more than the limit, whichever of the two comes first.
        assert!(largest(&report)["codecs"][codec].is_null(), "{report}");
    }
    let output = run(&["estimate", "--limit", "8M", "--pid", &pids[0]]);
    let text = stdout(&output);
    assert!(text.contains("the limit of 8 MiB is reached"), "{text}");
    assert!(!text.contains("given back"), "{text}");
}

#[test]
fn a_small_sample_says_the_same_as_a_large_one_with_less_certainty() {
    let holder = Holder::start();
    let held = |size: &str| {
        let output = estimate_pid(holder.pid, &["--json", "--sample", size]);
        let saving = largest(&json_of(&output))["codecs"]["lz4"].clone();
        (
            number(&saving, "held_bytes") as f64,
            saving["error"].as_f64(),
        )
    };
    // What a pool takes once is not taken for what it takes for each page.
    let ((few, unknown), (many, known)) = (held("64k"), held("16M"));
    assert!((few / many - 1.0).abs() < 0.5, "{few} {many}");
    assert_eq!(unknown, None);
    assert!(known.unwrap() > 0.0 && known.unwrap() < 0.05);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (arguments, part) in [
        (
            &["--file", ZS, "--sample", "1M"][..],
            "--sample is given with --file",
        ),
        (&["--file", ZS, "--top", "1"], "--top is given with --file"),
        (
            &["--pid", "1", "--page-size", "64k"],
            "--page-size 64k: processes are sampled",
        ),
        (&["--pid", "0"], "\"0\" is no process number"),
        (&["--pid", "-5"], "\"-5\" is no process number"),
        (
            &["--pid", "1", "--sample", "0"],
            "a sample of nothing says nothing",
        ),
        (&["--pid", "1", "--all"], "cannot be used with"),
        (&["--all", "--", "true"], "cannot be used with"),
        (&["--file", ZS, "--", "true"], "cannot be used with"),
        (&["--pid"], "--pid"),
        (&["true"], "unexpected argument 'true'"),
    ] {
        let output = run(&[&["estimate"], arguments].concat());
        let text = failure(&output, 2);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}
