//! The kinds of hostile clients.

use crate::nbd::client::{Client, Kind as Asked, head};
use anyhow::{Context as _, Result};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clients of the kinds that only hold what they have.
const MANY: usize = 40;
/// Silent connections: more than there are places for handshakes.
const SILENT: usize = 200;
/// The longest request.
const LONGEST: u32 = 32 << 20;
/// Between two looks of one who waits, or two bytes of one who is slow.
const PAUSE: Duration = Duration::from_millis(10);

/// What hostile clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Begin the longest write, and send no more.
    StallWrite,
    /// Ask for the longest reads, and take nothing.
    StallRead,
    /// Send the longest write byte by byte.
    Trickle,
    /// Connect and say nothing; whoever is cut off comes again.
    Silent,
    /// Take places in service, and do nothing with them.
    Idle,
    /// Connect and go, as fast as they can.
    Connect,
    /// Agree on an export and send rubbish, as fast as they can.
    Rubbish,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::StallWrite,
        Self::StallRead,
        Self::Trickle,
        Self::Silent,
        Self::Idle,
        Self::Connect,
        Self::Rubbish,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::StallWrite => "stall-write",
            Self::StallRead => "stall-read",
            Self::Trickle => "trickle",
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Rubbish => "rubbish",
        }
    }
}

/// Hostile clients at work, until they are ended.
pub(super) struct Attack {
    held: Vec<UnixStream>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Attack {
    pub(super) fn begin(kind: Kind, socket: &Path) -> Result<Self> {
        let many = |bytes: &[u8]| -> Result<Vec<UnixStream>> {
            let one = |_| {
                let mut stream = Client::connect(socket)?.into_socket();
                stream.write_all(bytes)?;
                Ok(stream)
            };
            (0..MANY).map(one).collect()
        };
        let silent = || -> Result<Vec<UnixStream>> {
            let list = (0..SILENT).map(|_| UnixStream::connect(socket));
            list.collect::<Result<_, _>>()
                .context("a silent connection")
        };
        let write = head(Asked::Write, 0, 0, LONGEST);
        let held = match kind {
            Kind::StallWrite => many(&[&write[..], &[0; 140 << 10]].concat())?,
            Kind::StallRead => many(&head(Asked::Read, 0, 0, LONGEST).repeat(4))?,
            Kind::Trickle => many(&write)?,
            Kind::Idle => many(&[])?,
            Kind::Silent => silent()?,
            Kind::Connect | Kind::Rubbish => Vec::new(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (stop, path) = (Arc::clone(&stop), socket.to_owned());
            let mut list: Vec<UnixStream> = held
                .iter()
                .map(UnixStream::try_clone)
                .collect::<Result<_, _>>()?;
            std::thread::spawn(move || {
                // A flag, and nothing that it orders.
                while !stop.load(Ordering::Relaxed) {
                    // Failing is the least that is to be expected of them.
                    let _ = go_on(kind, &path, &mut list);
                }
            })
        };
        Ok(Self {
            held,
            stop,
            worker: Some(worker),
        })
    }

    pub(super) fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for stream in &self.held {
            // Whoever was cut off is gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// What they do again and again.
fn go_on(kind: Kind, path: &Path, list: &mut [UnixStream]) -> Result<()> {
    match kind {
        Kind::StallWrite | Kind::StallRead | Kind::Idle => std::thread::sleep(PAUSE),
        Kind::Trickle => {
            std::thread::sleep(PAUSE);
            for stream in list {
                stream.write_all(&[0])?;
            }
        }
        Kind::Silent => {
            std::thread::sleep(PAUSE);
            for stream in list {
                if is_over(stream)? {
                    *stream = UnixStream::connect(path)?;
                }
            }
        }
        Kind::Connect => drop(UnixStream::connect(path)?),
        Kind::Rubbish => {
            let mut stream = Client::connect(path)?.into_socket();
            stream.write_all(&[0xff; 28])?;
            stream.read_to_end(&mut Vec::new())?;
        }
    }
    Ok(())
}

/// Whether the server has hung up; what it sent before is taken.
fn is_over(mut stream: &UnixStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Ok(true),
        }
    }
}
