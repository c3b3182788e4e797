//! The control socket: a thread that accepts, and one for each connection.

use super::disk::StoreDisk;
use super::{failed, verbs};
use crate::control::{self, Answer, Request};
use crate::failure::Failure;
use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use zs_nbd::PrivateListener;

/// Most connections at once.
const CONNECTIONS: usize = 16;

/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the system gets to have descriptors again.
const PAUSE: Duration = Duration::from_millis(100);

/// The control socket, until it is dropped.
pub(super) struct Console {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    disk: Arc<StoreDisk>,
    allowed: Option<PathBuf>,
    stopping: AtomicBool,
    open: AtomicUsize,
}

impl Console {
    pub(super) fn start(
        path: &Path,
        disk: Arc<StoreDisk>,
        allowed: Option<&Path>,
    ) -> Result<Self, Failure> {
        let allowed = allowed.map(Path::canonicalize).transpose();
        let allowed = allowed.map_err(|error| failed(&format!("--allow-dir: {error}")))?;
        let listener = PrivateListener::bind(path).map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            disk,
            allowed,
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("control".into());
        let acceptor = thread.spawn(move || accepting.accept(&listener));
        Ok(Self {
            shared,
            acceptor: Some(acceptor.map_err(|error| failed(&error))?),
        })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // SeqCst: the connection that follows orders it anyway.
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread; without a socket there is nobody to wake.
        if UnixStream::connect(&self.shared.path).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &PrivateListener) {
        loop {
            let accepted = listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = accepted else {
                // A stranger; or no descriptor is left, which does not change at once.
                std::thread::sleep(PAUSE);
                continue;
            };
            // Only this thread adds, so a count that is too high is the worst that it sees.
            if self.open.load(Ordering::SeqCst) >= CONNECTIONS {
                continue;
            }
            self.open.fetch_add(1, Ordering::SeqCst);
            let shared = Arc::clone(&self);
            let served = std::thread::Builder::new().spawn(move || {
                // Whoever is gone needs no answer.
                let _ = shared.converse(&stream);
                shared.open.fetch_sub(1, Ordering::SeqCst);
            });
            if served.is_err() {
                self.open.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    fn converse(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut reader = BufReader::new(stream);
        while let Some(line) = control::line(&mut reader)? {
            let answer = match self.answer(&line) {
                Ok(value) => Answer::Ok(value),
                Err(text) => Answer::Error(text),
            };
            let mut bytes = serde_json::to_vec(&answer)?;
            bytes.push(b'\n');
            (&*stream).write_all(&bytes)?;
        }
        Ok(())
    }

    fn answer(&self, line: &[u8]) -> Result<serde_json::Value, String> {
        let request = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if let Request::Snapshot { path } | Request::Load { path } = &request {
            check(path, self.allowed.as_deref())?;
        }
        verbs::perform(&self.disk, &request)
    }
}

/// Whether a path lies below the folder where the server may work for `zs ctl`.
fn check(path: &Path, allowed: Option<&Path>) -> Result<(), String> {
    let Some(allowed) = allowed else {
        return Err("the server was started without --allow-dir: it names no files".to_owned());
    };
    let wrong = |why: &str| format!("{}: {why}", path.display());
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(wrong("not an absolute path without `..`"));
    }
    let folder = path.parent().ok_or_else(|| wrong("not a file"))?;
    let folder = folder.canonicalize();
    let folder = folder.map_err(|error| wrong(&error.to_string()))?;
    if !folder.starts_with(allowed) {
        let text = format!("not below --allow-dir, which is {}", allowed.display());
        return Err(wrong(&text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inside = root.join("in");
        std::fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink("/", inside.join("out")).unwrap();
        assert!(check(&inside.join("file"), Some(&inside)).is_ok());
        for path in ["../file", "out/file", "no/file"] {
            assert!(check(&inside.join(path), Some(&inside)).is_err(), "{path}");
        }
        for path in ["file", "/", "/etc/passwd"] {
            assert!(check(Path::new(path), Some(&inside)).is_err(), "{path}");
        }
        assert!(check(&inside.join("file"), None).is_err());
    }
}
