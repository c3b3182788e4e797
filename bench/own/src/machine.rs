//! What the figures were measured on, and the clocks they were measured with.

use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// The lines that belong beside every figure of `program`: command, commit, machine.
pub fn described(program: &str) -> Vec<String> {
    let command: Vec<String> = env::args().skip(1).collect();
    vec![
        format!("command: {program} {}", command.join(" ")),
        format!("commit: {}", commit().unwrap_or("unknown".to_owned())),
        format!("machine: {}", machine()),
    ]
}

/// The commit of the folder that the command was called in, and whether files differ from it.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=12"]);
    let said = git.output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = cpus.lines().filter(|line| line.starts_with("model name"));
    let model = models.clone().next().and_then(|line| line.split_once(": "));
    let system = rustix::system::uname();
    let memory = zs_os::memory_info().map_or(0, |info| info.total >> 20);
    format!(
        "{} x {}, {memory} MiB, Linux {}",
        models.count(),
        model.map_or("unknown CPU", |(_, name)| name),
        system.release().to_string_lossy(),
    )
}

/// Whether `process_madvise` gives up a process's own memory, many ranges a call: since Linux 6.14,
/// as `zs-os` has it.
pub(crate) fn takes_vectors() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// CPU time that all threads of the process have used.
pub(crate) fn process_cpu() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
