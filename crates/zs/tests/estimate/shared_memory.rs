//! Shared memory of processes: told, and sampled where that is asked for.

use crate::common::*;
use memmap2::MmapMut;
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

/// Set in the environment of the processes that hold it.
const HOLD: &str = "ZS_TEST_SHARED_MEMORY";

/// Pages of random bytes that two processes share.
const SHARED: u64 = 3000;

/// A process that shares memory with a child of its own.
struct Sharer {
    child: Child,
    pids: [String; 2],
}

impl Sharer {
    fn start() -> Self {
        let mut child = again("parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let held = lines
            .map(Result::unwrap)
            .find(|line| line.contains("holds it: "));
        let pid = held.unwrap().rsplit(' ').next().unwrap().to_owned();
        let pids = [child.id().to_string(), pid];
        Self { child, pids }
    }

    fn estimate(&self, arguments: &[&str]) -> Value {
        let [one, other] = &self.pids;
        let all = [&["estimate", "--json", "--pid", one, other], arguments].concat();
        json_of(&zs(&all).output().unwrap())
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        // Both end with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn again(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "shared_memory::a_process_that_shares",
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(HOLD, role);
    command
}

fn map(file: &File) -> MmapMut {
    // SAFETY: nobody makes the file shorter, and the bytes are read by nobody but the tool.
    unsafe { MmapMut::map_mut(file) }.unwrap()
}

/// Not a test of its own: what [`Sharer::start`] runs, and what that runs.
#[test]
fn a_process_that_shares() {
    match std::env::var(HOLD).as_deref() {
        Ok("parent") => share(),
        Ok(_) => map_what_is_shared(),
        Err(_) => {}
    }
}

/// Makes shared memory, and has a child map it by the descriptor that it inherits.
fn share() {
    let file = File::from(memfd_create("zs-test", MemfdFlags::empty()).unwrap());
    file.set_len(SHARED << 12).unwrap();
    let mut memory = map(&file);
    let mut numbers = Numbers::new(11);
    for bytes in memory.as_chunks_mut::<8>().0 {
        *bytes = numbers.next().to_ne_bytes();
    }
    let shared = file.as_fd().try_clone_to_owned().unwrap();
    let mut child = again("child")
        .stdin(shared)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    lines
        .map(Result::unwrap)
        .find(|line| line.contains("mapped"))
        .unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nholds it: {}", child.id()).unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn map_what_is_shared() {
    let file = File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let memory = map(&file);
    let sum = memory
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nmapped: {sum}").unwrap();
    loop {
        std::thread::park();
    }
}

fn sum(report: &Value, member: &str) -> u64 {
    let processes = report["processes"].as_array().unwrap();
    processes
        .iter()
        .map(|process| number(process, member))
        .sum()
}

#[test]
fn shared_memory_is_told_as_text_and_as_json() {
    let sharer = Sharer::start();
    let report = sharer.estimate(&[]);
    let told = number(&report["total"], "shared_memory_bytes");
    // The test program itself is shared memory if it lies on a tmpfs.
    assert!(told >= SHARED << 12, "{report}");
    assert_eq!(told, sum(&report, "shared_memory_bytes"));
    assert_eq!(sum(&report, "shared_memory_pages"), 0);
    assert_eq!(report["shared"], false);
    for process in report["processes"].as_array().unwrap() {
        let half = number(process, "shared_memory_bytes");
        assert!(half >= SHARED << 11, "{process}");
    }
    assert!(number(&report["codecs"]["lz4"], "stored") < SHARED);
    let [one, other] = &sharer.pids;
    let output = zs(&["estimate", "--pid", one, other]).output().unwrap();
    let text = stdout(&output);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let text = text.replace('\n', " ");
    assert!(
        text.contains(
            "of shared memory (memfd, tmpfs, shmget, MAP_SHARED; Pss_Shmem): --shared samples it"
        ),
        "{text}"
    );
}

#[test]
fn shared_memory_is_sampled_where_that_is_asked_for_each_page_once() {
    let sharer = Sharer::start();
    let report = sharer.estimate(&["--shared"]);
    assert_eq!(report["shared"], true);
    let pages = sum(&report, "shared_memory_pages");
    assert!(pages >= SHARED, "{report}");
    assert!(
        sum(&report, "counted_elsewhere_pages") >= SHARED,
        "{report}"
    );
    assert_eq!(sum(&report, "sampled_pages"), sum(&report, "pages"));
    for codec in CODECS {
        let codec = &report["codecs"][codec];
        // Random bytes, which are stored as they are: once, not twice.
        let raw = number(codec, "raw");
        assert!((SHARED..2 * SHARED).contains(&raw), "{codec}");
    }
    let [one, other] = &sharer.pids;
    let output = zs(&[
        "estimate", "--shared", "--sample", "1M", "--pid", one, other,
    ])
    .output();
    let output = output.unwrap();
    let text = stdout(&output);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let text = text.replace('\n', " ");
    for part in [
        "anonymous and shared pages",
        "shared memory is among it, each page once: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn shared_memory_is_captured_where_that_is_asked_for() {
    let sharer = Sharer::start();
    let folder = folder();
    let lengths = [false, true].map(|shared| {
        let path = folder.path().join(shared.to_string());
        let mut command = zs(&["capture", "--pid", &sharer.pids[1], "-o"]);
        command.arg(&path).args(shared.then_some("--shared"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&output).replace('\n', " ");
        let part = if shared {
            "is among it, each page once"
        } else {
            "of shared memory (memfd"
        };
        assert!(text.contains(part), "{text}");
        std::fs::metadata(path).unwrap().len()
    });
    assert!(lengths[1] - lengths[0] >= SHARED << 12, "{lengths:?}");
}

#[test]
fn shared_memory_of_files_is_no_question() {
    let output = zs(&["estimate", "--shared", "--file", ZS])
        .output()
        .unwrap();
    let text = failure(&output, 2);
    assert!(text.contains("--shared is given with --file"), "{text}");
}
