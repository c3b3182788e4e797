//! The threshold of lost time.

use std::fmt;
use std::time::Duration;

/// The lost time within a window that counts as pressure: time in which at least one task waits for
/// memory.
///
/// The default, 200 ms in 2 s, is also the one of systemd for its services. It needs no privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StallTrigger {
    pub(super) stall: Duration,
    pub(super) window: Duration,
}

impl Default for StallTrigger {
    fn default() -> Self {
        Self {
            stall: Duration::from_millis(200),
            window: Duration::from_secs(2),
        }
    }
}

/// The text that is written to the file: `some 200000 2000000`.
impl fmt::Display for StallTrigger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stall, window) = (self.stall.as_micros(), self.window.as_micros());
        write!(out, "some {stall} {window}")
    }
}
