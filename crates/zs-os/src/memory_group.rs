//! The memory that the control groups of this process leave to it.
//!
//! Data model: `root -> group of version 1, group of version 2 -> each group up to the top ->
//! limit, usage, statistics`.

use crate::cgroup::{Version, VisibleGroup, visible_group};
use crate::memory_bound::{AvailableMemory, MemoryBound};
use std::fs;
use std::path::{Path, PathBuf};

/// The names of a version's files.
struct Files {
    /// Files with a limit. The lowest one counts.
    limits: &'static [&'static str],
    usage: &'static str,
    /// Lines of `memory.stat`: page cache and kernel memory, which the system gives up before it
    /// kills a process.
    reclaimable: &'static [&'static str],
}

const VERSION_1: Files = Files {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    // The lines that include the groups below, as the usage does.
    reclaimable: &["total_inactive_file", "total_active_file"],
};

const VERSION_2: Files = Files {
    // Above `memory.high` a process is slowed down until it hardly makes progress.
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    reclaimable: &["inactive_file", "active_file", "slab_reclaimable"],
};

/// Returns the memory left by the group that leaves the least, of both versions and all levels.
/// Returns `None` if no group has a limit. `root` is the folder with `proc` and `sys`.
pub(crate) fn tightest(root: &Path) -> Option<AvailableMemory> {
    let read = |path: &str| fs::read(root.join(path)).ok();
    let (groups, mounts) = (read("proc/self/cgroup")?, read("proc/self/mountinfo")?);
    let versions = [(Version::One, &VERSION_1), (Version::Two, &VERSION_2)];
    let found = versions.into_iter().flat_map(|(version, files)| {
        let shown = visible_group(&groups, &mounts, version);
        let levels = shown
            .into_iter()
            .flat_map(move |shown| levels(root, &shown, version));
        levels.filter_map(|(group, inside)| headroom(&group, &inside, files))
    });
    found.min_by_key(|available| available.bytes)
}

/// Returns the group and those above it whose limits hold for it: each one's path, and the folder
/// below `root` in which it is read.
fn levels(root: &Path, shown: &VisibleGroup, version: Version) -> Vec<(PathBuf, PathBuf)> {
    let mut levels = Vec::new();
    for group in shown.folder.ancestors() {
        let inside = root.join(group.strip_prefix("/").unwrap_or(group));
        // In version 1, a group may be set not to count the groups below it.
        let counts = || read(&inside.join("memory.use_hierarchy")).is_none_or(|text| text == "1");
        if version == Version::One && !levels.is_empty() && !counts() {
            break;
        }
        levels.push((group.to_owned(), inside));
        if group == shown.top {
            break;
        }
    }
    levels
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// Returns the memory that one group leaves. Returns `None` if it has no limit (`max`), or no such
/// files.
fn headroom(group: &Path, inside: &Path, files: &Files) -> Option<AvailableMemory> {
    let number = |file: &str| read(&inside.join(file))?.parse::<u64>().ok();
    let limits = files
        .limits
        .iter()
        .filter_map(|file| Some((number(file)?, *file)));
    let (limit, file) = limits.min()?;
    let stat = read(&inside.join("memory.stat")).unwrap_or_default();
    let reclaimable = stat.lines().filter_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        let bytes: u64 = bytes.parse().ok()?;
        files.reclaimable.contains(&name).then_some(bytes)
    });
    let reclaimable = reclaimable.fold(0, u64::saturating_add);
    // The limit counts even if the usage is not known.
    let taken = number(files.usage).unwrap_or(0);
    let taken = taken.saturating_sub(reclaimable);
    Some(AvailableMemory {
        bytes: limit.saturating_sub(taken),
        bound: MemoryBound::Group {
            group: group.to_owned(),
            file,
            limit,
        },
    })
}

#[cfg(test)]
mod tests {
    use crate::memory::available_memory;
    use crate::memory_bound::{AvailableMemory, MemoryBound};
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;

    const MIB: u64 = 1 << 20;

    /// A made-up system with 8 GiB available, and the files of its groups.
    struct System(TempDir);

    impl System {
        fn new(groups: &str, mounts: &str) -> Self {
            let system = Self(tempfile::tempdir().unwrap());
            system.write(
                "proc/meminfo",
                "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n",
            );
            system.write("proc/self/cgroup", groups);
            system.write("proc/self/mountinfo", mounts);
            system
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Writes the files of a group of version 2, in MiB.
        fn two(&self, group: &str, max: &str, current: u64, file_cache: u64) {
            let group = format!("sys/fs/cgroup{group}");
            self.write(&format!("{group}/memory.max"), &format!("{max}\n"));
            self.write(
                &format!("{group}/memory.current"),
                &format!("{}\n", current * MIB),
            );
            let stat = format!(
                "anon 5\nfile 77\ninactive_file {}\nactive_file {}\n",
                (file_cache - file_cache / 4) * MIB,
                file_cache / 4 * MIB
            );
            self.write(&format!("{group}/memory.stat"), &stat);
        }

        /// Writes the files of a group of version 1.
        fn one(&self, group: &str, limit: u64, usage: u64, file_cache: u64, hierarchy: &str) {
            let group = format!("sys/fs/cgroup/memory{group}");
            let write = |file: &str, text: String| self.write(&format!("{group}/{file}"), &text);
            write("memory.limit_in_bytes", format!("{limit}\n"));
            write("memory.usage_in_bytes", format!("{}\n", usage * MIB));
            write("memory.use_hierarchy", format!("{hierarchy}\n"));
            let stat = format!(
                "inactive_file 9\ntotal_inactive_file {}\n",
                file_cache * MIB
            );
            write("memory.stat", stat);
        }

        fn available(&self) -> AvailableMemory {
            available_memory(self.0.path())
        }
    }

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
    const VERSION_1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const NO_LIMIT: u64 = 9_223_372_036_854_771_712;

    fn by(group: &str, file: &'static str, limit: u64) -> MemoryBound {
        MemoryBound::Group {
            group: Path::new(group).to_owned(),
            file,
            limit,
        }
    }

    #[test]
    fn page_cache_that_could_be_given_up_is_available() {
        let system = System::new("0::/\n", UNIFIED);
        // A container of 4 GiB that is full of page cache.
        system.two("", &(4096 * MIB).to_string(), 4090, 3900);
        let found = system.available();
        assert_eq!(found.bytes, (4096 - 190) * MIB);
        assert_eq!(found.bound, by("/sys/fs/cgroup", "memory.max", 4096 * MIB));
    }

    #[test]
    fn the_tightest_group_up_to_the_root_counts() {
        let system = System::new("0::/a/b/c\n", UNIFIED);
        let max = |mib: u64| (mib * MIB).to_string();
        system.two("/a/b/c", "max", 10, 0);
        assert_eq!(system.available().bound, MemoryBound::System);
        assert_eq!(system.available().bytes, 8192 * MIB);
        system.two("/a/b", &max(900), 100, 0);
        system.two("/a", &max(500), 100, 20);
        let found = system.available();
        assert_eq!(found.bytes, 420 * MIB);
        assert_eq!(found.bound, by("/sys/fs/cgroup/a", "memory.max", 500 * MIB));
        system.write("sys/fs/cgroup/a/b/memory.high", &max(150));
        let found = system.available();
        assert_eq!(found.bytes, 50 * MIB);
        assert_eq!(
            found.bound,
            by("/sys/fs/cgroup/a/b", "memory.high", 150 * MIB)
        );
        // The usage is above the limit.
        system.two("/a/b/c", &max(5), 10, 0);
        assert_eq!(system.available().bytes, 0);
    }

    #[test]
    fn groups_of_version_1_are_seen() {
        let system = System::new("4:memory:/pod/app\n0::/\n", VERSION_1);
        system.one("/pod/app", NO_LIMIT, 10, 0, "1");
        system.one("", NO_LIMIT, 5000, 0, "1");
        assert_eq!(system.available().bound, MemoryBound::System);
        system.one("/pod", 64 * MIB, 20, 8, "1");
        let found = system.available();
        assert_eq!(found.bytes, 52 * MIB);
        let pod = "/sys/fs/cgroup/memory/pod";
        assert_eq!(found.bound, by(pod, "memory.limit_in_bytes", 64 * MIB));
        // A group that does not count the groups below it limits only itself.
        system.one("/pod", 64 * MIB, 20, 8, "0");
        assert_eq!(system.available().bound, MemoryBound::System);
        system.one("/pod/app", 32 * MIB, 2, 0, "0");
        assert_eq!(system.available().bytes, 30 * MIB);
    }

    #[test]
    fn of_both_hierarchies_the_tighter_counts() {
        let two = UNIFIED.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified");
        let system = System::new("4:memory:/a\n0::/b\n", &format!("{VERSION_1}{two}"));
        system.one("/a", 300 * MIB, 0, 0, "1");
        system.two("/unified/b", &(200 * MIB).to_string(), 0, 0);
        let found = system.available();
        let group = "/sys/fs/cgroup/unified/b";
        assert_eq!(found.bound, by(group, "memory.max", 200 * MIB));
        system.one("/a", 100 * MIB, 0, 0, "1");
        assert_eq!(system.available().bytes, 100 * MIB);
    }

    #[test]
    fn files_that_are_missing_or_odd_are_no_limit() {
        let system = System::new("", "");
        assert_eq!(system.available().bound, MemoryBound::System);
        let system = System::new("0::/gone\n", UNIFIED);
        assert_eq!(system.available().bound, MemoryBound::System);
        system.two("/gone", "much\n", 1, 0);
        assert_eq!(system.available().bound, MemoryBound::System);
    }
}
