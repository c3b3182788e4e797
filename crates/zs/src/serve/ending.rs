//! How the server ends: by a signal, or with the command that it runs for.
//!
//! The first signal asks for an orderly end, the second one ends the process at once, as if nobody had caught it.

use super::failed;
use crate::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use signal_hook::{SigId, flag};
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
    /// Whether the next signal is the second one.
    again: Arc<AtomicBool>,
    /// What makes an interrupt the first or the second signal.
    interrupt: Vec<SigId>,
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
        let mut ending = Self {
            sender,
            receiver,
            signal: Arc::default(),
            again: Arc::default(),
            interrupt: Vec::new(),
        };
        for signal in [SIGTERM, SIGHUP, SIGINT] {
            let counted = ending.count(signal).map_err(|error| failed(&error))?;
            ending.catch(signal).map_err(|error| failed(&error))?;
            if signal == SIGINT {
                ending.interrupt = counted;
            }
        }
        Ok(ending)
    }

    /// Lets this signal end the process if it is the second one. In the order in which it is done when the signal comes.
    fn count(&self, signal: i32) -> io::Result<Vec<SigId>> {
        let second = flag::register_conditional_default(signal, Arc::clone(&self.again))?;
        let first = flag::register(signal, Arc::clone(&self.again))?;
        Ok(vec![second, first])
    }

    /// Lets this signal wake who waits.
    fn catch(&self, signal: i32) -> io::Result<()> {
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
    /// in the group of the server, or it could not read from it: there an interrupt from the keyboard reaches both anyway, so it is
    /// the command's alone, however often it comes; and other signals are handed to the shell alone.
    pub(super) fn run(&mut self, command: &mut Command) -> Result<ExitStatus, Failure> {
        let recipient = match io::stdin().is_terminal() {
            true => {
                for id in self.interrupt.drain(..) {
                    unregister(id);
                }
                Recipient::Child
            }
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
        if self.interrupt.is_empty() {
            self.interrupt = self.count(SIGINT).map_err(|error| failed(&error))?;
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
