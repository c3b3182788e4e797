//! The reasons why a process was not read.

use super::proc_dir::ProcDir;
use super::smaps::Skip;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::io;

/// The reason why a process was not read. Its text names a remedy if there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadReason {
    /// There is no process with this number.
    #[error("there is no such process")]
    NoSuchProcess,
    /// It ended while it was counted or read.
    #[error("it ended while it was read")]
    Ended,
    /// It has ended, but was not reaped by its parent yet.
    #[error("it is a zombie: it has ended, and has no memory any more")]
    Zombie,
    /// It is a kernel thread.
    #[error("it is a kernel thread, which has no memory of its own")]
    KernelThread,
    /// It is this process.
    #[error("it is zs itself")]
    Itself,
    /// It is a thread of the process with this number.
    #[error("it is a thread of process {0}: name that")]
    Thread(u32),
    /// The system forbids it. The text names a remedy.
    #[error("{0}")]
    Refused(String),
    /// It has no anonymous pages, or all of them are in mappings that are left out.
    #[error("{}", nothing_anonymous(skipped, *shared_memory))]
    NothingAnonymous {
        /// The memory that is left out.
        skipped: Skipped,
        /// The bytes of its shared memory, which was not requested.
        shared_memory: u64,
    },
    /// It runs, but has no folder in `/proc`.
    #[error(
        "it is there, but /proc does not show it: mounted with hidepid, it shows others' processes to root only; run zs as root (sudo), or allow it (sudo mount -o remount,hidepid=0 /proc)"
    )]
    Hidden,
    /// It runs, but a file is missing in its folder.
    #[error(
        "{file}: missing in its folder of /proc, though it runs: {}",
        why_missing(file)
    )]
    Missing {
        /// The file.
        file: &'static str,
    },
    /// It runs, but a file in its folder is empty.
    #[error(
        "{file}: empty in its folder of /proc, though it runs: it has no memory of its own any more, or a sandbox does not show it"
    )]
    Empty {
        /// The file.
        file: &'static str,
    },
    /// Another error.
    #[error("{file}: {source}")]
    Read {
        /// The file in its folder of `/proc`.
        file: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl UnreadReason {
    /// Makes the reason of a failed call on a file of the process's folder in `/proc`.
    pub(super) fn of(file: &'static str, dir: &ProcDir, source: io::Error) -> Self {
        match errno(&source) {
            Some(Errno::NOENT | Errno::SRCH) if !dir.runs_without(file) => Self::Ended,
            Some(Errno::NOENT) => Self::Missing { file },
            // The kernel's error for a process without memory.
            Some(Errno::SRCH) => Self::Empty { file },
            Some(Errno::ACCESS | Errno::PERM) => {
                Self::Refused(format!("{file}: {}", what_helps(file, dir)))
            }
            _ => Self::Read { file, source },
        }
    }

    /// Makes the reason of an empty file in that folder.
    pub(super) fn empty(file: &'static str, dir: &ProcDir) -> Self {
        if dir.runs_without(file) {
            Self::Empty { file }
        } else {
            Self::Ended
        }
    }

    /// Makes the reason of a folder that could not be opened.
    pub(super) fn of_folder(pid: u32, source: io::Error) -> Self {
        match errno(&source) {
            Some(Errno::NOENT | Errno::SRCH) if !exists(pid) => Self::NoSuchProcess,
            Some(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Self::Hidden,
            _ => Self::Read {
                file: "its folder of /proc",
                source,
            },
        }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// Says whether a process with this number exists, by a call that does not need `/proc`.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

fn why_missing(file: &str) -> &'static str {
    match file {
        "smaps" | "smaps_rollup" | "pagemap" => {
            "this kernel was built without CONFIG_PROC_PAGE_MONITOR, or is too old"
        }
        _ => "this /proc is not whole, as in some sandboxes",
    }
}

/// The bytes of pages that were left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped([u64; Skip::ALL.len()]);

impl Skipped {
    /// Returns the bytes left out for one reason.
    pub fn bytes(&self, reason: Skip) -> u64 {
        self.0[reason as usize]
    }

    /// Adds bytes to a reason.
    pub fn add(&mut self, reason: Skip, bytes: u64) {
        let sum = &mut self.0[reason as usize];
        *sum = sum.saturating_add(bytes);
    }

    /// Returns the reasons for which memory was left out, with the bytes of each.
    pub fn iter(&self) -> impl Iterator<Item = (Skip, u64)> {
        let all = Skip::ALL.into_iter().zip(self.0);
        all.filter(|&(_, bytes)| bytes > 0)
    }
}

fn nothing_anonymous(skipped: &Skipped, shared_memory: u64) -> String {
    let shared = match shared_memory >> 10 {
        0 => String::new(),
        kib => format!(", but {kib} KiB of shared memory, which --shared samples"),
    };
    let mut reasons = skipped.iter().map(|(reason, _)| reason.name()).peekable();
    if reasons.peek().is_none() {
        return format!("it has no anonymous memory{shared}");
    }
    let reasons: Vec<_> = reasons.collect();
    format!(
        "all its anonymous memory is left out: {}{shared}",
        reasons.join(", ")
    )
}

/// Returns the text of a refusal: the setting that forbids reading the process, and a remedy.
fn what_helps(file: &str, dir: &ProcDir) -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    let user = rustix::process::geteuid();
    let is_own = dir.user().is_ok_and(|owner| owner == user.as_raw());
    // Yama forbids attaching, which only `mem` needs, and forbids it to root only if it is 3. For
    // processes of other users it makes no difference.
    let scope = scope.as_deref().map(str::trim);
    let scope = scope.filter(|_| file == "mem" && (is_own || user.is_root()));
    refusal(scope, user.is_root())
}

/// Returns the text of a refusal. `scope` is the setting of Yama, if that may be the cause
/// (`Documentation/admin-guide/LSM/Yama.rst`).
fn refusal(scope: Option<&str>, is_root: bool) -> String {
    let start = "start it from zs instead (zs estimate -- CMD)";
    match scope {
        Some(scope @ "1") => format!(
            "refused: kernel.yama.ptrace_scope is {scope}, so that only a process's ancestors may read it; run zs as root (sudo), {start}, or set it to 0 (sudo sysctl kernel.yama.ptrace_scope=0)"
        ),
        Some(scope @ "2") => format!(
            "refused: kernel.yama.ptrace_scope is {scope}, so that only root may read processes; run zs as root (sudo), or set it to 0 or 1 (sudo sysctl kernel.yama.ptrace_scope=1)"
        ),
        Some(scope @ "3") => format!(
            "refused: kernel.yama.ptrace_scope is {scope}, so that nobody may read processes until the next boot; take a core file and use --file"
        ),
        _ if is_root => "refused, though zs runs as root: a container or sandbox may lack CAP_SYS_PTRACE (docker run --cap-add SYS_PTRACE), or a security module forbids it; run zs outside".to_owned(),
        _ => format!(
            "refused: it belongs to another user, or has shut itself off (prctl PR_SET_DUMPABLE); run zs as that user or as root (sudo), or {start}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_setting_and_the_ways_round_it() {
        for (scope, part) in [
            ("1", "ptrace_scope is 1"),
            ("2", "ptrace_scope is 2"),
            ("3", "--file"),
        ] {
            let text = refusal(Some(scope), false);
            assert!(text.contains(part), "{text}");
        }
        for scope in [None, Some("0")] {
            let text = refusal(scope, false);
            assert!(
                text.contains("another user") && text.contains("sudo"),
                "{text}"
            );
            let text = refusal(scope, true);
            assert!(
                text.contains("CAP_SYS_PTRACE") && !text.contains("sudo"),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        let own = ProcDir::open(std::process::id()).unwrap();
        let of = |errno: Errno| UnreadReason::of("smaps", &own, errno.into());
        let refused = of(Errno::ACCESS);
        assert!(matches!(refused, UnreadReason::Refused(_)));
        assert!(
            refused.to_string().starts_with("smaps: refused"),
            "{refused}"
        );
        let other = of(Errno::IO);
        assert!(other.to_string().starts_with("smaps: "), "{other}");
    }

    #[test]
    fn a_file_that_is_missing_or_empty_is_named_while_the_process_runs() {
        let own = ProcDir::open(std::process::id()).unwrap();
        for file in ["stat", "status", "smaps", "smaps_rollup", "pagemap", "mem"] {
            let missing = UnreadReason::of(file, &own, Errno::NOENT.into());
            assert!(matches!(missing, UnreadReason::Missing { file: named } if named == file));
            let text = missing.to_string();
            let is_page_monitor = text.contains("CONFIG_PROC_PAGE_MONITOR");
            assert_eq!(
                is_page_monitor,
                file.starts_with("smaps") || file == "pagemap"
            );
            for empty in [
                UnreadReason::of(file, &own, Errno::SRCH.into()),
                UnreadReason::empty(file, &own),
            ] {
                let start = format!("{file}: empty in its folder of /proc");
                assert!(empty.to_string().starts_with(&start), "{empty}");
            }
        }
    }

    #[test]
    fn a_folder_that_is_not_shown_is_no_process_that_is_not_there() {
        let of = |pid, errno: Errno| UnreadReason::of_folder(pid, errno.into());
        let own = std::process::id();
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::PERM] {
            let hidden = of(own, errno);
            assert!(hidden.to_string().contains("hidepid"), "{hidden}");
        }
        // A number above the largest one of Linux.
        let none = of(1 << 22 | 1, Errno::NOENT);
        assert!(matches!(none, UnreadReason::NoSuchProcess), "{none}");
        let other = of(own, Errno::MFILE);
        assert!(matches!(other, UnreadReason::Read { .. }), "{other}");
    }
}
