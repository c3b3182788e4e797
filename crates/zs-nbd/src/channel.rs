//! A socket, in clear or encrypted: one thread reads while another writes.
//!
//! # Locking
//! `inward` is held while reading, over the call on the socket; `outward` by a [`Sender`], so that
//! records are sent in the order in which they were made, and a reply that is sent in parts stays
//! in one piece: the device may be called meanwhile. `tls` is held while bytes are encrypted or
//! decrypted, never over a call on the socket. In this order.

use crate::batch::zeroed;
use crate::socket::Socket;
use crate::stop::Stop;
use rustix::event::PollFlags;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of TLS that are read at once.
const RAW: usize = 64 << 10;
/// Bytes that are encrypted under one hold of the lock: what the state keeps unsent by itself.
const PIECE: usize = 32 << 10;
/// How long the other side gets, at the end, to take what was sent to it.
const LINGER: Duration = Duration::from_secs(1);

/// A socket, and TLS on it once that began.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    stop: Arc<Stop>,
    tls: Option<Mutex<ServerConnection>>,
    inward: Mutex<Inward>,
    /// Records that are being sent.
    outward: Mutex<Vec<u8>>,
}

/// The side that writes, of one thread at a time.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    channel: &'a Channel,
    records: MutexGuard<'a, Vec<u8>>,
}

impl Sender<'_> {
    /// Writes all bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if they were not taken in time.
    pub(crate) fn write(&mut self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        let channel = self.channel;
        let Some(tls) = &channel.tls else {
            return channel.socket.send(bytes, deadline);
        };
        for piece in bytes.chunks(PIECE) {
            lock(tls).writer().write_all(piece)?;
            channel.send_pending(tls, &mut self.records, deadline)?;
        }
        Ok(())
    }
}

/// The side that reads.
#[derive(Debug, Default)]
struct Inward {
    /// Once the server ends: bytes that had arrived then, and have not been read yet.
    last: Option<u64>,
    /// Bytes from the socket that are still encrypted.
    raw: Raw,
}

/// Encrypted bytes.
#[derive(Debug, Default)]
struct Raw {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Raw {
    /// Decrypts as much as `buf` takes, and says how much that was: 0 at the end, `None` if more
    /// bytes are wanted first.
    fn decrypt(
        &mut self,
        state: &mut ServerConnection,
        buf: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while filled < buf.len() {
            match state.reader().read(&mut buf[filled..]) {
                Ok(0) => return Ok(Some(filled)),
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut rest = &self.bytes[self.begin..self.end];
                    if rest.is_empty() {
                        return Ok((filled > 0).then_some(filled));
                    }
                    // The state holds one record or so: it was emptied before it gets more. Behind
                    // a goodbye it takes nothing.
                    let len = state.read_tls(&mut rest)?;
                    if len == 0 {
                        return Ok(Some(filled));
                    }
                    self.begin += len;
                    state.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(filled))
    }
}

impl Channel {
    pub(crate) fn new(socket: Socket, stop: Arc<Stop>) -> Self {
        Self {
            socket,
            stop,
            tls: None,
            inward: Mutex::default(),
            outward: Mutex::default(),
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Encrypts from now on. The handshake of TLS comes with the first read.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if there is no memory for what is read. What rustls allocates
    /// itself, here and for each record, is out of our hands: it has no way to say that it got
    /// none, and the process ends.
    pub(crate) fn start_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let raw = zeroed(RAW)?;
        let state = ServerConnection::new(config).map_err(io::Error::other)?;
        self.tls = Some(Mutex::new(state));
        lock(&self.inward).raw.bytes = raw;
        Ok(())
    }

    /// Deadlines of [`read`](Self::read) are looked at this often, where waiting for them exactly
    /// would cost a system call more: at a unix socket.
    pub(crate) fn look_up_every(&self, time: Option<Duration>) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(socket) => socket.set_read_timeout(time),
            Socket::Tcp(_) => Ok(()),
        }
    }

    /// Reads some bytes, at least one; none at the end. Once the server ends, that is behind what
    /// had arrived then.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if nothing came in time, however often a part of a record did.
    pub(crate) fn read(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        let inward = &mut *lock(&self.inward);
        let Some(tls) = &self.tls else {
            return self.recv(&mut inward.last, buf, deadline);
        };
        let raw = &mut inward.raw;
        loop {
            let (handshake, plain) = {
                let mut tls = lock(tls);
                (tls.is_handshaking(), raw.decrypt(&mut tls, buf))
            };
            if handshake || plain.is_err() {
                // Nobody writes during a handshake; and an alert is the last that is sent, unless
                // somebody is sending.
                if let Ok(mut records) = self.outward.try_lock() {
                    let patience = deadline.unwrap_or_else(|| Instant::now() + LINGER);
                    self.send_pending(tls, &mut records, Some(patience))?;
                }
            }
            if let Some(len) = plain? {
                return Ok(len);
            }
            let len = self.recv(&mut inward.last, &mut raw.bytes, deadline)?;
            if len == 0 {
                // Cut off without a goodbye: the end, as without TLS.
                return Ok(0);
            }
            (raw.begin, raw.end) = (0, len);
        }
    }

    /// Reads from the socket.
    fn recv(
        &self,
        last: &mut Option<u64>,
        buf: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        loop {
            if last.is_none() && self.stop.is_said() {
                *last = Some(self.socket.arrived()?);
            }
            if let Some(last) = last {
                let most = buf.len().min(usize::try_from(*last).unwrap_or(usize::MAX));
                // Nothing is waited for any more: what has not come by now is cut off.
                let len = match self.socket.recv_now(&mut buf[..most]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    len => len?,
                };
                *last -= len as u64;
                return Ok(len);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                // What has come is in time, however late this thread looks.
                return match self.socket.recv_now(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        Err(io::ErrorKind::TimedOut.into())
                    }
                    done => done,
                };
            }
            if self.socket.is_unix() {
                // One call where two would be exact. At the end it is shut down for reading, which
                // wakes who waits here.
                match self.socket.recv(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    done => return done,
                }
            }
            match self.socket.recv_now(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let wake = Some(self.stop.as_fd());
                    self.socket.wait(PollFlags::IN, deadline, wake)?;
                }
                done => return done,
            }
        }
    }

    /// Waits until nobody else sends: what is written through it follows itself.
    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender {
            channel: self,
            records: lock(&self.outward),
        }
    }

    /// Says goodbye and ends both directions. With `linger` the other side gets a little time to
    /// take what was sent to it: a TCP socket that is closed with unread bytes in it takes back
    /// what is still on its way.
    pub(crate) fn close(&self, linger: bool) {
        let deadline = Instant::now() + LINGER;
        if let Some(tls) = &self.tls {
            lock(tls).send_close_notify();
            // Whoever is gone needs no goodbye.
            let _ = self.send_pending(tls, &mut lock(&self.outward), Some(deadline));
        }
        self.socket.shutdown(Shutdown::Write);
        if linger {
            let mut unread = [0; 4096];
            while Instant::now() < deadline {
                let more = match self.socket.recv_now(&mut unread) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self
                        .socket
                        .wait(PollFlags::IN, Some(deadline), None)
                        .is_ok(),
                    len => len.is_ok_and(|len| len > 0),
                };
                if !more {
                    break;
                }
            }
        }
        self.socket.shutdown(Shutdown::Both);
    }

    fn send_pending(
        &self,
        tls: &Mutex<ServerConnection>,
        records: &mut Vec<u8>,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        records.clear();
        {
            let mut tls = lock(tls);
            while tls.wants_write() {
                tls.write_tls(records)?;
            }
        }
        self.socket.send(records, deadline)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
