//! The control socket: a thread that accepts, and one for each connection, so that a verb that takes long is in nobody's way.
//!
//! # Locking
//! The number of verbs under way has a lock, held for a look.

use super::disk::StoreDisk;
use super::snapshots::Files;
use super::verbs::Reach;
use super::{GRACE, failed};
use crate::control::{self, Answer, Order};
use crate::failure::Failure;
use crate::output;
use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use zs_nbd::PrivateListener;

#[cfg(test)]
mod tests;

/// Most connections at once.
const CONNECTIONS: usize = 16;

/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the system gets to have descriptors again.
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
    open: AtomicUsize,
    /// Verbs that are being done, or answered.
    working: Mutex<usize>,
    done: Condvar,
}

impl Console {
    /// Lets in who connects to a socket that listens.
    pub(super) fn start(
        listener: PrivateListener,
        disks: Vec<Arc<StoreDisk>>,
        files: Files,
    ) -> Result<Self, Failure> {
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            reach: Reach { disks, files },
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            working: Mutex::new(0),
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

    /// Ends: nobody connects any more, snapshots that are being written fail, other verbs get some time.
    pub(super) fn stop(self) {
        self.shared.reach.files.stop();
        if !self.shared.finish(GRACE) {
            output::note("what zs ctl asked for took too long, and was cut off");
        }
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

/// A verb under way.
struct Working<'a>(&'a Shared);

impl<'a> Working<'a> {
    fn begin(shared: &'a Shared) -> Self {
        *shared
            .working
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        Self(shared)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        *self
            .0
            .working
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.done.notify_all();
    }
}

/// A connection, counted.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
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
            // Only this thread adds, so a count that is too high is the worst that it sees.
            if self.open.load(Ordering::SeqCst) >= CONNECTIONS {
                let text = format!("{CONNECTIONS} connections are open, which is the most");
                // Short enough for any socket to take at once; whoever is gone needs no answer.
                let _ = answer(&stream, &Answer::Error(text));
                continue;
            }
            self.open.fetch_add(1, Ordering::SeqCst);
            let open = Open(Arc::clone(&self));
            let thread = std::thread::Builder::new().name("control".into());
            // Without a thread the connection is closed, which says enough.
            let _ = thread.spawn(move || {
                // Whoever is gone needs no answer.
                let _ = open.0.converse(&stream);
            });
        }
    }

    /// Waits until no verb is under way; whether that was in time.
    fn finish(&self, time: Duration) -> bool {
        let working = self.working.lock();
        let working = working.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .done
            .wait_timeout_while(working, time, |left| *left > 0);
        let (left, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *left == 0
    }

    fn converse(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut reader = BufReader::new(stream);
        while let Some(line) = control::line(&mut reader, control::MAX_REQUEST)? {
            let _working = Working::begin(self);
            answer(stream, &self.answer(&line))?;
        }
        Ok(())
    }

    fn answer(&self, line: &[u8]) -> Answer {
        match serde_json::from_slice::<Order>(line) {
            Err(error) => Answer::Error(format!("not understood: {error}")),
            Ok(order) => match self.reach.perform(&order) {
                Ok(value) => Answer::Ok(value),
                Err(refused) => Answer::Error(refused.0),
            },
        }
    }
}

fn answer(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(answer)?;
    bytes.push(b'\n');
    stream.write_all(&bytes)
}
