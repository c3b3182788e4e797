//! What a group counts of its limits.

/// The number of times that a group met each of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEvents {
    /// Reclaimed although below `memory.low`: the system is short, and the protection promises too
    /// much.
    pub low: u64,
    /// Above `memory.high`: its tasks were slowed down and made to reclaim.
    pub high: u64,
    /// About to go above `memory.max`: memory had to be reclaimed first.
    pub max: u64,
    /// At `memory.max` with nothing to reclaim: an allocation failed, or a process will be killed.
    pub oom: u64,
}

impl MemoryEvents {
    /// Reads the file's text; `None` if a counter is missing or malformed. Others may be there.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let count = |key: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
            value.parse().ok()
        };
        Some(Self {
            low: count("low")?,
            high: count("high")?,
            max: count("max")?,
            oom: count("oom")?,
        })
    }

    /// Returns how much the counters rose from `before`; `None` if none did.
    pub(super) fn since(&self, before: &Self) -> Option<Self> {
        let rise = Self {
            low: self.low.saturating_sub(before.low),
            high: self.high.saturating_sub(before.high),
            max: self.max.saturating_sub(before.max),
            oom: self.oom.saturating_sub(before.oom),
        };
        (rise != Self::default()).then_some(rise)
    }
}
