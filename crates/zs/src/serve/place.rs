//! Where clients connect: sockets made, or handed over by whoever started the server.

use super::failed;
use crate::failure::Failure;
use listenfd::ListenFd;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zs_nbd::Endpoint;

/// The unix socket, and the folder made for it, which goes at the end.
pub(super) struct Place {
    socket: PathBuf,
    /// Of a socket that was handed over.
    inherited: Vec<Endpoint>,
    _folder: Option<TempDir>,
}

impl Place {
    /// At a path; in a new folder that only its owner can enter; or where somebody listens already (`LISTEN_FDS`).
    pub(super) fn new(asked: Option<&Path>) -> Result<Self, Failure> {
        let mut given = ListenFd::from_env();
        if given.len() > 0 {
            return match asked {
                None => Self::inherit(&mut given),
                Some(_) => Err(Failure::Usage(
                    "--socket is given, and sockets by LISTEN_FDS: leave one out".to_owned(),
                )),
            };
        }
        if let Some(path) = asked.filter(|path| *path != Path::new("-")) {
            let socket = std::path::absolute(path).map_err(|error| failed(&error))?;
            return Ok(Self {
                socket,
                inherited: Vec::new(),
                _folder: None,
            });
        }
        let folder = tempfile::Builder::new().prefix("zs-").tempdir();
        let folder = folder.map_err(|error| failed(&error))?;
        Ok(Self {
            socket: folder.path().join("nbd"),
            inherited: Vec::new(),
            _folder: Some(folder),
        })
    }

    fn inherit(given: &mut ListenFd) -> Result<Self, Failure> {
        let (mut socket, mut inherited) = (None, Vec::new());
        for index in 0..given.len() {
            let listener = given.take_unix_listener(index).ok().flatten();
            let listener = listener.ok_or_else(|| {
                failed(&format!(
                    "socket {index} of LISTEN_FDS: no unix stream socket, and no other is taken over"
                ))
            })?;
            let address = listener.local_addr().ok();
            let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
            socket = socket.or(path);
            let endpoint = Endpoint::inherited(listener);
            inherited.push(endpoint.map_err(|error| failed(&error))?);
        }
        let socket = socket.ok_or_else(|| {
            failed(
                &"the sockets of LISTEN_FDS have no path, beside which the control socket could be",
            )
        })?;
        Ok(Self {
            socket,
            inherited,
            _folder: None,
        })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Begins to listen, if nobody does yet.
    pub(super) fn endpoints(&mut self) -> Result<Vec<Endpoint>, Failure> {
        if self.inherited.is_empty() {
            let endpoint = Endpoint::unix(&self.socket);
            self.inherited
                .push(endpoint.map_err(|error| failed(&error))?);
        }
        Ok(std::mem::take(&mut self.inherited))
    }

    /// The URI of a disk; letters that mean something in a URI are escaped.
    pub(super) fn uri(&self, export: &str) -> String {
        let export = escape(export.as_bytes(), b"");
        let socket = escape(self.socket.as_os_str().as_encoded_bytes(), b"/");
        format!("nbd+unix:///{export}?socket={socket}")
    }
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
            socket: "/tmp/a b&c".into(),
            inherited: Vec::new(),
            _folder: None,
        };
        let uri = place.uri("d/e");
        assert_eq!(uri, "nbd+unix:///d%2Fe?socket=/tmp/a%20b%26c");
    }
}
