//! Watches the limits of a group, by the counters in its `memory.events`.
//!
//! The kernel's document "Control Group v2" explains the counters (`admin-guide/cgroup-v2.rst`).

use super::error::{PressureError, require_within};
use super::memory_events::MemoryEvents;
use super::watched::{Pressure, Watched};
use rustix::event::PollFlags;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = "memory.events";

const INTERVAL: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(3600)];

/// The longest time between two reads. The removal of a group does not wake a thread that polls
/// this file, but a read notices it.
const IDLE: Duration = Duration::from_secs(2);

/// The file of one group, with its last counters.
#[derive(Debug)]
pub(super) struct EventsFile {
    path: PathBuf,
    file: File,
    /// A buffer that is reused, because there may be no memory for another one.
    text: String,
    last: MemoryEvents,
    interval: Duration,
}

impl EventsFile {
    pub(super) fn open(group: &Path, interval: Duration) -> Result<Self, PressureError> {
        require_within("interval", interval, INTERVAL)?;
        let path = group.join(FILE);
        let file = File::open(&path)
            .map_err(|error| PressureError::of_file(&path, error, PressureError::no_controller))?;
        let mut opened = Self {
            path,
            file,
            text: String::new(),
            last: MemoryEvents::default(),
            interval,
        };
        opened.last = opened.read()?;
        Ok(opened)
    }

    /// Reads the counters. Reading from the start also arms the file for the next change.
    fn read(&mut self) -> Result<MemoryEvents, PressureError> {
        self.text.clear();
        let read = |mut file: &File, text| -> io::Result<usize> {
            file.rewind()?;
            file.read_to_string(text)
        };
        read(&self.file, &mut self.text).map_err(|error| {
            PressureError::of_file(&self.path, error, PressureError::no_controller)
        })?;
        MemoryEvents::parse(&self.text).ok_or_else(|| PressureError::Format {
            path: self.path.clone(),
            text: self.text.chars().take(200).collect(),
        })
    }
}

impl Watched for EventsFile {
    fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn idle(&self) -> Option<Duration> {
        Some(IDLE)
    }

    fn rest(&self) -> Duration {
        self.interval
    }

    fn look(&mut self, _woken: PollFlags) -> Result<Option<Pressure>, PressureError> {
        let now = self.read()?;
        let rise = now.since(&self.last);
        self.last = now;
        Ok(rise.map(Pressure::Events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "low 1\nhigh 20\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n";
    const EVENTS: MemoryEvents = MemoryEvents {
        low: 1,
        high: 20,
        max: 3,
        oom: 4,
    };

    #[test]
    fn reads_the_counters_among_others_in_any_order() {
        assert_eq!(MemoryEvents::parse(TEXT), Some(EVENTS));
        let other = "oom_kill x\nnew\noom 4\n\nmax 3\nlow 1\nlower 9\nhigh 20";
        assert_eq!(MemoryEvents::parse(other), Some(EVENTS));
        let most = TEXT.replace("20", "18446744073709551615");
        let high = MemoryEvents::parse(&most).expect("understood").high;
        assert_eq!(high, u64::MAX);
    }

    #[test]
    fn a_missing_or_malformed_counter_is_not_understood() {
        for key in ["low 1", "high 20", "max 3", "oom 4"] {
            let name = key.split(' ').next().expect("a name");
            for odd in ["", name, &format!("{name} "), &format!("{name}  7")] {
                assert_eq!(
                    MemoryEvents::parse(&TEXT.replacen(key, odd, 1)),
                    None,
                    "{odd:?}"
                );
            }
            for value in ["-1", "x", "1 2", "0x1", "1.5", "18446744073709551616"] {
                let odd = format!("{name} {value}");
                assert_eq!(
                    MemoryEvents::parse(&TEXT.replacen(key, &odd, 1)),
                    None,
                    "{odd}"
                );
            }
        }
        assert_eq!(MemoryEvents::parse(""), None);
        assert_eq!(MemoryEvents::parse("\0\n \n"), None);
    }

    #[test]
    fn only_a_rise_counts() {
        assert_eq!(EVENTS.since(&EVENTS), None);
        let later = MemoryEvents {
            high: 25,
            oom: u64::MAX,
            ..EVENTS
        };
        let rise = MemoryEvents {
            high: 5,
            oom: u64::MAX - 4,
            ..MemoryEvents::default()
        };
        assert_eq!(later.since(&EVENTS), Some(rise));
        assert_eq!(EVENTS.since(&later), None);
    }

    /// Makes a folder with an ordinary file of that name.
    fn with_file<T>(name: &str, text: &[u8], then: impl FnOnce(&Path) -> T) -> T {
        let group = std::env::temp_dir().join(format!("zs-os-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&group).expect("a folder");
        std::fs::write(group.join(FILE), text).expect("a file");
        let answer = then(&group);
        std::fs::remove_dir_all(&group).expect("removed");
        answer
    }

    #[test]
    fn each_look_tells_what_rose_since_the_last() {
        with_file("rise", TEXT.as_bytes(), |group| {
            let mut file = EventsFile::open(group, IDLE).expect("opened");
            let mut look = |text: &str| {
                std::fs::write(group.join(FILE), text).expect("written");
                file.look(PollFlags::PRI)
            };
            assert!(matches!(look(TEXT), Ok(None)));
            let later = TEXT.replace("max 3", "max 1000");
            let rise = MemoryEvents {
                max: 997,
                ..MemoryEvents::default()
            };
            assert!(matches!(look(&later), Ok(Some(Pressure::Events(seen))) if seen == rise));
            assert!(matches!(look(&later), Ok(None)));
            assert!(matches!(look(""), Err(PressureError::Format { .. })));
        });
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said() {
        let open = |group: &Path, interval| {
            let error = EventsFile::open(group, interval).expect_err("refused");
            error.to_string()
        };
        let long = "x".repeat(100_000);
        let error = with_file("long", long.as_bytes(), |group| open(group, IDLE));
        assert!(
            error.contains("memory.events: not understood: \"xxx"),
            "{error}"
        );
        assert!(error.len() < 400, "cut off");
        let error = with_file("bytes", b"low \xff\n", |group| open(group, IDLE));
        assert!(error.contains("memory.events: "), "{error}");
        let missing = open(Path::new("/proc"), IDLE);
        assert!(missing.starts_with("/proc/memory.events: no such file; write +memory"));
        for (interval, shown) in [
            (Duration::ZERO, "interval of 0ns: 1ms to 3600s is allowed"),
            (Duration::MAX, "interval of 18446744073709551615"),
        ] {
            let error = open(Path::new("/proc"), interval);
            assert!(error.starts_with(shown), "{error}");
        }
    }
}
