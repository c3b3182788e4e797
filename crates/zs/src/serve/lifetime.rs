//! The lifetime of the server: until a signal, or until the command ends that it runs for.
//!
//! A thread takes the signals. The first one that asks for an end is handed on; the same again
//! within a second is the same one, as `timeout` sends it twice; a later one ends the process at
//! once, as if nobody had caught it, unless something is to be saved: then only SIGKILL does. A
//! command that the server runs for may take a signal for something else than an end and go on:
//! then it is forgotten after a while. Signals that were ignored when the process began stay
//! ignored, as `nohup` and shells want it.
//!
//! # Locking
//! The state has a lock, held for a look, and while the command is started.

use crate::failure::{Failure, failed};
use crate::output;
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zs_os::{ChildId, Recipient};

/// Signals by which somebody asks for an end, and asks again when it takes too long.
const ASKING: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

/// Others whose default is to end the process. Each is an orderly end too, so that nothing is lost
/// by a timer, a limit of CPU time or a signal that was meant for somebody else.
const OTHERS: [i32; 9] = [
    SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGPWR,
];

/// Not among the constants of the crate for every system.
const SIGPWR: i32 = 30;

/// For so long the same signal is the same request.
const SAME: Duration = Duration::from_secs(1);

/// A request for an end that is older is forgotten, as long as the command goes on that the server
/// runs for: it was for the command, who did not end by it.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// The process number of the first process of a system or container.
const FIRST_PROCESS: u32 = 1;

/// The signals and the command that end the server.
pub(super) struct Lifetime {
    shared: Arc<Shared>,
    sender: Sender<Woken>,
    receiver: Receiver<Woken>,
}

/// Why the wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    BySignal(i32),
    ByCommand,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    /// The server has begun, and is to be ended in order.
    serving: bool,
    /// Contents are to be saved at the end, which no signal may prevent.
    saves: bool,
    /// When an end was first asked for, of what counts.
    asked: Option<Instant>,
    /// When each signal came that was not the same as one before.
    seen: Vec<(i32, Instant)>,
    /// A keyboard's signals are those of the command.
    is_at_terminal: bool,
    /// The command that the server runs for.
    command: Option<ChildId>,
}

/// The answer to a signal.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    HandOn,
    TheSame,
    EndAtOnce,
    /// Somebody insists, and contents are to be saved first.
    SaveFirst,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Judges a signal that comes now.
    fn judge(&mut self, signal: i32, now: Instant) -> Verdict {
        if !self.serving {
            return Verdict::EndAtOnce;
        }
        let of_keyboard = self.is_at_terminal && [SIGINT, SIGQUIT].contains(&signal);
        if of_keyboard {
            return Verdict::HandOn;
        }
        if ASKING.contains(&signal) {
            if self.command.is_some() {
                self.forget(now);
            }
            let first = *self.asked.get_or_insert(now);
            if now.duration_since(first) >= SAME {
                return match self.saves {
                    true => Verdict::SaveFirst,
                    false => Verdict::EndAtOnce,
                };
            }
        }
        let is_recent = |when: Instant| now.duration_since(when) < SAME;
        self.seen.retain(|(_, when)| is_recent(*when));
        if self.seen.iter().any(|(seen, _)| *seen == signal) {
            return Verdict::TheSame;
        }
        self.seen.push((signal, now));
        Verdict::HandOn
    }

    /// Forgets that an end was asked for, if that is long ago.
    fn forget(&mut self, now: Instant) {
        let is_recent = |when: &Instant| now.duration_since(*when) <= FORGOTTEN;
        self.asked = self.asked.filter(is_recent);
    }
}

impl Lifetime {
    /// Takes signals from now on. Until [`serving`](Self::serving) they end the process at once.
    pub(super) fn prepare() -> Result<Self, Failure> {
        let mut caught: Vec<i32> = [&ASKING[..], &OTHERS[..]].concat();
        caught.retain(|signal| !zs_os::is_ignored(*signal));
        // Then a write beyond the limit of file sizes is an error, and not the end.
        caught.push(SIGXFSZ);
        if std::process::id() == FIRST_PROCESS {
            caught.push(SIGCHLD);
        }
        let mut signals = Signals::new(caught).map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = channel();
        let (taking, to) = (Arc::clone(&shared), sender.clone());
        let thread = std::thread::Builder::new().name("signals".into());
        let spawned = thread.spawn(move || {
            for signal in signals.forever() {
                taking.take(signal, &to);
            }
        });
        spawned.map_err(|error| failed(&error))?;
        Ok(Self {
            shared,
            sender,
            receiver,
        })
    }

    /// From now on there is something to be ended in order, and maybe something to be saved.
    pub(super) fn serving(&self, saves: bool) {
        let mut state = self.shared.lock();
        (state.serving, state.saves) = (true, saves);
    }

    /// Waits for a signal that asks for the end. A terminal that is closed (HUP) does not, where
    /// `goes_on_without` says so.
    pub(super) fn wait(&self, goes_on_without: impl Fn() -> bool) {
        loop {
            match self.woken() {
                Woken::BySignal(SIGHUP) if goes_on_without() => {}
                _ => return,
            }
        }
    }

    /// Forgets signals that came so far, which were about an attempt to end that has failed. The
    /// next one is the first again.
    pub(super) fn begin_again(&self) {
        let mut state = self.shared.lock();
        state.asked = None;
        state.seen.clear();
        while self.receiver.try_recv().is_ok() {}
    }

    /// Waits for any signal.
    pub(super) fn wait_for_any(&self) {
        self.woken();
    }

    fn woken(&self) -> Woken {
        // A sender is there, so this does not fail.
        self.receiver.recv().unwrap_or(Woken::ByCommand)
    }

    /// Runs the command to its end. A signal is handed on to it; the command then decides itself
    /// when to end.
    ///
    /// Where standard input is no terminal, the command leads a process group, all of which gets
    /// the signal. On a terminal it stays in the group of the server, or it could not read from
    /// it: there an interrupt from the keyboard reaches both anyway, so it is the command's
    /// alone, however often it comes; and other signals are handed to the shell alone.
    pub(super) fn run(&self, command: &mut Command) -> Result<ExitStatus, Failure> {
        let is_at_terminal = io::stdin().is_terminal();
        let recipient = match is_at_terminal {
            true => Recipient::Child,
            false => {
                command.process_group(0);
                Recipient::Group
            }
        };
        let mut state = self.shared.lock();
        let child = command.spawn();
        let mut child = child.map_err(|error| failed(format!("/bin/sh: {error}")))?;
        let id = ChildId::of(&child);
        (state.command, state.is_at_terminal) = (Some(id), is_at_terminal);
        drop(state);
        let sender = self.sender.clone();
        let waiting = std::thread::Builder::new().name("command".into());
        let spawned = waiting.spawn(move || {
            // It is a child, so it can be waited for; and the other end is there.
            let _ = id.wait();
            let _ = sender.send(Woken::ByCommand);
        });
        spawned.map_err(|error| failed(&error))?;
        while let Woken::BySignal(signal) = self.woken() {
            if !is_at_terminal || ![SIGINT, SIGQUIT].contains(&signal) {
                // It has ended meanwhile, which is what was asked for.
                let _ = id.signal(signal, recipient);
            }
        }
        let status = child.wait();
        let mut state = self.shared.lock();
        (state.command, state.is_at_terminal) = (None, false);
        state.forget(Instant::now());
        status.map_err(|error| failed(&error))
    }
}

impl Shared {
    /// Takes a signal, in the thread that waits for them.
    fn take(&self, signal: i32, to: &Sender<Woken>) {
        match signal {
            SIGXFSZ => return,
            SIGCHLD => return zs_os::reap_orphans(self.lock().command),
            _ => {}
        }
        let mut state = self.lock();
        match state.judge(signal, Instant::now()) {
            // Nobody is there any more who waits.
            Verdict::HandOn => drop(to.send(Woken::BySignal(signal))),
            Verdict::TheSame => {}
            Verdict::EndAtOnce => end_at_once(signal),
            Verdict::SaveFirst => {
                let _ = to.send(Woken::BySignal(signal));
                drop(state);
                let process = std::process::id();
                output::note(&format!(
                    "the end was asked for again: the contents are saved first (--save); kill -9 {process} gives them up"
                ));
            }
        }
    }
}

/// Ends the process as if the signal had not been caught.
fn end_at_once(signal: i32) {
    if std::process::id() == FIRST_PROCESS {
        // Whom signals do not end.
        low_level::exit(128 + signal);
    }
    let _ = low_level::emulate_default_handler(signal);
}

/// Returns the exit code of a command, as shells tell it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let by_signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(by_signal);
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> impl Fn(Instant) -> Instant {
        move |start| start + Duration::from_millis(ms)
    }

    #[test]
    fn a_second_signal_within_a_second_is_the_same() {
        let start = Instant::now();
        let mut state = State {
            serving: true,
            ..State::default()
        };
        for (signal, ms, expected) in [
            (SIGHUP, 0, Verdict::HandOn),
            (SIGHUP, 1, Verdict::TheSame),
            (SIGHUP, 5000, Verdict::HandOn),
            (SIGTERM, 10_000, Verdict::HandOn),
            (SIGTERM, 10_001, Verdict::TheSame),
            (SIGTERM, 10_999, Verdict::TheSame),
            // Another one, which the command may know; but it does not insist.
            (SIGINT, 10_999, Verdict::HandOn),
            (SIGTERM, 11_000, Verdict::EndAtOnce),
            (SIGHUP, 11_500, Verdict::HandOn),
            (SIGINT, 99_000, Verdict::EndAtOnce),
        ] {
            let verdict = state.judge(signal, at(ms)(start));
            assert_eq!(verdict, expected, "{signal} after {ms} ms");
        }
    }

    #[test]
    fn nothing_but_kill_ends_a_server_that_has_contents_to_save() {
        let start = Instant::now();
        let mut state = State {
            serving: true,
            saves: true,
            ..State::default()
        };
        assert_eq!(state.judge(SIGTERM, start), Verdict::HandOn);
        for ms in [1000, 5000, 3_600_000] {
            assert_eq!(state.judge(SIGTERM, at(ms)(start)), Verdict::SaveFirst);
            assert_eq!(state.judge(SIGINT, at(ms)(start)), Verdict::SaveFirst);
        }
    }

    /// The command took the first one for itself, and goes on. What ends it then is no second one.
    #[test]
    fn a_signal_that_the_command_survived_is_forgotten() {
        let start = Instant::now();
        let mut command = Command::new("true").spawn().unwrap();
        let mut state = State {
            serving: true,
            command: Some(ChildId::of(&command)),
            ..State::default()
        };
        for (ms, expected) in [
            (0, Verdict::HandOn),
            (10_001, Verdict::HandOn),
            (10_500, Verdict::TheSame),
            (3_600_000, Verdict::HandOn),
            // Somebody insists.
            (3_610_000, Verdict::EndAtOnce),
        ] {
            let verdict = state.judge(SIGTERM, at(ms)(start));
            assert_eq!(verdict, expected, "after {ms} ms");
        }
        // The command has ended, and with it the server does.
        state.command = None;
        state.forget(at(3_611_000)(start));
        assert_eq!(state.asked, None);
        assert!(command.wait().unwrap().success());
    }

    #[test]
    fn a_keyboards_signals_are_the_commands() {
        let start = Instant::now();
        let mut state = State {
            serving: true,
            is_at_terminal: true,
            ..State::default()
        };
        for ms in [0, 1, 5000] {
            assert_eq!(state.judge(SIGINT, at(ms)(start)), Verdict::HandOn);
        }
        assert_eq!(state.judge(SIGTERM, at(6000)(start)), Verdict::HandOn);
        assert_eq!(state.judge(SIGTERM, at(7000)(start)), Verdict::EndAtOnce);
    }

    #[test]
    fn before_anything_is_served_a_signal_ends_at_once() {
        let verdict = State::default().judge(SIGTERM, Instant::now());
        assert_eq!(verdict, Verdict::EndAtOnce);
    }
}
