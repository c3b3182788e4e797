//! The folders of this process's control groups: of version 2, and of the memory controller of
//! version 1.
//!
//! Data model: `/proc/self/cgroup -> path in the hierarchy`; `/proc/self/mountinfo -> mount points
//! of the hierarchy`; both `-> folder`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

const GROUPS: &str = "/proc/self/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";

/// The reason why the control group of this process could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A file could not be read.
    #[error("{path}: {source}; is /proc mounted?")]
    Read {
        /// The file.
        path: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The process is in no group of version 2.
    #[error("/proc/self/cgroup: no group of version 2; mount cgroup2 in place of version 1")]
    NoGroup,
    /// No folder shows the group.
    #[error(
        "/proc/self/mountinfo: no cgroup2 mount shows the group {group}; mount cgroup2 at /sys/fs/cgroup, \
         or, in a container, give it a control-group namespace of its own"
    )]
    NotMounted {
        /// The group, as `/proc/self/cgroup` names it.
        group: PathBuf,
    },
}

/// Returns the folder of the version 2 control group of this process, for example
/// `/sys/fs/cgroup/app`.
///
/// Reads two small files of `/proc`. The process may be moved to another group at any time.
///
/// # Errors
/// [`CgroupError`] if there is no such group, or if no mount shows it.
pub fn own_cgroup() -> Result<PathBuf, CgroupError> {
    let read = |path| std::fs::read(path).map_err(|source| CgroupError::Read { path, source });
    folder(&read(GROUPS)?, &read(MOUNTS)?)
}

/// Returns the folder of the version 2 group, from the contents of the two files.
fn folder(groups: &[u8], mounts: &[u8]) -> Result<PathBuf, CgroupError> {
    let group = lines(groups)
        .find_map(|line| Version::Two.group(line))
        .map(|group| Path::new(OsStr::from_bytes(group)))
        .ok_or(CgroupError::NoGroup)?;
    lines(mounts)
        .filter_map(|line| Mount::of(line, Version::Two))
        .find_map(|mount| mount.folder(group))
        .ok_or_else(|| CgroupError::NotMounted {
            group: group.to_owned(),
        })
}

/// A version of control groups. A system may have both at once, and each may limit memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// The hierarchy with the memory controller of version 1.
    One,
    Two,
}

/// A folder with a group's files, and the topmost folder that shows groups above it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VisibleGroup {
    pub(crate) folder: PathBuf,
    pub(crate) top: PathBuf,
}

/// Returns the group of this process in a version, from the contents of `/proc/self/cgroup` and
/// `/proc/self/mountinfo`. In some containers no mount shows the group itself: then the top of the
/// first mount is returned.
pub(crate) fn visible_group(
    groups: &[u8],
    mounts: &[u8],
    version: Version,
) -> Option<VisibleGroup> {
    let group = lines(groups).find_map(|line| version.group(line))?;
    let group = Path::new(OsStr::from_bytes(group));
    let of_version = || lines(mounts).filter_map(|line| Mount::of(line, version));
    let found = of_version().find_map(|mount| {
        let folder = mount.folder(group)?;
        let top = mount.point;
        Some(VisibleGroup { folder, top })
    });
    found.or_else(|| {
        let top = of_version().next()?.point;
        let folder = top.clone();
        Some(VisibleGroup { folder, top })
    })
}

impl Version {
    /// Returns the group of a line as in cgroups(7): `4:cpu,memory:/app`, or `0::/app` of version
    /// 2.
    fn group(self, line: &[u8]) -> Option<&[u8]> {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (number, controllers) = (fields.next()?, fields.next()?);
        let is_ours = match self {
            Self::One => controllers
                .split(|&byte| byte == b',')
                .any(|one| one == b"memory"),
            Self::Two => number == b"0" && controllers.is_empty(),
        };
        fields.next().filter(|_| is_ours)
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

/// A mount of the hierarchy, or of a part of it.
struct Mount {
    /// The group that the mount shows.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// Parses a line as in proc_pid_mountinfo(5): `41 31 0:38 ROOT POINT rw,relatime [optional
    /// field]... - cgroup2 SOURCE rw`. For version 1 the type is `cgroup`, and the last field names
    /// the controllers: `rw,memory`.
    fn of(line: &[u8], version: Version) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = unescaped(fields.nth(3)?);
        let point = unescaped(fields.next()?);
        fields.find(|field| field == b"-")?;
        let kind = fields.next()?;
        let is_ours = match version {
            Version::One => {
                let options = fields.nth(1)?;
                let mut options = options.split(|&byte| byte == b',');
                kind == b"cgroup" && options.any(|one| one == b"memory")
            }
            Version::Two => kind == b"cgroup2",
        };
        is_ours.then_some(Self { root, point })
    }

    /// Returns the folder in which this mount shows the group. Returns `None` for a path that leads
    /// out of the process's namespace (`/../other`).
    fn folder(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.root).ok()?;
        let inside = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        // Pushing an empty path would append a slash.
        let folders = below.components();
        inside.then(|| self.point.components().chain(folders).collect())
    }
}

/// Decodes a field in which space, tab, newline and backslash are written as three octal digits:
/// `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut rest = field;
    let mut path = Vec::with_capacity(field.len());
    while let Some((&first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(octal.unwrap_or(first));
        rest = &after[if octal.is_some() { 3 } else { 0 }..];
    }
    std::ffi::OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "9:name=systemd:/\n4:memory:/app\n0::/user.slice/a\n";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw\n";

    fn found(groups: &str, mounts: &str) -> Result<PathBuf, CgroupError> {
        folder(groups.as_bytes(), mounts.as_bytes())
    }

    fn mounted(root: &str, point: &str) -> String {
        format!("41 31 0:38 {root} {point} rw - cgroup2 cgroup2 rw\n")
    }

    #[test]
    fn finds_the_group_beside_version_1() {
        let folder = found(BOTH, HYBRID).expect("a group");
        assert_eq!(
            folder,
            Path::new("/sys/fs/cgroup/unified/user.slice/a"),
            "without a slash at its end"
        );
        let root = found("0::/\n", HYBRID).expect("a group");
        assert_eq!(root.as_os_str(), "/sys/fs/cgroup/unified");
    }

    #[test]
    fn version_1_is_found_by_its_memory_controller() {
        let of = |groups: &str, mounts: &str| {
            visible_group(groups.as_bytes(), mounts.as_bytes(), Version::One)
                .map(|shown| (shown.folder, shown.top))
        };
        let top = PathBuf::from("/sys/fs/cgroup/memory");
        let app = Some((top.join("app"), top.clone()));
        assert_eq!(of(BOTH, HYBRID), app);
        assert_eq!(of("3:cpu,memory:/app\n", HYBRID), app);
        assert_eq!(of("3:memoryless:/app\n0::/app\n", HYBRID), None);
        assert_eq!(of(BOTH, &mounted("/", "/x")), None, "cgroup2 alone");
        // A container whose file names the group as the host does, and whose mount shows the group
        // alone.
        let inside = HYBRID.replace("0:32 / ", "0:32 /docker/7 ");
        assert_eq!(
            of("4:memory:/docker/7\n", &inside),
            Some((top.clone(), top.clone()))
        );
        assert_eq!(
            of("4:memory:/elsewhere\n", &inside),
            Some((top.clone(), top))
        );
    }

    #[test]
    fn a_mount_of_a_part_shows_the_groups_below_it_only() {
        let part = mounted("/docker/7", "/sys/fs/cgroup");
        let of = |group: &str| found(group, &part).ok();
        assert_eq!(of("0::/docker/7\n"), Some("/sys/fs/cgroup".into()));
        assert_eq!(of("0::/docker/7/a\n"), Some("/sys/fs/cgroup/a".into()));
        assert_eq!(of("0::/docker/77\n"), None);
        let whole = part + &mounted("/", "/mnt/all");
        let other = found("0::/docker/77\n", &whole).expect("the second mount");
        assert_eq!(other, Path::new("/mnt/all/docker/77"));
    }

    #[test]
    fn a_mount_point_with_odd_characters() {
        let odd = mounted("/", r"/mnt/a\040b\134040\011\9");
        let folder = found("0::/x\n", &odd).expect("a group");
        assert_eq!(folder, Path::new("/mnt/a b\\040\t\\9/x"));
        let mut bytes = mounted("/", "/mnt/?").into_bytes();
        bytes.iter_mut().for_each(|byte| {
            if *byte == b'?' {
                *byte = 0xff;
            }
        });
        let folder = super::folder(b"0::/x\n", &bytes).expect("a group");
        assert_eq!(folder.as_os_str().as_bytes(), b"/mnt/\xff/x");
    }

    #[test]
    fn what_cannot_be_found_is_an_error_that_says_why() {
        for groups in ["", "4:memory:/app\n", "0:\n", "0:x:/\n"] {
            let error = found(groups, HYBRID).expect_err(groups);
            assert!(matches!(error, CgroupError::NoGroup), "{error}");
        }
        let outside = "0::/../other\n";
        for (groups, mounts) in [
            (BOTH, ""),
            (BOTH, "41 31 0:38 / /sys/fs/cgroup"),
            (BOTH, "41 31 0:38 / /sys/fs/cgroup rw cgroup2 cgroup2 rw"),
            (BOTH, "35 31 0:32 / /sys/fs/cgroup rw - cgroup cgroup2 rw"),
            (outside, HYBRID),
            ("0::\n", HYBRID),
            ("0::relative\n", HYBRID),
        ] {
            let error = found(groups, mounts).expect_err(mounts);
            assert!(matches!(error, CgroupError::NotMounted { .. }), "{error}");
        }
    }

    #[test]
    fn the_group_of_this_process_is_a_folder_if_there_is_one() {
        match own_cgroup() {
            Ok(folder) => assert!(folder.join("cgroup.procs").exists(), "{folder:?}"),
            Err(error) => println!("not on this machine: {error}"),
        }
    }
}
