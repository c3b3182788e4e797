//! The sockets at which clients connect: made, or handed over by the program that started the
//! server.

use super::log::Log;
use crate::control;
use crate::failure::Failure;
use crate::failure::failed;
use listenfd::ListenFd;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zs_nbd::{Endpoint, EndpointError, Tls};

/// The sockets, and the folder made for them, which goes at the end.
pub(super) struct Place {
    /// Of NBD; nothing if it was handed over and has no path.
    socket: Option<PathBuf>,
    /// The path of the socket for `zs ctl`, if there is one.
    control: Option<PathBuf>,
    /// That was handed over.
    inherited: Option<Vec<Endpoint>>,
    /// Its address at TCP: `nbd://` or `nbds://`, and the address.
    tcp: Option<String>,
    _folder: Option<TempDir>,
}

impl Place {
    /// At a path; in a new folder that only its owner can enter; or where somebody listens already
    /// (`LISTEN_FDS`).
    ///
    /// The control socket lies at its own path, or beside that of NBD. Where that was handed over
    /// its folder is somebody else's, who may not let this user write there, or may want to remove
    /// it: then only a path makes one.
    pub(super) fn new(asked: Option<&Path>, control: Option<&Path>) -> Result<Self, Failure> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|error| failed(&error));
        let control = control.map(absolute).transpose()?;
        let mut given = ListenFd::from_env();
        if given.len() > 0 {
            return match asked {
                None => Self::inherit(&mut given, control),
                Some(_) => Err(Failure::Usage(
                    "--socket is given, and sockets by LISTEN_FDS: leave one out".to_owned(),
                )),
            };
        }
        let (socket, folder) = match asked.filter(|path| *path != Path::new("-")) {
            Some(path) => (absolute(path)?, None),
            None => {
                let mut folder = tempfile::Builder::new();
                folder
                    .prefix("zs-")
                    .permissions(Permissions::from_mode(0o700));
                let folder = folder.tempdir();
                let folder = folder.map_err(|error| failed(&error))?;
                (folder.path().join("nbd"), Some(folder))
            }
        };
        Ok(Self {
            control: control.or_else(|| Some(control::beside(&socket))),
            socket: Some(socket),
            inherited: None,
            tcp: None,
            _folder: folder,
        })
    }

    fn inherit(given: &mut ListenFd, control: Option<PathBuf>) -> Result<Self, Failure> {
        let (mut socket, mut inherited) = (None, Vec::new());
        for index in 0..given.len() {
            let listener = given.take_unix_listener(index).ok().flatten();
            let listener = listener.ok_or_else(|| {
                failed(format!(
                    "socket {index} of LISTEN_FDS: no unix stream socket, and no other is taken over"
                ))
            })?;
            let address = listener.local_addr().ok();
            let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
            socket = socket.or(path);
            let endpoint = Endpoint::inherited(listener);
            let endpoint =
                endpoint.map_err(|error| failed(format!("socket {index} of LISTEN_FDS: {error}")));
            inherited.push(endpoint?);
        }
        Ok(Self {
            socket,
            control,
            inherited: Some(inherited),
            tcp: None,
            _folder: None,
        })
    }

    /// Returns the path of the unix socket of NBD, if it has one.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Returns where the socket for `zs ctl` belongs, if there is to be one.
    pub(super) fn control(&self) -> Option<&Path> {
        self.control.as_deref()
    }

    /// Begins to listen, where nobody does yet.
    pub(super) fn listen(
        &mut self,
        tcp: Option<SocketAddr>,
        tls: Option<Tls>,
    ) -> Result<Vec<Endpoint>, Failure> {
        let mut endpoints = match (&mut self.inherited, &self.socket) {
            (Some(inherited), _) => std::mem::take(inherited),
            (None, Some(socket)) => {
                vec![Endpoint::unix(socket).map_err(|error| unusable(&error))?]
            }
            (None, None) => Vec::new(),
        };
        if let Some(asked) = tcp {
            let scheme = if tls.is_some() { "nbds" } else { "nbd" };
            let endpoint = Endpoint::tcp(asked, tls).map_err(|error| unusable(&error))?;
            // Not what was asked for: that may have been any port.
            let address = endpoint.tcp_address().unwrap_or(asked);
            self.tcp = Some(format!("{scheme}://{address}"));
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }

    /// Tells where the disks are. On standard output, but for a server that was handed its socket:
    /// whoever did that knows where it is, and may have lent its own standard output (as libnbd
    /// does, for data).
    pub(super) fn announce(
        &self,
        uris: &[String],
        verbose: bool,
        log: &Log,
    ) -> Result<(), Failure> {
        if self.inherited.is_none() {
            let out = Log::start(io::stdout(), Some((log.clone(), "standard output")))?;
            out.say(&format!("{}\n", uris.join("\n")));
            return Ok(());
        }
        if self.tcp.is_some() || verbose {
            for uri in uris {
                log.note(uri);
            }
        }
        Ok(())
    }

    /// Returns the URIs of disks: those of the unix socket in the order of the disks, then those of
    /// TCP. Letters that mean something in a URI are escaped.
    pub(super) fn uris<'a>(&self, disks: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
        let socket = self.socket.as_ref();
        let socket = socket.map(|path| escape(path.as_os_str().as_encoded_bytes(), b"/"));
        let names = disks.map(|name| escape(name.as_bytes(), b""));
        let unix = names.clone().filter_map(|name| {
            let socket = socket.as_deref()?;
            Some(format!("nbd+unix:///{name}?socket={socket}"))
        });
        let tcp = names.filter_map(|name| Some(format!("{}/{name}", self.tcp.as_deref()?)));
        unix.chain(tcp).collect()
    }
}

/// Says why a server cannot listen there, and what helps.
pub(super) fn unusable(error: &EndpointError) -> Failure {
    if let EndpointError::NeedsTls(_) = error {
        return Failure::Usage(format!(
            "--tcp {error}: add --tls CERT KEY CA, or listen at 127.0.0.1 or ::1"
        ));
    }
    failed(&match error {
        EndpointError::Unix { path, source } if source.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            format!("{error}: there is no folder {}", folder.display())
        }
        EndpointError::Tcp { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            format!("--tcp {error}; port 0 takes a free one")
        }
        EndpointError::Tcp { .. } => format!("--tcp {error}"),
        _ => error.to_string(),
    })
}

/// Reads what --tcp is given. A name may mean several addresses, or another one tomorrow; whom to
/// let in is not left to that.
pub(super) fn tcp_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address and a port, as in 127.0.0.1:10809 or [::1]:10809; names of hosts are \
         not looked up"
            .to_owned()
    })
}

fn escape(bytes: &[u8], also: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || also.contains(byte) {
            escaped.push(char::from(*byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_escaped() {
        let place = Place {
            socket: Some("/tmp/a b&c".into()),
            control: None,
            inherited: None,
            tcp: Some("nbds://[::1]:10809".to_owned()),
            _folder: None,
        };
        let uris = [
            "nbd+unix:///d%2Fe?socket=/tmp/a%20b%26c",
            "nbd+unix:///?socket=/tmp/a%20b%26c",
            "nbds://[::1]:10809/d%2Fe",
            "nbds://[::1]:10809/",
        ];
        assert_eq!(place.uris(["d/e", ""].into_iter()), uris);
    }

    #[test]
    fn tcp_wants_an_address_and_a_port() {
        assert_eq!(tcp_address("127.0.0.1:0").unwrap().port(), 0);
        assert!(tcp_address("[::1]:10809").unwrap().is_ipv6());
        for text in ["localhost:10809", "127.0.0.1", "10809", ":10809", ""] {
            let error = tcp_address(text).unwrap_err();
            assert!(
                error.contains("127.0.0.1:10809") && error.contains("names"),
                "{error}"
            );
        }
    }
}
