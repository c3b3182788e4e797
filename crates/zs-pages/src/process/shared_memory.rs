//! Mappings of shared memory: pages of memfd, tmpfs, `shmget` and shared anonymous mappings.

use super::proc_dir::ProcDir;
use super::seen::ObjectId;
use super::smaps::MappedFile;
use rustix::fs::{MemfdFlags, fstat, major, memfd_create, minor};
use std::os::fd::AsFd as _;

/// The file systems whose files are shared memory, by major and minor number: the kernel's own one,
/// which is not mounted, and each tmpfs that a process sees.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    devices: Vec<(u32, u32)>,
    ipc_namespace: Option<u64>,
}

impl SharedMemory {
    /// Finds the file systems that a process sees. Those that cannot be read are left out.
    pub(super) fn of(dir: &ProcDir) -> Self {
        let mounts = dir.read("mountinfo").unwrap_or_default();
        let mut devices = tmpfs_devices(&mounts);
        devices.extend(kernel_device());
        Self {
            devices,
            ipc_namespace: dir.inode_of("ns/ipc").ok(),
        }
    }

    /// Returns the object of a mapping, if it is shared memory.
    pub(super) fn object(&self, file: &MappedFile) -> Option<ObjectId> {
        let is_shared = self.devices.contains(&file.device);
        is_shared.then_some(self.any_object(file))
    }

    /// Returns the object of a mapping, whatever its kind.
    pub(super) fn any_object(&self, file: &MappedFile) -> ObjectId {
        ObjectId {
            device: file.device,
            inode: file.inode,
            ipc_namespace: self.ipc_namespace.filter(|_| file.is_system_v),
        }
    }
}

/// Returns the device of the kernel's own file system of shared memory, found by making a memfd.
fn kernel_device() -> Option<(u32, u32)> {
    let file = memfd_create("zs", MemfdFlags::CLOEXEC).ok()?;
    let device = fstat(file.as_fd()).ok()?.st_dev;
    Some((major(device), minor(device)))
}

/// Returns the devices of the tmpfs mounts in a `mountinfo` (proc_pid_mountinfo(5)).
fn tmpfs_devices(mountinfo: &[u8]) -> Vec<(u32, u32)> {
    let of = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let (mount, system) = line.split_once(" - ")?;
        if !system.starts_with("tmpfs ") {
            return None;
        }
        let (major, minor) = mount.split(' ').nth(2)?.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(of)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_mounts_are_found_by_their_devices() {
        let text = b"22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
25 22 0:24 / /dev/shm rw,nosuid - tmpfs tmpfs rw\n\
26 22 0:25 / /x\\040- rw master:1 - tmpfs t\xff rw\n27 22 0:26 / /y rw - nottmpfs x\nnonsense\n";
        assert_eq!(tmpfs_devices(text), [(0, 24), (0, 25)]);
    }
}
