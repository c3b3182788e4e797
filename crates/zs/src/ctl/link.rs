//! The connection to a server.

use crate::control::{self, Answer, MAX_ANSWER, Order};
use crate::failure::Failure;
use serde_json::Value;
use std::fmt::Display;
use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A connection to the control socket of a server.
pub(super) struct Link {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

impl Link {
    /// Connects to a control socket, which `argument` named.
    pub(super) fn open(path: &Path, argument: &str) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    format!("; is a zs serve running with that {argument}?")
                }
                _ => String::new(),
            };
            Failure::Failed(format!("{}: {error}{hint}", path.display()))
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(stream),
        })
    }

    /// Sends a request, and waits for its answer.
    pub(super) fn ask(&mut self, order: &Order) -> Result<Value, Failure> {
        let mut request = serde_json::to_vec(order).map_err(|error| self.failed(&error))?;
        request.push(b'\n');
        // The answer may be that there are too many connections, and come before the request: then nobody takes that.
        let sent = self.reader.get_mut().write_all(&request);
        let line = control::line(&mut self.reader, MAX_ANSWER).and_then(|line| match line {
            None => sent.and(Err(io::ErrorKind::UnexpectedEof.into())),
            Some(line) => Ok(line),
        });
        let line = line.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => self.failed(&"the server has ended"),
            _ => self.failed(&error),
        })?;
        match serde_json::from_slice(&line).map_err(|error| self.failed(&error))? {
            Answer::Error(text) => Err(Failure::Failed(text)),
            Answer::Ok(value) => Ok(value),
        }
    }

    pub(super) fn failed(&self, what: &dyn Display) -> Failure {
        Failure::Failed(format!("{}: {what}", self.path.display()))
    }
}
