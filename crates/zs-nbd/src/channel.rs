//! A connected socket, in clear or encrypted: one thread reads while another writes.
//!
//! # Locking
//! The state of TLS has a lock, held while bytes are encrypted or decrypted, never over a call on the socket. Who writes holds
//! the connection's lock for that, so that records are sent in the order in which they were made.

use rustls::{ServerConfig, ServerConnection};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of TLS that are read at once.
const RAW: usize = 32 << 10;
/// Bytes that are encrypted under one hold of the lock: what the state keeps unsent by itself.
const PIECE: usize = 32 << 10;

/// A socket of either kind.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // It fails only if the other side was quicker.
        let _ = match self {
            Self::Unix(socket) => socket.shutdown(how),
            Self::Tcp(socket) => socket.shutdown(how),
        };
    }

    /// The same socket once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
        })
    }

    /// The longest that one read or write may take.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(socket) => {
                socket.set_read_timeout(timeout)?;
                socket.set_write_timeout(timeout)
            }
            Self::Tcp(socket) => {
                socket.set_read_timeout(timeout)?;
                socket.set_write_timeout(timeout)
            }
        }
    }

    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Self::Unix(socket) => (&*socket).read(buf),
                Self::Tcp(socket) => (&*socket).read(buf),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => (&*socket).write_all(bytes),
            Self::Tcp(socket) => (&*socket).write_all(bytes),
        }
    }
}

/// TLS, and what it has decrypted that nobody has read yet.
#[derive(Debug)]
struct Encrypted {
    state: ServerConnection,
    plain: VecDeque<u8>,
    ended: bool,
}

impl Encrypted {
    /// Takes bytes from the socket; none are its end.
    fn take(&mut self, raw: &[u8]) -> io::Result<()> {
        let mut rest = raw;
        loop {
            self.state.read_tls(&mut rest)?;
            self.state.process_new_packets().map_err(io::Error::other)?;
            // The state holds one record or so: it is emptied before it gets more.
            match io::copy(&mut self.state.reader(), &mut self.plain) {
                Ok(_) => self.ended = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Cut off without a goodbye: the end, as without TLS.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.ended = true,
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
    }
}

/// A socket, and TLS on it once that began.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    tls: Option<Mutex<Encrypted>>,
}

impl Channel {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// From now on, encrypted. The handshake of TLS comes with the first read.
    pub(crate) fn start_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let state = ServerConnection::new(config).map_err(io::Error::other)?;
        self.tls = Some(Mutex::new(Encrypted {
            state,
            plain: VecDeque::new(),
            ended: false,
        }));
        Ok(())
    }

    /// Reads some bytes, at least one; none at the end.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return self.socket.recv(buf);
        };
        let mut raw = vec![0; RAW];
        loop {
            let handshake = {
                let mut tls = lock(tls);
                if !tls.plain.is_empty() || tls.ended {
                    return tls.plain.read(buf);
                }
                tls.state.is_handshaking()
            };
            let len = self.socket.recv(&mut raw)?;
            let taken = lock(tls).take(&raw[..len]);
            if handshake || taken.is_err() {
                // Nobody writes during a handshake, and an alert is the last that is sent.
                self.send_pending(tls)?;
            }
            taken?;
        }
    }

    /// Writes all bytes. One thread at a time.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &self.tls else {
            return self.socket.send(bytes);
        };
        for piece in bytes.chunks(PIECE) {
            lock(tls).state.writer().write_all(piece)?;
            self.send_pending(tls)?;
        }
        Ok(())
    }

    /// Says goodbye, and ends both directions.
    pub(crate) fn close(&self) {
        if let Some(tls) = &self.tls {
            lock(tls).state.send_close_notify();
            // Whoever is gone needs no goodbye.
            let _ = self.send_pending(tls);
        }
        self.socket.shutdown(Shutdown::Both);
    }

    fn send_pending(&self, tls: &Mutex<Encrypted>) -> io::Result<()> {
        let mut records = Vec::new();
        {
            let mut tls = lock(tls);
            while tls.state.wants_write() {
                tls.state.write_tls(&mut records)?;
            }
        }
        self.socket.send(&records)
    }
}

fn lock(tls: &Mutex<Encrypted>) -> MutexGuard<'_, Encrypted> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}
