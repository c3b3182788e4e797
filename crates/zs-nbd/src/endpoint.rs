//! Where clients connect: unix sockets and TCP.
//!
//! A unix socket is for its owner (and root): its file has mode 0600 from its first moment on, and who connects is asked for
//! their user. A file that a server left behind is replaced; one in use is not. Two servers that start at once are kept apart by
//! a lock on the folder.

use crate::socket::Socket;
use crate::tls::Tls;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::{self, File, Metadata};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

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
    /// TCP beyond this machine, without TLS.
    #[error("{0}: beyond this machine only with TLS and certificates of clients")]
    NeedsTls(SocketAddr),
    /// A unix socket could not be made.
    #[error("{}: {source}", path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A TCP port could not be had.
    #[error("{address}: {source}")]
    Tcp {
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
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
    /// A unix socket at `path`. Its file goes when the endpoint does.
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

    /// A unix socket that somebody else made and will remove, as in socket activation. Its permissions are theirs; who connects
    /// must still be the server's user, or root.
    ///
    /// # Errors
    /// If it cannot be made non-blocking.
    pub fn inherited(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: Listener::Unix(PrivateListener {
                listener,
                _file: None,
            }),
            tls: None,
        })
    }

    /// A TCP port; with `tls`, nobody gets further without. On loopback without TLS any user of the machine comes in.
    ///
    /// # Errors
    /// [`EndpointError::NeedsTls`] or [`EndpointError::Tcp`].
    pub fn tcp(address: SocketAddr, tls: Option<Tls>) -> Result<Self, EndpointError> {
        if tls.is_none() && !address.ip().is_loopback() {
            return Err(EndpointError::NeedsTls(address));
        }
        let failed = |source| EndpointError::Tcp { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            listener: Listener::Tcp(listener),
            tls,
        })
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

    /// A connection that waits; [`io::ErrorKind::WouldBlock`] if none does, [`io::ErrorKind::PermissionDenied`] for one of
    /// another user, which is closed.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        match &self.listener {
            Listener::Unix(listener) => listener.accept().map(Socket::Unix),
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

/// A unix socket for the server's user and root, listening; its file has mode 0600 from its first moment on, and goes when this
/// is dropped, if it is still the same.
#[derive(Debug)]
pub struct PrivateListener {
    listener: UnixListener,
    /// None of somebody else's.
    _file: Option<SocketFile>,
}

impl PrivateListener {
    /// Makes the socket. A file that a server left behind is replaced, one in use is not.
    ///
    /// # Errors
    /// [`EndpointError::InUse`], [`EndpointError::NoSocket`] or [`EndpointError::Unix`].
    pub fn bind(path: &Path) -> Result<Self, EndpointError> {
        let (listener, file) = SocketFile::bind(path)?;
        Ok(Self {
            listener,
            _file: Some(file),
        })
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] for one of another user, which is closed; or what the system says.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (socket, _) = self.listener.accept()?;
        let peer = rustix::net::sockopt::socket_peercred(&socket)?.uid;
        let own = rustix::process::geteuid();
        if peer != own && !peer.is_root() {
            let text = format!("user {} is not {}", peer.as_raw(), own.as_raw());
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
        let _folder = lock_folder(path).map_err(failed)?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(EndpointError::NoSocket(path.to_owned()));
            }
            Ok(_) if is_abandoned(path).map_err(failed)? => {
                fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => return Err(EndpointError::InUse(path.to_owned())),
        }
        let listener = listen(path).map_err(|errno| failed(errno.into()))?;
        let made = fs::symlink_metadata(path).map_err(failed)?;
        let file = Self {
            path: path.to_owned(),
            device: made.dev(),
            inode: made.ino(),
        };
        Ok((UnixListener::from(listener), file))
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _folder = lock_folder(&self.path);
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            // Nobody is left to be told; the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The folder of `path`, locked until the file is dropped.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Err(io::ErrorKind::IsADirectory.into()),
    };
    let flags = (OFlags::DIRECTORY | OFlags::CLOEXEC).bits().cast_signed();
    let folder = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(folder)?;
    rustix::fs::flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}

fn unix_socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | flags;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Whether nobody listens at the socket: a connection is refused. It is not waited for, so that a server whose queue is full
/// counts as one.
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
    // On Linux a socket's own mode, less the umask, becomes that of its file: there is no moment in which it is another.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}
