//! What only root can set up.

use super::{ZS, folder};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A user who owns nothing.
pub(crate) const NOBODY: u32 = 65534;

/// A folder that every user can enter, with the tool in it: nobody may not be able to reach the one
/// that it was built in.
pub(crate) fn world_readable() -> TempDir {
    let folder = folder();
    fs::copy(ZS, folder.path().join("zs")).unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// The tool of such a folder, run as a user who owns nothing.
pub(crate) fn as_nobody(folder: &TempDir) -> Command {
    let mut command = Command::new(folder.path().join("zs"));
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    command.env("TMPDIR", "/tmp");
    command
}

/// Mounts a disk of a size in memory; whether that is allowed.
pub(crate) fn mount_small(folder: &Path, size: &str) -> bool {
    let options = CString::new(format!("size={size}")).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", folder, "tmpfs", flags, &*options).is_ok()
}

/// Unmounts it again.
#[track_caller]
pub(crate) fn unmount(folder: &Path) {
    rustix::mount::unmount(folder, rustix::mount::UnmountFlags::empty()).unwrap();
}
