//! Watches the time lost for want of memory, by triggers on pressure stall information.
//!
//! The kernel's document "PSI - Pressure Stall Information" (`accounting/psi.rst`) describes the
//! format, the bounds of the window and the results of `poll`.

use super::error::{PressureError, require_within};
use super::trigger::StallTrigger;
use super::watched::{Pressure, Watched};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const SYSTEM: &str = "/proc/pressure/memory";

/// The file in a group's folder.
pub(super) const OF_GROUP: &str = "memory.pressure";

const WINDOW: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

impl StallTrigger {
    /// Makes a trigger for `stall` lost within any `window`, both cut to whole microseconds.
    ///
    /// A window that is not a multiple of 2 s needs `CAP_SYS_RESOURCE`. Without it, spawning the
    /// watcher fails with [`PressureError::Refused`].
    ///
    /// # Errors
    /// [`PressureError::OutOfBounds`] unless the window is 500 ms to 10 s, as the kernel demands,
    /// and the stall is 1 us to the window.
    pub fn new(stall: Duration, window: Duration) -> Result<Self, PressureError> {
        require_within("window", window, WINDOW)?;
        require_within("stall", stall, [Duration::from_micros(1), window])?;
        Ok(Self { stall, window })
    }
}

/// A file with a trigger. Closing the file removes the trigger.
#[derive(Debug)]
pub(super) struct StallsFile {
    path: PathBuf,
    file: File,
}

impl StallsFile {
    pub(super) fn open(path: &Path, trigger: StallTrigger) -> Result<Self, PressureError> {
        let failed = |error| PressureError::of_file(path, error, PressureError::no_psi);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        // The system's file drops the last byte written. With a newline, no digit is lost.
        let line = format!("{trigger}\n");
        file.write_all(line.as_bytes()).map_err(|error| {
            if Errno::from_io_error(&error) == Some(Errno::INVAL) {
                let path = path.to_owned();
                PressureError::Refused { path, trigger }
            } else {
                failed(error)
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }
}

impl Watched for StallsFile {
    fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Returns `None`: the removal of a group wakes the thread.
    fn idle(&self) -> Option<Duration> {
        None
    }

    /// Returns 0: the kernel wakes the thread at most once in each window.
    fn rest(&self) -> Duration {
        Duration::ZERO
    }

    fn look(&mut self, woken: PollFlags) -> Result<Option<Pressure>, PressureError> {
        if woken == PollFlags::PRI {
            return Ok(Some(Pressure::Stalled));
        }
        let path = self.path.clone();
        Err(PressureError::GroupRemoved { path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MICROSECOND: Duration = Duration::from_micros(1);

    #[test]
    fn a_trigger_is_written_as_the_kernel_reads_it() {
        let trigger = StallTrigger::new(Duration::from_nanos(1999), SECOND).expect("in bounds");
        assert_eq!(trigger.to_string(), "some 1 1000000");
        let default = StallTrigger::default();
        assert_eq!(default.to_string(), "some 200000 2000000");
        let same = StallTrigger::new(default.stall, default.window).expect("in bounds");
        assert_eq!(default, same);
    }

    #[test]
    fn times_out_of_bounds_are_refused_by_name() {
        let [least, most] = WINDOW;
        for (stall, window, expected) in [
            (
                MICROSECOND,
                least - MICROSECOND,
                "window of 499.999ms: 500ms to 10s",
            ),
            (MICROSECOND, most + MICROSECOND, "window of 10.000001s: "),
            (MICROSECOND, Duration::MAX, "window of "),
            (Duration::ZERO, Duration::ZERO, "window of 0ns: "),
            (Duration::ZERO, SECOND, "stall of 0ns: 1µs to 1s"),
            (Duration::from_nanos(999), SECOND, "stall of 999ns: "),
            (SECOND + MICROSECOND, SECOND, "stall of 1.000001s: "),
            (Duration::MAX, SECOND, "stall of "),
        ] {
            let error = StallTrigger::new(stall, window).expect_err(expected);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        for (stall, window) in [(MICROSECOND, least), (least, least), (most, most)] {
            StallTrigger::new(stall, window).expect("in bounds");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_refuses_the_trigger_is_named() {
        let open = |path| {
            let error = StallsFile::open(Path::new(path), StallTrigger::default());
            error.expect_err(path).to_string()
        };
        let missing = open("/proc/no-such-file");
        assert!(
            missing.starts_with("/proc/no-such-file: no pressure stall information; "),
            "{missing}"
        );
        // A file that takes only numbers, from any user.
        let refused = open("/proc/self/oom_score_adj");
        let expected = "/proc/self/oom_score_adj: trigger `some 200000 2000000` refused; ";
        assert!(refused.starts_with(expected), "{refused}");
        let folder = open("/proc");
        assert!(folder.starts_with("/proc: "), "{folder}");
    }
}
