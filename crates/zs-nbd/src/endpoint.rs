//! Endpoints: unix sockets and TCP ports that listen for clients.
//!
//! A unix socket is for its owner and for root only. Its file has mode 0600 from the start, and the
//! user of each connecting process is checked. The socket is made under a temporary name, starts
//! listening, and is then linked to its final name. So only one of several servers that start at
//! once gets the name, and a client that finds the file can connect. A file left by a server that
//! is gone is replaced; a file in use is not. The folder is locked for a replacement only. Nothing
//! waits for that lock, because any user may hold a lock on a folder like `/tmp` for ever.
//!
//! # Locking
//! A listener's file has a lock, held while the file is removed.

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

/// The bytes of the send buffer that the system is asked for. It holds several replies of 128 KiB;
/// the default holds hardly more than one. (Linux doubles the number, and counts its own records in
/// it.)
const SEND_BUFFER: usize = 512 << 10;
/// The most connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// The reason why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A server answers there.
    #[error("{}: in use by another server", .0.display())]
    InUse(PathBuf),
    /// A file that is no socket has that name.
    #[error("{}: there is a file of this name that is no socket", .0.display())]
    NoSocket(PathBuf),
    /// A server that is gone left its socket, and another process has locked the folder. It may be
    /// another server that is replacing the socket, or a process that wants to prevent this.
    #[error("{}: left by a server that is gone, and its folder is locked: try again, or remove it", .0.display())]
    Locked(PathBuf),
    /// A TCP address beyond this machine, without TLS.
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
    /// A TCP port that was handed over cannot be used.
    #[error("a TCP port that was handed over: {0}")]
    Inherited(io::Error),
    /// A TCP port could not be opened.
    #[error("{address}: {source}")]
    Tcp {
        /// The address and port.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// A listening unix socket or TCP port.
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
    /// Listens at a unix socket at `path`. Dropping the endpoint removes the file.
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

    /// Takes over a unix socket that another process made and will remove, as in socket activation.
    /// That process chooses the permissions of its file. A client must still be the server's user,
    /// or root.
    ///
    /// # Errors
    /// The error if the socket does not listen, or cannot be made non-blocking.
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

    /// Takes over a TCP port that another process bound. The rules of [`tcp`](Self::tcp) hold.
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

    /// Listens at a TCP port. With `tls`, each client must use TLS. On loopback without TLS, any
    /// user of the machine may connect.
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

    /// Returns the address and port of a TCP endpoint.
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

    /// Returns a waiting connection. Fails with [`io::ErrorKind::WouldBlock`] if none waits, and
    /// with [`io::ErrorKind::PermissionDenied`] for a connection of another user, which is closed.
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

/// A listening unix socket for the server's user and root. Its file has mode 0600 from the start.
/// Dropping the listener removes the file, if it is still the same one.
#[derive(Debug)]
pub struct PrivateListener {
    /// `None` if another process owns the file. Dropped before the socket: while the socket
    /// listens, no other server takes its name, and its inode number is not used again.
    file: Mutex<Option<SocketFile>>,
    listener: UnixListener,
}

impl PrivateListener {
    /// Makes the socket. Replaces a file that a server left behind, but not one in use. Never
    /// waits.
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

    /// Stops listening and removes the file. From now on [`accept`](Self::accept) fails, also a
    /// call that waits.
    pub fn stop(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        drop(file.take());
        // It cannot fail for a listening socket. On Linux it wakes threads that wait in `accept`.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }

    /// Waits for the next connection, and returns it.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] for a connection of another user, which is closed; or
    /// the system's error.
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

/// The file of a unix socket. Dropping this removes the file, if it is still the same one.
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
        // The temporary name may be shorter than `path`. A path too long for an address must be
        // refused first.
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
            // Another server took the name after the removal.
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
        // No other server takes the name between the check and the removal, because the socket
        // still listens.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            // An error can be reported to nobody here. The next server replaces the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Refuses a socket that does not listen: waiting for a connection would last for ever.
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

/// Returns a listening socket with an unused name in the folder of `path`. Dropping it removes its
/// file.
fn listen_beside(path: &Path) -> io::Result<NamedTempFile<OwnedFd>> {
    let folder = folder(path)?;
    let mut unique = tempfile::Builder::new();
    unique.prefix(".").make_in(folder, |made| {
        // The path is built from `folder` as it was given: an address has room for 107 bytes only.
        let name = made.file_name().unwrap_or(made.as_os_str());
        Ok(listen(&folder.join(name))?)
    })
}

/// Checks that the file at `path` may be removed: it is the socket of a server that is gone.
/// Returns the locked folder; no other server replaces the file while the folder is open.
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
    // Another server may have replaced the file before the folder was locked.
    if is_abandoned(path).map_err(failed)? {
        return Ok(folder);
    }
    Err(EndpointError::InUse(path.to_owned()))
}

fn unix_socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | flags;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Says whether no server listens at the socket, because a connection is refused. Does not wait: a
/// server with a full queue counts as listening.
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
    // On Linux the file gets the mode of the socket, less the umask. So the file never has another
    // mode.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}
