//! Ignored signals, and orphans that became children of this process.

use crate::child::ChildId;
use core::mem::MaybeUninit;
use core::ptr;

/// Says whether a signal, given by its number, is ignored. A process may have been started like
/// that, for example by `nohup`.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no action is set; the present one is written to memory of the right type.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed bytes are a valid value, also where the call failed.
    let action = unsafe { action.assume_init() };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Reaps every child that has ended, except `except`. It is for the first process of a container,
/// which becomes the parent of all orphans. `except` is the process's own child, which another
/// thread waits for: when it is found to have ended, this returns. Never blocks.
pub fn reap_orphans(except: Option<ChildId>) {
    loop {
        let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the memory is of the right type; nothing is reaped by this call.
        let asked = unsafe { libc::waitid(libc::P_ALL, 0, found.as_mut_ptr(), options) };
        // SAFETY: zeroed bytes are a valid value; the call has written one if it succeeded.
        let found = unsafe { found.assume_init() };
        // SAFETY: of a child, or zeroed, so this field is the one that is set.
        let pid = unsafe { found.si_pid() };
        if asked != 0 || pid == 0 || except.is_some_and(|child| child.number() == pid) {
            return;
        }
        // SAFETY: a null pointer for the status is allowed.
        unsafe { libc::waitpid(pid, ptr::null_mut(), libc::WNOHANG) };
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    #[test]
    fn ignored_signals_are_known() {
        assert!(is_ignored(libc::SIGPIPE), "as Rust's runtime does");
        assert!(!is_ignored(libc::SIGSEGV));
        assert!(!is_ignored(12345));
    }

    /// Runs in a process of its own, because it reaps all children: this program, started again
    /// with a variable set.
    #[test]
    fn orphans_are_reaped_and_an_own_child_is_not() {
        const ROLE: &str = "ZS_OS_TEST_REAPER";
        if std::env::var_os(ROLE).is_none() {
            let name = "signals::tests::orphans_are_reaped_and_an_own_child_is_not";
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", name, "--nocapture"]).env(ROLE, "1");
            let output = again.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            return;
        }
        let child = || {
            let mut command = Command::new("true");
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            out.read_to_end(&mut Vec::new()).unwrap();
            ChildId::of(&child).wait().unwrap();
            child
        };
        let mut left = child();
        reap_orphans(None);
        assert!(left.wait().is_err(), "it is gone");
        let mut own = child();
        reap_orphans(Some(ChildId::of(&own)));
        assert!(own.wait().unwrap().success());
        reap_orphans(None);
    }
}
