//! A socket, in clear or encrypted with TLS. One thread may read while another one writes.
//!
//! # Locking
//! Locks are taken in this order. `inward` is held while reading, also during the call on the
//! socket. `outward` is held by a [`Sender`], so that TLS records are sent in the order in which
//! they were made, and no other bytes come between the parts of a reply. The device may be called
//! while it is held. `tls` is held while bytes are encrypted or decrypted, and never during a call
//! on the socket.

use crate::batch::zeroed;
use crate::socket::Socket;
use crate::stop_signal::StopSignal;
use rustix::event::PollFlags;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The bytes of the buffer for encrypted input.
const RAW_BYTES: usize = 64 << 10;
/// The bytes that are encrypted under one hold of the lock. The TLS state keeps at most this many
/// unsent bytes.
const ENCRYPTED_AT_ONCE: usize = 32 << 10;
/// The time that the client gets, at the end, to receive the last bytes.
const LINGER: Duration = Duration::from_secs(1);

/// A socket, and the TLS state once TLS has begun.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    stop: Arc<StopSignal>,
    tls: Option<Mutex<ServerConnection>>,
    inward: Mutex<Inward>,
    /// The TLS records that are being sent.
    outward: Mutex<Vec<u8>>,
}

/// The writing side, owned by one thread at a time.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    channel: &'a Channel,
    records: MutexGuard<'a, Vec<u8>>,
}

impl Sender<'_> {
    /// Writes all bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if the client did not receive them before `deadline`; or the
    /// system's error.
    pub(crate) fn write(&mut self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        let channel = self.channel;
        let Some(tls) = &channel.tls else {
            return channel.socket.send(bytes, deadline);
        };
        for part in bytes.chunks(ENCRYPTED_AT_ONCE) {
            lock(tls).writer().write_all(part)?;
            channel.send_pending(tls, &mut self.records, deadline)?;
        }
        Ok(())
    }
}

/// The reading side.
#[derive(Debug, Default)]
struct Inward {
    /// Set once the server ends: the bytes that had arrived by then and were not read yet.
    last: Option<u64>,
    /// Bytes that were read from the socket and are still encrypted.
    raw: Raw,
}

/// A buffer of encrypted bytes.
#[derive(Debug, Default)]
struct Raw {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Raw {
    /// Decrypts bytes into `buf` and returns their number. Returns 0 at the end, and `None` if more
    /// encrypted bytes are needed first.
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
                    // The TLS state holds about one record, so it is emptied before it gets more.
                    // After a close alert it takes no more bytes.
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
    pub(crate) fn new(socket: Socket, stop: Arc<StopSignal>) -> Self {
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

    /// Encrypts from now on. The first [`read`](Self::read) runs the TLS handshake.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if there is no memory for the input buffer. rustls allocates
    /// memory itself, here and for each record. It cannot report a failure of that: the process is
    /// aborted then.
    pub(crate) fn start_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let raw = zeroed(RAW_BYTES)?;
        let state = ServerConnection::new(config).map_err(io::Error::other)?;
        self.tls = Some(Mutex::new(state));
        lock(&self.inward).raw.bytes = raw;
        Ok(())
    }

    /// Sets how often a [`read`](Self::read) on a unix socket checks its deadline. An exact wait
    /// would cost one more system call for each read.
    pub(crate) fn look_up_every(&self, time: Option<Duration>) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(socket) => socket.set_read_timeout(time),
            Socket::Tcp(_) => Ok(()),
        }
    }

    /// Reads at least one byte, or returns 0 at the end. Once the server ends, the input ends
    /// behind the bytes that had arrived by then.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if no byte came in time. A part of a TLS record does not count
    /// as one.
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
                // No other thread writes during a TLS handshake. An alert after an error is sent
                // too, unless another thread is sending at this moment.
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
                // The client closed the socket without a close alert. This counts as the end, as
                // without TLS.
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
            if last.is_none() && self.stop.is_set() {
                *last = Some(self.socket.arrived()?);
            }
            if let Some(last) = last {
                let most = buf.len().min(usize::try_from(*last).unwrap_or(usize::MAX));
                // Nothing is waited for any more. Bytes that have not come by now are cut off.
                let len = match self.socket.recv_now(&mut buf[..most]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    len => len?,
                };
                *last -= len as u64;
                return Ok(len);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                // Bytes that are here came in time, however late this thread looks.
                return match self.socket.recv_now(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        Err(io::ErrorKind::TimedOut.into())
                    }
                    done => done,
                };
            }
            if self.socket.is_unix() {
                // One system call, where an exact deadline would take two. At the end the server
                // shuts the socket down for reading, which wakes a thread that waits here.
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

    /// Waits until no other thread sends, and returns the writing side. No other bytes come between
    /// its writes.
    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender {
            channel: self,
            records: lock(&self.outward),
        }
    }

    /// Sends a close alert if TLS is on, and ends both directions. With `linger`, waits up to 1
    /// second for the client to close its side, and drops the bytes that it sends meanwhile. This
    /// is needed for TCP: a socket that is closed with unread bytes in it resets the connection,
    /// and replies on their way are lost.
    pub(crate) fn close(&self, linger: bool) {
        let deadline = Instant::now() + LINGER;
        if let Some(tls) = &self.tls {
            lock(tls).send_close_notify();
            // A client that is gone needs no close alert.
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
