//! A connected unix or TCP socket, with deadlines.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendFlags, sockopt};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The silence after which a TCP client is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// The time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The probes without an answer after which a client counts as gone.
const KEEPALIVE_COUNT: u32 = 6;
/// The milliseconds without an acknowledgement after which a TCP connection ends.
const UNACKNOWLEDGED: u32 = 120_000;

/// A unix or TCP socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Takes a TCP connection. It sends bytes without delay, and ends when the other machine is
    /// gone.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_COUNT)?;
        sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED)?;
        Ok(Self::Tcp(stream))
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        // It fails only if the client has closed the connection already.
        let _ = match self {
            Self::Unix(socket) => socket.shutdown(how),
            Self::Tcp(socket) => socket.shutdown(how),
        };
    }

    /// Returns another descriptor of the same socket.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
        })
    }

    /// Returns the number of bytes that have arrived and were not read.
    pub(crate) fn arrived(&self) -> io::Result<u64> {
        Ok(rustix::io::ioctl_fionread(self)?)
    }

    /// Reads at least one byte, or returns 0 at the end. Waits for bytes, for the socket's read
    /// timeout at most if it has one; then fails with [`io::ErrorKind::WouldBlock`].
    pub(crate) fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (len, _) =
            rustix::io::retry_on_intr(|| rustix::net::recv(self, &mut *buf, RecvFlags::empty()))?;
        Ok(len)
    }

    /// Reads like [`recv`](Self::recv), but does not wait: fails with [`io::ErrorKind::WouldBlock`]
    /// if there are no bytes.
    pub(crate) fn recv_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (len, _) =
            rustix::io::retry_on_intr(|| rustix::net::recv(self, &mut *buf, RecvFlags::DONTWAIT))?;
        Ok(len)
    }

    /// Sends all bytes. Fails with [`io::ErrorKind::TimedOut`] if they could not be sent before
    /// `deadline`.
    pub(crate) fn send(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(self, rest, flags) {
                Ok(len) => rest = &rest[len..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT, deadline, None)?,
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready or `wake` is readable. Fails with
    /// [`io::ErrorKind::TimedOut`] after `deadline`.
    pub(crate) fn wait(
        &self,
        ready: PollFlags,
        deadline: Option<Instant>,
        wake: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let left = deadline.map(left).transpose()?;
        let own = PollFd::new(self, ready);
        let found = match wake {
            None => rustix::event::poll(&mut [own], left.as_ref()),
            Some(wake) => {
                let wake = PollFd::from_borrowed_fd(wake, PollFlags::IN);
                rustix::event::poll(&mut [own, wake], left.as_ref())
            }
        };
        match found {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(socket) => socket.as_fd(),
            Self::Tcp(socket) => socket.as_fd(),
        }
    }
}

/// Returns the time until `deadline`, or [`io::ErrorKind::TimedOut`].
fn left(deadline: Instant) -> io::Result<Timespec> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Timespec::try_from(left).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn tcp_notices_that_the_other_machine_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::tcp(listener.accept().unwrap().0).unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), UNACKNOWLEDGED);
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
    }

    /// More bytes than a socket buffers are sent to a peer that does not read.
    #[test]
    fn what_is_not_taken_fails_at_the_deadline() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let socket = Socket::Unix(socket);
        let sent = socket.send(&vec![0; 16 << 20], Some(Instant::now()));
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
