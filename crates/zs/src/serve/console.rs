//! The control socket: a thread that accepts, and one for each connection, so that a verb that
//! takes long is in nobody's way.
//!
//! # Locking
//! The list of connections has a lock, held for a look.

use super::disk::StoreDisk;
use super::seats::Seats;
use super::snapshots::Files;
use super::verbs::Reach;
use crate::control::{self, Answer, Order};
use crate::failure::{Failure, failed};
use std::io::{self, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zs_nbd::{Clients, PrivateListener};

/// How long clients get at the end to take the replies to what they asked for, and `zs ctl` to what
/// it did.
pub(super) const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;

/// Most connections at once.
const CONNECTIONS: usize = 16;

/// The time between two notes to a client that its order is still being carried out.
const BEAT: Duration = Duration::from_millis(500);

/// The time that a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// The time until descriptors are tried for again.
const PAUSE: Duration = Duration::from_millis(100);

/// The control socket, until it is stopped.
pub(super) struct Console {
    shared: Arc<Shared>,
    listener: Arc<PrivateListener>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    reach: Reach,
    stopping: AtomicBool,
    seats: Mutex<Seats<UnixStream>>,
    /// A verb has ended.
    done: Condvar,
}

impl Console {
    /// Lets in who connects to a socket that listens.
    pub(super) fn start(
        listener: PrivateListener,
        disks: Vec<Arc<StoreDisk>>,
        files: Files,
        clients: Clients,
    ) -> Result<Self, Failure> {
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            reach: Reach {
                disks,
                files,
                clients,
            },
            stopping: AtomicBool::new(false),
            seats: Mutex::new(Seats::new(CONNECTIONS)),
            done: Condvar::new(),
        });
        let (accepting, accepted) = (Arc::clone(&shared), Arc::clone(&listener));
        let thread = std::thread::Builder::new().name("control".into());
        let acceptor = thread.spawn(move || accepting.accept(&accepted));
        Ok(Self {
            shared,
            listener,
            acceptor: Some(acceptor.map_err(|error| failed(&error))?),
        })
    }

    /// Ends: nobody connects any more, snapshots that are being written fail, other verbs get some
    /// time. Returns whether that was enough.
    pub(super) fn stop(&self) -> bool {
        // SeqCst: a verb that does not find it has begun before `finish` looks.
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.reach.files.stop();
        self.shared.finish(GRACE)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // SeqCst: who is woken below finds it.
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Not by a connection: the path may be another server's by now.
        self.listener.stop();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// A connection in its seat.
struct Seat {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.seats().leave(self.id);
        self.shared.done.notify_all();
    }
}

/// A verb under way.
struct Working<'a>(&'a Seat);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let Seat { shared, id } = self.0;
        shared.seats().end(*id, Instant::now());
        shared.done.notify_all();
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &PrivateListener) {
        loop {
            let accepted = listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = accepted else {
                // A stranger; or no descriptor is left, which does not change at once.
                std::thread::sleep(PAUSE);
                continue;
            };
            let Ok(clone) = stream.try_clone() else {
                continue;
            };
            let entered = self.seats().enter(clone, Instant::now());
            let Some((id, gone)) = entered else {
                let text = format!("{CONNECTIONS} requests are being worked on, which is the most");
                // Short enough for any socket to take at once; whoever is gone needs no answer.
                let _ = answer(&stream, &Answer::Error(text));
                continue;
            };
            if let Some(silent) = gone {
                // Its thread learns of it by reading; it fails only if that has ended already.
                let _ = silent.shutdown(Shutdown::Both);
            }
            let seat = Seat {
                shared: Arc::clone(&self),
                id,
            };
            let thread = std::thread::Builder::new().name("control".into());
            // Without a thread the connection is closed, which says enough.
            let _ = thread.spawn(move || {
                // Whoever is gone needs no answer.
                let _ = seat.converse(&stream);
            });
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats<UnixStream>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no verb is under way; whether that was in time.
    fn finish(&self, time: Duration) -> bool {
        let seats = self.seats();
        let works = |seats: &mut Seats<_>| seats.working() > 0;
        let waited = self.done.wait_timeout_while(seats, time, works);
        let (seats, _) = waited.unwrap_or_else(PoisonError::into_inner);
        seats.working() == 0
    }

    fn answer(&self, line: &[u8]) -> Answer {
        if self.stopping.load(Ordering::SeqCst) {
            // What it did now would be lost, or saved in place of what was there.
            return Answer::Error("the server ends".to_owned());
        }
        match serde_json::from_slice::<Order>(line) {
            Err(error) => Answer::Error(format!("not understood: {error}")),
            Ok(order) => match self.reach.perform(&order) {
                Ok(value) => Answer::Ok(value),
                Err(refused) => Answer::Error(refused.0),
            },
        }
    }
}

impl Seat {
    fn converse(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut reader = BufReader::new(stream);
        while let Some(line) = control::line(&mut reader, control::MAX_REQUEST)? {
            if !self.shared.seats().begin(self.id) {
                return Ok(());
            }
            let _working = Working(self);
            attend(stream, BEAT, || self.shared.answer(&line))?;
        }
        Ok(())
    }
}

/// Sends what `work` answers, and until then, every `beat`, that it is being done: so the client
/// knows that the server lives.
fn attend(
    stream: &UnixStream,
    beat: Duration,
    work: impl Fn() -> Answer + Send + Sync,
) -> io::Result<()> {
    std::thread::scope(|scope| {
        let (sender, answered) = mpsc::channel();
        let thread = std::thread::Builder::new().name("verb".into());
        let spawned = thread.spawn_scoped(scope, {
            let work = &work;
            // If the client is gone meanwhile, nobody takes it.
            move || sender.send(work())
        });
        if spawned.is_err() {
            return answer(stream, &work());
        }
        loop {
            match answered.recv_timeout(beat) {
                Ok(done) => return answer(stream, &done),
                Err(RecvTimeoutError::Timeout) => answer(stream, &Answer::Working)?,
                Err(RecvTimeoutError::Disconnected) => {
                    let text = "the server failed inside".to_owned();
                    return answer(stream, &Answer::Error(text));
                }
            }
        }
    })
}

fn answer(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(answer)?;
    bytes.push(b'\n');
    stream.write_all(&bytes)
}
