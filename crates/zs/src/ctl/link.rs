//! The connection to a server.

use crate::control::{self, Answer, MAX_ANSWER, Order};
use crate::failure::Failure;
use serde_json::Value;
use std::fmt::Display;
use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// A connection to the control socket of a server.
pub(super) struct Link {
    path: PathBuf,
    patience: Duration,
    reader: BufReader<UnixStream>,
    /// Whether the server has answered once.
    known: bool,
}

impl Link {
    /// Connects to a control socket, which `argument` named. A server that gives no sign of life
    /// for `patience`, now or later, is not waited for any longer.
    pub(super) fn open(path: &Path, argument: &str, patience: Duration) -> Result<Self, Failure> {
        let stream = connect(path, patience).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    format!("; is a zs serve running with that {argument}?")
                }
                io::ErrorKind::PermissionDenied => {
                    "; only the user who started the server, and root, can use it".to_owned()
                }
                _ => String::new(),
            };
            match is_late(&error) {
                true => silent(path, patience),
                false => Failure::Failed(format!("{}: {error}{hint}", path.display())),
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            patience,
            reader: BufReader::new(stream),
            known: false,
        })
    }

    /// Sends a request, and waits for its answer.
    pub(super) fn ask(&mut self, order: &Order) -> Result<Value, Failure> {
        let mut request = serde_json::to_vec(order).map_err(|error| self.failed(&error))?;
        request.push(b'\n');
        // The answer may be that there are too many connections, and come before the request: then
        // nobody takes that.
        let mut sent = self.reader.get_mut().write_all(&request);
        loop {
            let line = match control::line(&mut self.reader, MAX_ANSWER) {
                Ok(None) => sent.and(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(Some(line)) => Ok(line),
                Err(error) => Err(error),
            };
            let line = line.map_err(|error| self.lost(&error))?;
            sent = Ok(());
            self.known = true;
            match serde_json::from_slice(&line).map_err(|error| self.failed(&error))? {
                Answer::Error(text) => return Err(Failure::Failed(text)),
                Answer::Ok(value) => return Ok(value),
                Answer::Working => {}
            }
        }
    }

    /// Says why there is no answer.
    fn lost(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => self.failed(match self.known {
                true => &"the server has ended",
                false => &"the server has ended, or this is not its control socket",
            }),
            _ if is_late(error) => silent(&self.path, self.patience),
            _ => self.failed(error),
        }
    }

    pub(super) fn failed(&self, what: &dyn Display) -> Failure {
        Failure::Failed(format!("{}: {what}", self.path.display()))
    }
}

/// Connects, for as long as `patience` says: a server that is stopped takes nobody in, and its
/// queue may be full.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let (sender, connected) = mpsc::channel();
    let path = path.to_owned();
    let thread = std::thread::Builder::new().name("connect".into());
    // If it comes too late, nobody takes it, and it ends with this process.
    thread.spawn(move || sender.send(UnixStream::connect(path)))?;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = connected.recv_timeout(patience).map_err(late)??;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

fn silent(path: &Path, patience: Duration) -> Failure {
    Failure::Failed(format!(
        "{}: no sign of life of the server for {} s (--timeout): is it stopped?",
        path.display(),
        patience.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;
    use std::os::unix::net::UnixListener;

    fn ask(path: &Path, patience: Duration) -> Result<Value, Failure> {
        let order = Order {
            export: None,
            request: Request::Trim,
        };
        Link::open(path, "--control", patience)?.ask(&order)
    }

    /// A server that works for longer than the patience, and says so; and one that says nothing.
    #[test]
    fn who_says_that_it_works_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let server = UnixListener::bind(&path).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            for _ in 0..100 {
                stream.write_all(b"\"working\"\n").unwrap();
            }
            stream.write_all(b"{\"ok\":7}\n").unwrap();
            server
        });
        assert_eq!(ask(&path, Duration::from_secs(60)).unwrap(), 7);
        let _silent = answering.join().unwrap();
        let Err(Failure::Failed(text)) = ask(&path, Duration::from_millis(1)) else {
            unreachable!("nobody answers")
        };
        assert!(text.contains("is it stopped?"), "{text}");
    }
}
