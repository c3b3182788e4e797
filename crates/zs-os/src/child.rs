//! Child processes that are signalled while a thread waits for them.
//!
//! Waiting does not reap the child. So its number stays its own, and a signal cannot reach another
//! process.

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use std::io;
use std::process::Child;

/// The number of a child process, valid until the child is reaped.
#[derive(Clone, Copy, Debug)]
pub struct ChildId(Pid);

/// The recipient of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The child alone.
    Child,
    /// All processes of the group that the child leads.
    Group,
}

impl ChildId {
    /// Returns the number of a child that was not reaped yet.
    pub fn of(child: &Child) -> Self {
        Self(Pid::from_child(child))
    }

    pub(crate) fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Waits until the child has ended, without reaping it: [`Child::wait`] does that.
    ///
    /// # Errors
    /// The system's error if the process is no child any more.
    pub fn wait(self) -> io::Result<()> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.0), options) {
                Err(Errno::INTR) => {}
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }

    /// Sends a signal, given by its number. The child must not have been reaped.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there is no signal with this number; or the system's
    /// error.
    pub fn signal(self, signal: i32, to: Recipient) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
        match to {
            Recipient::Child => kill_process(self.0, signal)?,
            Recipient::Group => kill_process_group(self.0, signal)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    #[test]
    fn a_group_ends_together() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000; sleep 1000"]);
        let mut child = command.process_group(0).spawn().unwrap();
        let id = ChildId::of(&child);
        assert!(id.signal(0, Recipient::Child).is_err());
        id.signal(15, Recipient::Group).unwrap();
        id.wait().unwrap();
        id.wait().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert!(id.wait().is_err());
    }
}
