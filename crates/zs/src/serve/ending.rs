//! How the server ends: by a signal, or with the command that it runs for.
//!
//! The first signal asks for an orderly end, the second one ends the process at once, as if nobody had caught it.

use super::failed;
use crate::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io::{self, IsTerminal as _, Read as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use zs_os::{ChildId, Recipient};

/// What ends the server.
pub(super) struct Ending {
    /// A byte for each signal; shut down when the command has ended.
    sender: UnixStream,
    receiver: UnixStream,
    /// The last signal that came.
    signal: Arc<AtomicUsize>,
}

/// Why the wait is over.
enum Woken {
    BySignal(i32),
    ByCommand,
}

impl Ending {
    /// Catches INT, TERM and HUP from now on.
    pub(super) fn prepare() -> Result<Self, Failure> {
        let (sender, receiver) = UnixStream::pair().map_err(|error| failed(&error))?;
        let ending = Self {
            sender,
            receiver,
            signal: Arc::default(),
        };
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            ending
                .catch(signal, &again)
                .map_err(|error| failed(&error))?;
        }
        Ok(ending)
    }

    /// In the order in which it is done when the signal comes.
    fn catch(&self, signal: i32, again: &Arc<AtomicBool>) -> io::Result<()> {
        flag::register_conditional_default(signal, Arc::clone(again))?;
        flag::register(signal, Arc::clone(again))?;
        flag::register_usize(signal, Arc::clone(&self.signal), signal as usize)?;
        pipe::register(signal, self.sender.try_clone()?)?;
        Ok(())
    }

    /// Waits for a signal.
    pub(super) fn wait(&mut self) -> Result<(), Failure> {
        self.woken().map(drop)
    }

    fn woken(&mut self) -> Result<Woken, Failure> {
        loop {
            match self.receiver.read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&error)),
                Ok(0) => return Ok(Woken::ByCommand),
                Ok(_) => {
                    // SeqCst: the byte, which was sent later, orders it anyway.
                    let signal = self.signal.load(Ordering::SeqCst);
                    return Ok(Woken::BySignal(signal as i32));
                }
            }
        }
    }

    /// Runs the command to its end. A signal is handed on to it; the command then decides itself when to end.
    ///
    /// Where standard input is no terminal, the command leads a process group, all of which gets the signal. On a terminal it stays
    /// in the group of the server, or it could not read from it: there an interrupt from the keyboard reaches both anyway, and
    /// other signals are handed to the shell alone.
    pub(super) fn run(&mut self, command: &mut Command) -> Result<ExitStatus, Failure> {
        let recipient = match io::stdin().is_terminal() {
            true => Recipient::Child,
            false => {
                command.process_group(0);
                Recipient::Group
            }
        };
        let child = command.spawn();
        let mut child = child.map_err(|error| failed(&format!("/bin/sh: {error}")))?;
        let id = ChildId::of(&child);
        let sender = self.sender.try_clone().map_err(|error| failed(&error))?;
        let waiting = std::thread::Builder::new().name("command".into());
        let spawned = waiting.spawn(move || {
            // It is a child, so it can be waited for; and the other end is there.
            let _ = id.wait();
            let _ = sender.shutdown(Shutdown::Both);
        });
        spawned.map_err(|error| failed(&error))?;
        while let Woken::BySignal(signal) = self.woken()? {
            if recipient == Recipient::Group || signal != SIGINT {
                // It has ended meanwhile, which is what was asked for.
                let _ = id.signal(signal, recipient);
            }
        }
        child.wait().map_err(|error| failed(&error))
    }
}

/// The exit code of a command, as shells tell it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let by_signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(by_signal);
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
