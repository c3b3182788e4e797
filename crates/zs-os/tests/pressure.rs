//! The watcher with real files: of the system, of groups that are removed, of groups that meet
//! their limits.
//!
//! `ZS_CGROUP=prepare` lets these tests change control groups as root: enable the memory controller
//! below the root of version 2, or make a group of version 1 beside the others. They undo it at the
//! end. Without the variable they use the existing groups, and print what they skip.
//! `xtask/cgroup-vm.sh` runs them in a virtual machine in which version 2 holds the controller.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]
#![expect(clippy::print_stdout, reason = "tests say what they skip")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use zs_os::{
    MemoryEvents, Pressure, PressureError, PressureSource, PressureWatcher, StallTrigger,
    own_cgroup,
};

const SYSTEM: &str = "/proc/pressure/memory";
const V1: &str = "/sys/fs/cgroup/memory";
const INTERVAL: Duration = Duration::from_millis(10);
/// A test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(60);
const LIMIT: &str = "8388608";

/// A group for one test, removed at its end.
struct Group(PathBuf);

impl Group {
    fn below(parent: &Path, name: &str) -> io::Result<Self> {
        let folder = parent.join(format!("zs-os-{name}-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).expect(file);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only version 2 has this file. Processes that a killed shell had started may still be
        // there.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let start = Instant::now();
        let busy = |error: io::Error| error.kind() == io::ErrorKind::ResourceBusy;
        // A test may have removed its group already: that is another error.
        while fs::remove_dir(&self.0).is_err_and(busy) {
            if start.elapsed() > DEADLINE {
                assert!(thread::panicking(), "stays: {:?}", self.0);
                break;
            }
            thread::yield_now();
        }
    }
}

fn events(group: &Path) -> PressureSource {
    PressureSource::GroupEvents {
        group: group.to_owned(),
        interval: INTERVAL,
    }
}

fn stalls(group: &Path) -> PressureSource {
    let trigger = StallTrigger::new(Duration::from_millis(1), Duration::from_secs(2));
    PressureSource::GroupStalls {
        group: group.to_owned(),
        trigger: trigger.expect("in bounds"),
    }
}

/// A shell that enters groups and then runs a script. It is killed at the end.
struct Shell(Child);

impl Shell {
    fn within(groups: &[&Group], script: &str) -> Self {
        let enter = |group: &&Group| format!("echo $$ > {}/cgroup.procs && ", group.0.display());
        let enter: String = groups.iter().map(enter).collect();
        let shell = Command::new("sh")
            .args(["-c", &format!("{enter} {script}")])
            .stderr(Stdio::null())
            .spawn();
        Self(shell.expect("a shell"))
    }

    /// A script that takes more anonymous memory than the limit at once.
    fn greedy(group: &Group) -> Self {
        Self::within(&[group], "exec dd if=/dev/zero of=/dev/null bs=64M count=1")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The shell may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The memory controller below the root of version 2, disabled again at the end.
struct Enabled(PathBuf);

impl Enabled {
    fn below(root: &Path) -> Option<Self> {
        let file = root.join("cgroup.subtree_control");
        fs::write(&file, "+memory").ok()?;
        Some(Self(file))
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        fs::write(&self.0, "-memory").expect("as it was");
    }
}

fn may_prepare() -> bool {
    std::env::var("ZS_CGROUP").is_ok_and(|value| value == "prepare")
}

fn says(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|found| found == word))
}

/// Makes a new group with the memory controller. Prints the reason if that is not possible.
fn group_with_memory(name: &str) -> Option<(Group, Option<Enabled>)> {
    let own = own_cgroup().ok();
    let mut above = own.iter().flat_map(|own| own.ancestors());
    let enabled = above.find(|folder| says(&folder.join("cgroup.subtree_control"), "memory"));
    if let Some(group) = enabled.and_then(|folder| Group::below(folder, name).ok()) {
        return Some((group, None));
    }
    let mut above = own.iter().flat_map(|own| own.ancestors());
    let root = above.find(|folder| says(&folder.join("cgroup.controllers"), "memory"));
    if let Some(root) = root.filter(|_| may_prepare())
        && let Some(enabled) = Enabled::below(root)
        && let Ok(group) = Group::below(root, name)
    {
        return Some((group, Some(enabled)));
    }
    println!(
        "skipped: no cgroup2 group with the memory controller; run xtask/cgroup-vm.sh, or run this as \
         root where no cgroup v1 holds the controller, with ZS_CGROUP=prepare if nobody enabled it"
    );
    None
}

/// Starts a watcher whose calls come from a channel, which ends with its thread.
fn watched(source: &PressureSource) -> (PressureWatcher, Receiver<Seen>) {
    let (sender, seen) = channel();
    let watcher = PressureWatcher::spawn(source, move |pressure| {
        let seen = match pressure {
            Pressure::Stalled => Seen::Stalled,
            Pressure::Events(events) => Seen::Events(*events),
            Pressure::Ended(why) => Seen::Ended(why.to_string()),
            other => Seen::Ended(format!("not known: {other:?}")),
        };
        // A test that has seen enough does not listen any more.
        let _ = sender.send(seen);
    });
    (watcher.expect("a watcher"), seen)
}

#[derive(Debug, PartialEq)]
enum Seen {
    Stalled,
    Events(MemoryEvents),
    Ended(String),
}

/// Sums events until they are enough.
fn events_until(calls: &Receiver<Seen>, enough: impl Fn(&MemoryEvents) -> bool) -> MemoryEvents {
    let mut sum = MemoryEvents::default();
    while !enough(&sum) {
        match calls.recv_timeout(DEADLINE).expect("more events") {
            Seen::Events(rise) => {
                assert_ne!(rise, MemoryEvents::default(), "a call without a rise");
                sum.low += rise.low;
                sum.high += rise.high;
                sum.max += rise.max;
                sum.oom += rise.oom;
            }
            other => assert_eq!(other, Seen::Events(sum)),
        }
    }
    sum
}

/// Returns the last event of a watcher whose group is removed.
fn assert_removed(calls: &Receiver<Seen>) {
    let mut last = calls.recv_timeout(DEADLINE).expect("a last call");
    while let Ok(next) = calls.recv_timeout(DEADLINE) {
        last = next;
    }
    let removed = matches!(&last, Seen::Ended(why) if why.ends_with("memory.events: the group was removed")
            || why.ends_with("memory.pressure: the group was removed"));
    assert!(removed, "{last:?}");
}

#[test]
fn the_system_can_be_watched_and_a_drop_ends_it_at_once() {
    let held = Arc::new(());
    let source = PressureSource::SystemStalls(StallTrigger::default());
    let closures = Arc::clone(&held);
    match PressureWatcher::spawn(&source, move |_| drop(Arc::clone(&closures))) {
        Ok(watcher) => {
            assert!(watcher.is_running());
            watcher.stop().expect("no panic");
        }
        Err(PressureError::NoPsi { path }) => {
            assert!(!Path::new(SYSTEM).exists(), "{path:?}");
            println!("skipped: no {SYSTEM}; boot with psi=1");
        }
        Err(PressureError::Denied { path }) => println!("skipped: {path:?} is closed to this user"),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(Arc::strong_count(&held), 1, "the closure is gone");
}

/// Says whether this process has `CAP_SYS_RESOURCE`, number 24.
fn has_sys_resource() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = u64::from_str_radix(line.expect("capabilities").trim(), 16).expect("a number");
    set >> 24 & 1 == 1
}

#[test]
fn a_window_that_takes_a_privilege_is_refused_without_it() {
    if !Path::new(SYSTEM).exists() {
        println!("skipped: no {SYSTEM}; boot with psi=1");
        return;
    }
    let second = Duration::from_secs(1);
    let trigger = StallTrigger::new(second / 10, second).expect("in bounds");
    match PressureWatcher::spawn(&PressureSource::SystemStalls(trigger), |_| {}) {
        Ok(_) => assert!(has_sys_resource()),
        Err(error) => {
            assert!(!has_sys_resource(), "{error}");
            let message = error.to_string();
            assert!(message.starts_with(SYSTEM), "{message}");
            assert!(message.contains("CAP_SYS_RESOURCE"), "{message}");
        }
    }
}

#[test]
fn what_is_no_group_of_version_2_is_refused_and_named() {
    let refusal = |group: &Path| {
        let sources = [events(group), stalls(group)];
        sources.map(|source| match PressureWatcher::spawn(&source, |_| {}) {
            Ok(_) => panic!("{source:?}"),
            Err(error) => error.to_string(),
        })
    };
    let missing = Path::new("/no/such/group");
    for message in refusal(missing) {
        assert!(message.starts_with("/no/such/group: no such group; "));
    }
    let plain = std::env::temp_dir().join(format!("zs-os-plain-{}", std::process::id()));
    fs::create_dir(&plain).expect("a folder");
    fs::write(plain.join("memory.pressure"), "kept").expect("a file");
    for message in refusal(&plain) {
        assert!(
            message.contains(": not a folder of a cgroup2 mount; "),
            "{message}"
        );
    }
    let kept = fs::read(plain.join("memory.pressure")).expect("still there");
    assert_eq!(kept, b"kept", "nothing was written into a plain file");
    fs::remove_dir_all(&plain).expect("removed");
    if Path::new(V1).join("memory.limit_in_bytes").exists() {
        for message in refusal(Path::new(V1)) {
            assert!(
                message.contains("groups of version 1 cannot be watched"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_group_without_the_controller_is_refused() {
    let Ok(own) = own_cgroup() else {
        println!("skipped: this process is in no cgroup2 group");
        return;
    };
    let mut without = own.ancestors().filter(|folder| {
        folder.join("cgroup.procs").exists() && !folder.join("memory.events").exists()
    });
    let Some(group) = without.next() else {
        println!("skipped: each group above has the controller");
        return;
    };
    let error = PressureWatcher::spawn(&events(group), |_| {}).expect_err("no such file");
    assert!(
        matches!(error, PressureError::NoMemoryController { .. }),
        "{error}"
    );
}

#[test]
fn a_removed_group_ends_the_watch_of_its_stalls() {
    let group = own_cgroup().map(|own| Group::below(&own, "stalls-removed"));
    let Ok(Ok(group)) = group else {
        println!(
            "skipped: may not make a group below its own; run it as root, with cgroup2 mounted"
        );
        return;
    };
    if !group.0.join("memory.pressure").exists() {
        println!("skipped: no memory.pressure; boot with psi=1");
        return;
    }
    let (watcher, calls) = watched(&stalls(&group.0));
    assert!(watcher.is_running());
    fs::remove_dir(&group.0).expect("an empty group");
    assert_removed(&calls);
    watcher.stop().expect("no panic");
    let again = PressureWatcher::spawn(&stalls(&group.0), |_| {}).expect_err("removed");
    assert!(matches!(again, PressureError::NoGroup { .. }), "{again}");
}

#[test]
fn a_group_that_meets_its_limits_is_reported() {
    let Some((group, _enabled)) = group_with_memory("limits") else {
        return;
    };
    group.set("memory.high", LIMIT);
    if group.0.join("memory.swap.max").exists() {
        group.set("memory.swap.max", "0");
    }
    let (watcher, calls) = watched(&events(&group.0));
    let throttled = Shell::greedy(&group);
    let seen = events_until(&calls, |sum| sum.high > 0);
    assert_eq!((seen.max, seen.oom), (0, 0), "no such limit yet");
    if group.0.join("memory.pressure").exists() {
        let (watcher, stalled) = watched(&stalls(&group.0));
        assert_eq!(stalled.recv_timeout(DEADLINE), Ok(Seen::Stalled));
        watcher.stop().expect("no panic");
    }
    drop(throttled);

    group.set("memory.high", "max");
    group.set("memory.max", LIMIT);
    let mut killed = Shell::greedy(&group);
    events_until(&calls, |sum| sum.max > 0 && sum.oom > 0);
    let status = killed.0.wait().expect("it ran");
    assert!(!status.success(), "the limit held: {status}");

    fs::remove_dir(&group.0).expect("an empty group");
    assert_removed(&calls);
    watcher.stop().expect("no panic");
}

/// If version 1 has the memory controller, a limit of version 1 stalls a task, and its group of
/// version 2 reports that.
#[test]
fn time_lost_at_a_limit_of_version_1_shows_in_the_group_of_version_2() {
    if !Path::new(V1).join("memory.limit_in_bytes").exists() {
        println!("skipped: version 1 does not hold the memory controller here");
        return;
    }
    let limited = may_prepare().then(|| Group::below(Path::new(V1), "stalls").ok());
    let group = own_cgroup().map(|own| Group::below(&own, "stalls"));
    let (Some(Some(limited)), Ok(Ok(group))) = (limited, group) else {
        println!(
            "skipped: may not make a group of version 1; run it as root, with ZS_CGROUP=prepare"
        );
        return;
    };
    limited.set("memory.limit_in_bytes", LIMIT);
    // A file on a disk, because a limit does not reclaim pages of a tmpfs. It is larger than the
    // limit, so that each round reads again the pages that the last one lost.
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("read-{}", std::process::id()));
    let (watcher, calls) = watched(&stalls(&group.0));
    let script = format!(
        "head -c 67108864 /dev/zero > {file}; while kill -0 {this}; do cat {file} > /dev/null; done",
        file = file.display(),
        this = std::process::id(),
    );
    let shell = Shell::within(&[&limited, &group], &script);
    let seen = calls.recv_timeout(DEADLINE);
    drop(shell);
    let _ = fs::remove_file(&file);
    assert_eq!(seen, Ok(Seen::Stalled));
    watcher.stop().expect("no panic");
}
