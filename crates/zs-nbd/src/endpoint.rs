//! Where clients connect: unix sockets and TCP.
//!
//! A unix socket is for its owner (and root): its file has mode 0600 from its first moment on, and
//! who connects is asked for their user. It is made under a name of its own and linked to the one
//! that was asked for, when it listens already: so of servers that start at once one gets the name,
//! and whoever finds it can connect. A file that a server left behind is replaced; one in use is
//! not. Only for that the folder is locked, and nobody waits for the lock: anyone may hold one on a
//! folder like `/tmp`, for ever.
//!
//! # Locking
//! A listener's file has a lock, held while it is removed.

use crate::socket::Socket;
use crate::tls::Tls;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tempfile::NamedTempFile;

/// Bytes of replies that the system takes in before their client does, at most (it counts its own
/// records, too, and is asked for half of that): several replies of 128 KiB, where its default is
/// not much more than one.
const SEND_BUFFER: usize = 512 << 10;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why nobody can connect there.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A server answers there.
    #[error("{}: in use by another server", .0.display())]
    InUse(PathBuf),
    /// Something else than a socket has that name.
    #[error("{}: there is a file of this name that is no socket", .0.display())]
    NoSocket(PathBuf),
    /// A server that is gone left its socket, and somebody has locked the folder: another server
    /// that replaces it at this moment, or somebody who wants to keep this one from it.
    #[error("{}: left by a server that is gone, and its folder is locked: try again, or remove it", .0.display())]
    Locked(PathBuf),
    /// TCP beyond this machine, without TLS.
    #[error("{0}: beyond this machine only with TLS and certificates of clients")]
    NeedsTls(SocketAddr),
    /// A unix socket could not be made.
    #[error("{}: {source}", path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A TCP port that somebody else bound is of no use.
    #[error("a TCP port that was handed over: {0}")]
    Inherited(io::Error),
    /// A TCP port could not be had.
    #[error("{address}: {source}")]
    Tcp {
        /// The address and port.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// A place where clients connect, listening.
#[derive(Debug)]
pub struct Endpoint {
    listener: Listener,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Listener {
    Unix(PrivateListener),
    Tcp(TcpListener),
}

impl Endpoint {
    /// Listens at a unix socket at `path`. Its file goes when the endpoint does.
    ///
    /// # Errors
    /// [`EndpointError::InUse`], [`EndpointError::NoSocket`] or [`EndpointError::Unix`].
    pub fn unix(path: &Path) -> Result<Self, EndpointError> {
        let listener = PrivateListener::bind(path)?;
        let quick = listener.listener.set_nonblocking(true);
        quick.map_err(|source| EndpointError::Unix {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            listener: Listener::Unix(listener),
            tls: None,
        })
    }

    /// Takes over a unix socket that somebody else made and will remove, as in socket activation.
    /// Its permissions are theirs; who connects must still be the server's user, or root.
    ///
    /// # Errors
    /// If it does not listen, or cannot be made non-blocking.
    pub fn inherited(listener: UnixListener) -> io::Result<Self> {
        must_listen(&listener)?;
        listener.set_nonblocking(true)?;
        let listener = PrivateListener {
            file: Mutex::new(None),
            listener,
        };
        Ok(Self {
            listener: Listener::Unix(listener),
            tls: None,
        })
    }

    /// Takes over a TCP port that somebody else bound; as in [`tcp`](Self::tcp).
    ///
    /// # Errors
    /// [`EndpointError::NeedsTls`], [`EndpointError::Inherited`] or [`EndpointError::Tcp`].
    pub fn inherited_tcp(listener: TcpListener, tls: Option<Tls>) -> Result<Self, EndpointError> {
        must_listen(&listener).map_err(EndpointError::Inherited)?;
        let address = listener.local_addr().map_err(EndpointError::Inherited)?;
        if tls.is_none() && !address.ip().is_loopback() {
            return Err(EndpointError::NeedsTls(address));
        }
        let quick = listener.set_nonblocking(true);
        quick.map_err(|source| EndpointError::Tcp { address, source })?;
        Ok(Self {
            listener: Listener::Tcp(listener),
            tls,
        })
    }

    /// Listens at a TCP port; with `tls`, nobody gets further without. On loopback without TLS any
    /// user of the machine comes in.
    ///
    /// # Errors
    /// [`EndpointError::NeedsTls`] or [`EndpointError::Tcp`].
    pub fn tcp(address: SocketAddr, tls: Option<Tls>) -> Result<Self, EndpointError> {
        if tls.is_none() && !address.ip().is_loopback() {
            return Err(EndpointError::NeedsTls(address));
        }
        let listener = TcpListener::bind(address);
        let listener = listener.map_err(|source| EndpointError::Tcp { address, source })?;
        Self::inherited_tcp(listener, tls)
    }

    /// Address and port of a TCP endpoint.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Returns a connection that waits; [`io::ErrorKind::WouldBlock`] if none does,
    /// [`io::ErrorKind::PermissionDenied`] for one of another user, which is closed.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        match &self.listener {
            Listener::Unix(listener) => {
                let socket = listener.accept()?;
                rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
                Ok(Socket::Unix(socket))
            }
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                Socket::tcp(stream)
            }
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Listener::Unix(private) => private.listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

/// A unix socket for the server's user and root, listening; its file has mode 0600 from its first
/// moment on, and goes when this is dropped, if it is still the same.
#[derive(Debug)]
pub struct PrivateListener {
    /// None of somebody else's. Dropped first: while the socket listens, nobody takes its name,
    /// nor its inode's number.
    file: Mutex<Option<SocketFile>>,
    listener: UnixListener,
}

impl PrivateListener {
    /// Makes the socket. A file that a server left behind is replaced, one in use is not. Waits for
    /// nobody.
    ///
    /// # Errors
    /// [`EndpointError::InUse`], [`EndpointError::NoSocket`], [`EndpointError::Locked`] or
    /// [`EndpointError::Unix`].
    pub fn bind(path: &Path) -> Result<Self, EndpointError> {
        let (listener, file) = SocketFile::bind(path)?;
        Ok(Self {
            file: Mutex::new(Some(file)),
            listener,
        })
    }

    /// Ends it: nobody connects any more, its file goes, and [`accept`](Self::accept) fails from
    /// now on, where it waits, too.
    pub fn stop(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        drop(file.take());
        // Of a socket that listens it cannot fail. On Linux it wakes who accepts.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] for one of another user, which is closed; or what the
    /// system says.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (socket, _) = self.listener.accept()?;
        let peer = nix::sys::socket::getsockopt(&socket, PeerCredentials)?.uid();
        let own = rustix::process::geteuid().as_raw();
        if peer != own && peer != 0 {
            let text = format!("user {peer} is not {own}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        socket.set_nonblocking(false)?;
        Ok(socket)
    }
}

/// The file of a unix socket, removed when this is dropped, if it is still the same.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn bind(path: &Path) -> Result<(UnixListener, Self), EndpointError> {
        let failed = |source: io::Error| EndpointError::Unix {
            path: path.to_owned(),
            source,
        };
        // The name beside it may be shorter than this one, to which nobody could connect.
        SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
        let made = listen_beside(path).map_err(failed)?;
        let found = fs::symlink_metadata(made.path()).map_err(failed)?;
        let named = match made.persist_noclobber(path) {
            Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => {
                let _alone = may_replace(path)?;
                fs::remove_file(path).map_err(failed)?;
                taken.file.persist_noclobber(path)
            }
            named => named,
        };
        let socket = named.map_err(|refused| match refused.error.kind() {
            // Somebody was quicker, behind the removal.
            io::ErrorKind::AlreadyExists => EndpointError::InUse(path.to_owned()),
            _ => failed(refused.error),
        })?;
        let file = Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        };
        Ok((UnixListener::from(socket), file))
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Between the look and the removal nobody else takes the name: the socket still listens.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            // Nobody is left to be told; the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Refuses a socket at which nobody can arrive: it would be waited at for ever.
fn must_listen(socket: impl AsFd) -> io::Result<()> {
    if rustix::net::sockopt::socket_acceptconn(socket)? {
        return Ok(());
    }
    let text = "the socket does not listen";
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Returns the folder of `path`.
fn folder(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(folder) => Ok(folder),
        None => Err(io::ErrorKind::IsADirectory.into()),
    }
}

/// Returns a socket that listens, beside `path` under a name that nobody uses; its file goes when
/// it is dropped.
fn listen_beside(path: &Path) -> io::Result<NamedTempFile<OwnedFd>> {
    let folder = folder(path)?;
    let mut unique = tempfile::Builder::new();
    unique.prefix(".").make_in(folder, |made| {
        // As long as the path that was asked for: an address has room for 107 bytes.
        let name = made.file_name().unwrap_or(made.as_os_str());
        Ok(listen(&folder.join(name))?)
    })
}

/// Says whether what is at `path` may be removed: the socket of a server that is gone. Nobody else
/// replaces it while the folder that is returned is open.
fn may_replace(path: &Path) -> Result<File, EndpointError> {
    let failed = |source: io::Error| EndpointError::Unix {
        path: path.to_owned(),
        source,
    };
    let looked = fs::symlink_metadata(path).map_err(failed)?;
    if !looked.file_type().is_socket() {
        return Err(EndpointError::NoSocket(path.to_owned()));
    }
    if !is_abandoned(path).map_err(failed)? {
        return Err(EndpointError::InUse(path.to_owned()));
    }
    let flags = (OFlags::DIRECTORY | OFlags::CLOEXEC).bits().cast_signed();
    let folder = folder(path)
        .and_then(|folder| {
            OpenOptions::new()
                .read(true)
                .custom_flags(flags)
                .open(folder)
        })
        .map_err(failed)?;
    match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(EndpointError::Locked(path.to_owned())),
        locked => locked.map_err(|errno| failed(errno.into()))?,
    }
    // Somebody else may have replaced it before it was locked.
    if is_abandoned(path).map_err(failed)? {
        return Ok(folder);
    }
    Err(EndpointError::InUse(path.to_owned()))
}

fn unix_socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | flags;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Says whether nobody listens at the socket: a connection is refused. It is not waited for, so
/// that a server whose queue is full counts as one.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    let address = SocketAddrUnix::new(path)?;
    match rustix::net::connect(unix_socket(SocketFlags::NONBLOCK)?, &address) {
        Err(rustix::io::Errno::CONNREFUSED) => Ok(true),
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

fn listen(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = unix_socket(SocketFlags::empty())?;
    // On Linux a socket's own mode, less the umask, becomes that of its file: there is no moment in
    // which it is another.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}
