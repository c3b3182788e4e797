//! The counters of a group's limits.

/// The number of times that a group met each of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEvents {
    /// Memory was reclaimed although the group is below `memory.low`: the system is short of
    /// memory, and too much of it is protected.
    pub low: u64,
    /// The group was above `memory.high`: its tasks were slowed down and had to reclaim memory.
    pub high: u64,
    /// The group was about to exceed `memory.max`: memory had to be reclaimed first.
    pub max: u64,
    /// The group was at `memory.max` with nothing to reclaim: an allocation failed, or a process
    /// will be killed.
    pub oom: u64,
}

impl MemoryEvents {
    /// Parses the file's text. Returns `None` if a counter is missing or malformed. Unknown
    /// counters are ignored.
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

    /// Returns the increase of the counters since `before`, or `None` if none increased.
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
