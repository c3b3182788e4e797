//! Total and available memory: of the system, and within the limits of control groups.

use crate::memory_bound::{AvailableMemory, MemoryBound};
use crate::memory_group;
use crate::resident::kilobytes;
use std::fs;
use std::io;
use std::path::Path;

/// The memory of the whole system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// All usable memory.
    pub total: u64,
    /// The kernel's estimate of the memory available without swapping.
    pub available: u64,
}

/// Returns the system's memory, from `/proc/meminfo`.
///
/// # Errors
/// The system's error, or [`io::ErrorKind::InvalidData`] if the text is not that of Linux.
pub fn memory_info() -> io::Result<MemoryInfo> {
    let text = fs::read_to_string("/proc/meminfo")?;
    parse_meminfo(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo: not understood"))
}

/// Parses text in the format of `/proc/meminfo`. Returns `None` if a figure is missing or
/// malformed.
pub fn parse_meminfo(text: &str) -> Option<MemoryInfo> {
    let bytes = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        kilobytes(value.as_bytes())
    };
    Some(MemoryInfo {
        total: bytes("MemTotal:")?,
        available: bytes("MemAvailable:")?,
    })
}

/// Returns the bytes that this process could still take, see [`available_memory`].
pub fn memory_available() -> u64 {
    available_memory(Path::new("/")).bytes
}

/// Returns the memory that this process could still take: the system's available memory, or what
/// its tightest control group leaves, if that is less. Groups of versions 1 and 2 count, and all
/// groups above them.
///
/// Page cache counts as available, because the system would give it up. Without `/proc`, the
/// system's free memory is used, which is less than the available memory. Reads a few small files:
/// use it to choose a limit, not for each operation.
///
/// `root` is the folder with `proc` and `sys`: `/`, or another one in tests.
pub fn available_memory(root: &Path) -> AvailableMemory {
    let info = fs::read_to_string(root.join("proc/meminfo"));
    let info = info.ok().and_then(|text| parse_meminfo(&text));
    let system = AvailableMemory {
        bytes: info.map_or_else(free_memory, |info| info.available),
        bound: MemoryBound::System,
    };
    let groups = memory_group::tightest(root);
    groups
        .filter(|group| group.bytes < system.bytes)
        .unwrap_or(system)
}

fn free_memory() -> u64 {
    let info = rustix::system::sysinfo();
    // An `unsigned long` of the kernel, whatever its width.
    let pages = info.freeram;
    pages.saturating_mul(u64::from(info.mem_unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal:       24684384 kB\nMemFree:  3 kB\nMemAvailable:   24310128 kB\n";
        let expected = MemoryInfo {
            total: 24_684_384 << 10,
            available: 24_310_128 << 10,
        };
        assert_eq!(parse_meminfo(text), Some(expected));
        for odd in [
            "",
            "MemTotal: 1 kB\n",
            "MemTotal: 1 kB\nMemAvailable: 2\n",
            "MemTotal: 1 kB\nMemAvailable: -2 kB\n",
            "MemTotal: 1 kB\nMemAvailable: 99999999999999999999 kB\n",
            "MemTotal: 1 kB\nMemAvailable: 18446744073709551615 kB\n",
        ] {
            assert_eq!(parse_meminfo(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn this_system_has_memory() {
        let info = memory_info().expect("Linux");
        assert!(info.available > 0 && info.available <= info.total);
        assert!(memory_available() > 0);
        assert!(memory_available() <= info.total);
    }
}
