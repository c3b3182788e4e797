//! How much memory there is: the system's, and the control group's share of it.

use crate::cgroup::own_cgroup;
use crate::resident::kilobytes;
use std::fs;
use std::io;
use std::path::Path;

/// Memory of the whole system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Usable memory altogether.
    pub total: u64,
    /// What could be had without swapping, as the kernel estimates it.
    pub available: u64,
}

/// The system's memory, from `/proc/meminfo`.
///
/// # Errors
/// If the file cannot be read, or is not what Linux writes.
pub fn memory_info() -> io::Result<MemoryInfo> {
    let text = fs::read_to_string("/proc/meminfo")?;
    parse_meminfo(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo: not understood"))
}

/// Reads text in the format of `/proc/meminfo`; `None` if a figure is missing or malformed.
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

/// Bytes that this process could still take: the system's available memory, or the headroom of
/// the tightest control group (version 2) that it is in, if that is less.
///
/// A group's page cache counts as taken, so the figure is on the safe side there. Where `/proc` is
/// not to be had, the free memory of the system, which is on the safe side too. Reads a few small
/// files; for choosing a limit, not for every operation.
pub fn memory_available() -> u64 {
    let system = match memory_info() {
        Ok(info) => info.available,
        Err(_) => free_memory(),
    };
    let headroom = own_cgroup().ok().and_then(|group| cgroup_headroom(&group));
    headroom.map_or(system, |headroom| headroom.min(system))
}

fn free_memory() -> u64 {
    let info = rustix::system::sysinfo();
    // The kernel's `unsigned long`, whatever its width.
    let pages = info.freeram;
    pages.saturating_mul(u64::from(info.mem_unit))
}

/// The least headroom, in bytes, of a version 2 control group and of all groups above it: its
/// `memory.max` less its `memory.current`. `None` if no group has a limit.
///
/// `group` is the group's folder, as from [`own_cgroup`].
pub fn cgroup_headroom(group: &Path) -> Option<u64> {
    // A folder above the hierarchy has no such files.
    let limits = group.ancestors().filter_map(|folder| {
        let max = fs::read_to_string(folder.join("memory.max")).ok()?;
        let current = fs::read_to_string(folder.join("memory.current")).ok()?;
        headroom(&max, &current)
    });
    limits.min()
}

/// The headroom of one group from the text of its two files; `None` if it has no limit.
fn headroom(max: &str, current: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    Some(max.saturating_sub(current))
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
    fn headroom_is_the_limit_less_what_is_taken() {
        assert_eq!(headroom("1000\n", "300\n"), Some(700));
        assert_eq!(headroom("1000\n", "3000\n"), Some(0));
        assert_eq!(headroom("max\n", "300\n"), None);
        assert_eq!(headroom("1000\n", ""), None);
    }

    #[test]
    fn the_tightest_group_up_to_the_root_counts() {
        let root = std::env::temp_dir().join(format!("zs-os-cgroup-{}", std::process::id()));
        let write = |group: &str, max: &str, current: &str| {
            let folder = root.join(group);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("memory.max"), max).expect("a file");
            fs::write(folder.join("memory.current"), current).expect("a file");
        };
        write("a/b/c", "max\n", "10\n");
        write("a/b", "900\n", "100\n");
        write("a", "500\n", "100\n");
        let of = |group: &str| cgroup_headroom(&root.join(group));
        assert_eq!(of("a/b/c"), Some(400));
        write("a/b", "150\n", "100\n");
        assert_eq!(of("a/b/c"), Some(50));
        assert_eq!(of("a"), Some(400));
        assert_eq!(of(""), None);
        assert_eq!(of("gone"), None);
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn this_system_has_memory() {
        let info = memory_info().expect("Linux");
        assert!(info.available > 0 && info.available <= info.total);
        assert!(memory_available() > 0);
        assert!(memory_available() <= info.total);
    }
}
