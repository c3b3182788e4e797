//! The memory of a process, as `/proc/PID/status` has it (proc_pid_status(5)).

use anyhow::{Context as _, Result};
use std::fs;

/// Anonymous memory in RAM.
pub(super) const ANONYMOUS: &str = "RssAnon";

/// The most that was resident since the program was started: anonymous memory, mapped pages of
/// files and shared memory.
pub(super) const PEAK: &str = "VmHWM";

/// A field of a process in bytes; an error if the process has ended.
pub(super) fn bytes(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    parsed(&status, field).with_context(|| format!("{path} has no {field}: process {pid} ended"))
}

fn parsed(status: &str, field: &str) -> Option<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status =
            "Name:\tVmHWM: x\nVmHWMx:\t 1 kB\nVmHWM:\t    1234 kB\nRssAnon:\t       0 kB\n";
        assert_eq!(parsed(status, PEAK), Some(1234 << 10));
        assert_eq!(parsed(status, ANONYMOUS), Some(0));
        assert_eq!(parsed("Name:\tgone\nState:\tZ (zombie)\n", PEAK), None);
    }

    #[test]
    fn a_peak_covers_what_is_there() {
        let pid = std::process::id();
        let now = bytes(pid, ANONYMOUS).unwrap();
        assert!(now > 0 && bytes(pid, PEAK).unwrap() >= now);
        let gone = bytes(u32::MAX, PEAK).unwrap_err().to_string();
        assert!(gone.contains("/proc/4294967295/status"), "{gone}");
    }
}
