//! Lines for people, written by one thread, so that nobody else waits for whoever reads them: a
//! full pipe, a terminal that is held.
//!
//! Data model: `a line -> a queue with a bound -> the writer -> standard error, or output`. What
//! does not fit into the queue is dropped and counted, and the writer says how many lines that
//! were. Details, of which clients make as many as they like, have a bound of their own: they crowd
//! out nothing else.
//!
//! # Locking
//! The queue has a lock, held for a look.

use crate::failure::failed;
use crate::{failure::Failure, output};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most bytes that wait to be written: of details, and as many of all else. A single line may be
/// longer.
const MOST: usize = 256 << 10;

/// What is said at last gets so long to be written.
const LAST: Duration = Duration::from_secs(1);

/// The place to which lines go; a clone writes to the same place.
#[derive(Clone)]
pub(super) struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The weight of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// A line that `-v` asks for.
    Detail,
    Important,
}

/// Lines in their order, and those that found no room: decisions alone.
#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<(Weight, String)>,
    /// Bytes that wait, of each weight.
    details: usize,
    important: usize,
    dropped: u64,
    /// The writer has something that is not written yet.
    writing: bool,
}

impl Queue {
    fn bytes(&mut self, weight: Weight) -> &mut usize {
        match weight {
            Weight::Detail => &mut self.details,
            Weight::Important => &mut self.important,
        }
    }

    fn push(&mut self, weight: Weight, line: String) {
        let bytes = self.bytes(weight);
        if *bytes > 0 && *bytes + line.len() > MOST {
            self.dropped += 1;
            return;
        }
        *bytes += line.len();
        self.lines.push_back((weight, line));
    }

    /// Says whether something is left to be told, that lines were dropped included.
    fn is_busy(&self) -> bool {
        self.writing || !self.lines.is_empty() || self.dropped > 0
    }

    /// Returns the next line to write; after those that waited, how many were dropped.
    fn pop(&mut self) -> Option<String> {
        if let Some((weight, line)) = self.lines.pop_front() {
            *self.bytes(weight) -= line.len();
            return Some(line);
        }
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| {
            let lines = if dropped == 1 {
                "line was"
            } else {
                "lines were"
            };
            noted(&format!(
                "{dropped} {lines} dropped, which nobody read in time"
            ))
        })
    }
}

fn noted(text: &str) -> String {
    format!("{}{text}\n", output::NOTE)
}

impl Log {
    /// Begins to write to a stream of this process. An error of that is told to `faults`, once.
    pub(super) fn start(
        stream: impl AsFd,
        faults: Option<(Self, &'static str)>,
    ) -> Result<Self, Failure> {
        // Not by the standard library's own handles: their locks are held while they write.
        let owned = stream.as_fd().try_clone_to_owned();
        let file = File::from(owned.map_err(|error| failed(&error))?);
        Self::to(file, faults).map_err(|error| failed(&error))
    }

    fn to(
        mut writer: impl Write + Send + 'static,
        mut faults: Option<(Self, &'static str)>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".into());
        // It ends with the process, for which nobody waits who may hang in a write.
        thread.spawn(move || {
            loop {
                let line = own.next();
                if let Err(error) = writer.write_all(line.as_bytes())
                    && let Some((log, name)) = faults.take()
                {
                    log.note(&format!("{name}: {error}"));
                }
            }
        })?;
        Ok(Self(shared))
    }

    /// Says something, of as many lines as it has, without waiting.
    pub(super) fn say(&self, text: &str) {
        self.push(Weight::Important, text.to_owned());
    }

    /// Says what is dropped first.
    pub(super) fn detail(&self, text: &str) {
        self.push(Weight::Detail, noted(text));
    }

    fn push(&self, weight: Weight, line: String) {
        self.0.lock().push(weight, line);
        self.0.changed.notify_all();
    }

    /// Says a remark.
    pub(super) fn note(&self, text: &str) {
        self.say(&noted(text));
    }

    /// Waits until all is written, and how much was dropped, but not for long.
    pub(super) fn finish(&self) {
        let queue = self.0.lock();
        let is_busy = |queue: &mut Queue| queue.is_busy();
        // What is not written by then stays unsaid.
        let _ = self.0.changed.wait_timeout_while(queue, LAST, is_busy);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the writer's next line, when the one before is written.
    fn next(&self) -> String {
        let mut queue = self.lock();
        queue.writing = false;
        self.changed.notify_all();
        loop {
            if let Some(line) = queue.pop() {
                queue.writing = true;
                return line;
            }
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut queue = Queue::default();
        queue.push(Weight::Detail, "x".repeat(2 * MOST));
        queue.push(Weight::Detail, "y".to_owned());
        queue.push(Weight::Detail, "z".to_owned());
        assert_eq!(queue.pop().map(|line| line.len()), Some(2 * MOST));
        queue.push(Weight::Detail, "later".to_owned());
        assert_eq!(queue.pop().as_deref(), Some("later"));
        assert!(queue.is_busy(), "that some were dropped is not told yet");
        let told = queue.pop().unwrap();
        assert_eq!(
            told,
            "zs: note: 2 lines were dropped, which nobody read in time\n"
        );
        assert_eq!(queue.pop(), None);
        assert!(!queue.is_busy());
        assert_eq!((queue.details, queue.important), (0, 0));
    }

    /// However many clients come and go, it is told that a disk is full; but not without bound.
    #[test]
    fn details_crowd_out_nothing_else() {
        let mut queue = Queue::default();
        let line = "x".repeat(1000);
        for _ in 0..MOST {
            queue.push(Weight::Detail, line.clone());
        }
        let details = MOST / line.len();
        assert_eq!(queue.lines.len(), details);
        queue.push(Weight::Important, format!("full {line}"));
        assert_eq!(queue.lines.len(), details + 1);
        for _ in 0..MOST {
            queue.push(Weight::Important, line.clone());
        }
        assert!(queue.lines.len() <= 2 * details + 1);
        let told: Vec<String> = std::iter::from_fn(|| queue.pop()).collect();
        assert!(told[details].starts_with("full"), "in its order");
        assert!(told.last().unwrap().contains("dropped"));
    }

    /// Ten times what the queue and the pipe hold, with nobody who reads: nobody waits. Then it is
    /// read, and told.
    #[test]
    fn nobody_waits_for_a_reader() {
        let (stream, mut reader) = UnixStream::pair().unwrap();
        let log = Log::to(stream, None).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        let said = 10 * MOST / line.len();
        for _ in 0..said {
            log.say(&line);
        }
        let (mut text, mut buf) = (String::new(), [0; 4096]);
        while !text.contains("dropped") {
            let len = reader.read(&mut buf).unwrap();
            text.push_str(std::str::from_utf8(&buf[..len]).unwrap());
        }
        let told = text.matches('x').count() / 999;
        let dropped = text.lines().find(|line| line.contains("dropped")).unwrap();
        assert_eq!(
            dropped,
            format!(
                "zs: note: {} lines were dropped, which nobody read in time",
                said - told
            )
        );
        log.finish();
    }

    #[test]
    fn a_stream_that_fails_is_told_of_once() {
        let (stream, mut reader) = UnixStream::pair().unwrap();
        let errors = Log::to(stream, None).unwrap();
        let (closed, other) = UnixStream::pair().unwrap();
        drop(other);
        let log = Log::to(closed, Some((errors, "standard output"))).unwrap();
        log.say("one\n");
        log.say("two\n");
        log.finish();
        drop(log);
        let mut buf = [0; 4096];
        let len = reader.read(&mut buf).unwrap();
        let text = std::str::from_utf8(&buf[..len]).unwrap();
        assert_eq!(
            text,
            "zs: note: standard output: Broken pipe (os error 32)\n"
        );
    }
}
