//! Why a process was not read.

use super::smaps::Skip;
use std::io;

/// Why a process was not read. Displayed, it says what may help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadReason {
    /// There is no process of that number.
    #[error("there is no such process")]
    NoSuchProcess,
    /// It ended while it was looked at or read.
    #[error("it ended while it was read")]
    Ended,
    /// It has ended already, but its parent has not yet asked for its exit code.
    #[error("it is a zombie: it has ended, and has no memory any more")]
    Zombie,
    /// A thread of the kernel.
    #[error("it is a kernel thread, which has no memory of its own")]
    KernelThread,
    /// This process.
    #[error("it is zs itself")]
    Itself,
    /// The number of a thread that is not its process's first.
    #[error("it is a thread of process {0}: name that")]
    Thread(u32),
    /// The system forbids it; the text says what would help.
    #[error("{0}")]
    Refused(String),
    /// All its pages are in mappings that are not read, or it has none.
    #[error("{}", nothing_anonymous(.0))]
    NothingAnonymous(Skipped),
    /// Anything else.
    #[error("{file}: {source}")]
    Read {
        /// The file in its folder of `/proc`.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl UnreadReason {
    /// A failed look at a file of the process's folder in `/proc`.
    pub(super) fn of(file: &'static str, source: io::Error) -> Self {
        use rustix::io::Errno;
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::SRCH) => Self::Ended,
            Some(Errno::ACCESS | Errno::PERM) => Self::Refused(what_helps(file)),
            _ => Self::Read { file, source },
        }
    }
}

/// Bytes of anonymous pages that were left out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped([u64; Skip::ALL.len()]);

impl Skipped {
    /// Bytes of one reason.
    pub fn bytes(&self, reason: Skip) -> u64 {
        self.0[reason as usize]
    }

    /// Adds bytes to a reason.
    pub fn add(&mut self, reason: Skip, bytes: u64) {
        let sum = &mut self.0[reason as usize];
        *sum = sum.saturating_add(bytes);
    }

    /// Reasons that left something out, and how many bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Skip, u64)> {
        let all = Skip::ALL.into_iter().zip(self.0);
        all.filter(|&(_, bytes)| bytes > 0)
    }
}

fn nothing_anonymous(skipped: &Skipped) -> String {
    let mut reasons = skipped.iter().map(|(reason, _)| reason.name()).peekable();
    if reasons.peek().is_none() {
        return "it has no anonymous memory".to_owned();
    }
    let reasons: Vec<_> = reasons.collect();
    format!(
        "all its anonymous memory is left out: {}",
        reasons.join(", ")
    )
}

/// What stands between this process and the memory of another, and how to get round it.
fn what_helps(file: &str) -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    let is_root = rustix::process::geteuid().is_root();
    refusal(file, scope.as_deref().map(str::trim), is_root)
}

/// `scope` is Yama's setting, if there is Yama (`Documentation/admin-guide/LSM/Yama.rst`): it forbids to attach, as
/// `/proc/PID/mem` asks for, not to look.
fn refusal(file: &str, scope: Option<&str>, is_root: bool) -> String {
    let start = "start it from zs instead (zs estimate -- CMD)";
    match scope {
        Some(scope @ "1") if file == "mem" => format!(
            "refused: kernel.yama.ptrace_scope is {scope}, so that only a process's ancestors may read it; run zs as root (sudo), {start}, or set it to 0 (sudo sysctl kernel.yama.ptrace_scope=0)"
        ),
        Some(scope @ "2") if file == "mem" => format!(
            "refused: kernel.yama.ptrace_scope is {scope}, so that only root may read processes; run zs as root (sudo), or set it to 0 or 1 (sudo sysctl kernel.yama.ptrace_scope=1)"
        ),
        Some(scope @ "3") if file == "mem" => format!(
            "refused: kernel.yama.ptrace_scope is {scope}, so that nobody may read processes until the next boot; take a core file and use --file"
        ),
        _ if is_root => "refused, though zs runs as root: a container or sandbox lacks CAP_SYS_PTRACE; add it (docker run --cap-add SYS_PTRACE), or run zs outside".to_owned(),
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
            let text = refusal("mem", Some(scope), false);
            assert!(text.contains(part), "{text}");
            // Yama does not forbid to look.
            assert!(refusal("smaps", Some(scope), false).contains("another user"));
        }
        for scope in [None, Some("0")] {
            let text = refusal("mem", scope, false);
            assert!(
                text.contains("another user") && text.contains("sudo"),
                "{text}"
            );
            let text = refusal("mem", scope, true);
            assert!(
                text.contains("CAP_SYS_PTRACE") && !text.contains("sudo"),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        use rustix::io::Errno;
        let of = |errno: Errno| UnreadReason::of("smaps", errno.into());
        assert!(matches!(of(Errno::SRCH), UnreadReason::Ended));
        assert!(matches!(of(Errno::NOENT), UnreadReason::Ended));
        assert!(matches!(of(Errno::ACCESS), UnreadReason::Refused(_)));
        let other = of(Errno::IO);
        assert!(other.to_string().starts_with("smaps: "), "{other}");
    }
}
