//! ext4, xfs and btrfs on a disk: made, filled, taken apart, checked, compared, trimmed.

use crate::disk::Disk;
use crate::images::TREE;
use crate::mounted::{BlockDevice, Mount};
use crate::programs::{installed, may_mount, run};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Programs of a file system, and their arguments before the device.
struct FileSystem {
    make: &'static [&'static str],
    check: &'static [&'static str],
}

const EXT4: FileSystem = FileSystem {
    make: &["mkfs.ext4", "-q", "-F"],
    check: &["e2fsck", "-fn"],
};

const XFS: FileSystem = FileSystem {
    make: &["mkfs.xfs", "-q", "-f"],
    check: &["xfs_repair", "-n"],
};

const BTRFS: FileSystem = FileSystem {
    make: &["mkfs.btrfs", "-q", "-f"],
    check: &["btrfs", "check"],
};

const BLOCK_SIZES: [&str; 2] = ["4K", "64K"];
const ALGORITHMS: [&str; 2] = ["lz4", "zstd"];

/// A command of which the last argument is a device.
fn on(command: &[&str], device: &str) -> String {
    run(command[0], command[1..].iter().copied().chain([device]))
}

fn copy(from: &Path, to: &Path) {
    run("cp", [OsStr::new("-a"), from.as_os_str(), to.as_os_str()]);
}

impl FileSystem {
    fn try_all(&self) {
        let programs = ["qemu-storage-daemon", "losetup", "fstrim", self.make[0], self.check[0]];
        if !installed(&programs) || !may_mount() {
            return;
        }
        for block_size in BLOCK_SIZES {
            for algorithm in ALGORITHMS {
                let options = ["--size", "512M", "--limit", "512M"];
                let chosen = ["--block-size", block_size, "--algorithm", algorithm];
                let disk = Disk::start(&[options, chosen].concat());
                self.fill(&disk);
                self.compare_and_empty(&disk);
                disk.end();
            }
        }
    }

    /// Makes it, and copies the tree into it. Nothing of it is left in this machine's caches afterwards.
    fn fill(&self, disk: &Disk) {
        // A copy of its own: somebody may be working on the original.
        copy(Path::new(TREE), &disk.file("tree"));
        let device = BlockDevice::attach(disk);
        on(self.make, device.path());
        let mount = Mount::new(&device, disk.file("mount"));
        copy(&disk.file("tree"), mount.path());
        mount.end();
    }

    /// Checks and compares it, and requires that memory falls with what is removed.
    fn compare_and_empty(&self, disk: &Disk) {
        let device = BlockDevice::attach(disk);
        on(self.check, device.path());
        let mount = Mount::new(&device, disk.file("mount"));
        let (tree, copy) = (disk.file("tree"), mount.path().join("tree"));
        run("diff", [OsStr::new("-r"), tree.as_os_str(), copy.as_os_str()]);
        let full = held(disk);
        fs::remove_dir_all(copy).unwrap();
        run("sync", ["-f".as_ref(), mount.path().as_os_str()]);
        run("fstrim", [mount.path()]);
        let empty = held(disk);
        for (full, empty) in full.into_iter().zip(empty) {
            assert!(empty < full / 2, "{full} bytes before, {empty} after");
        }
        mount.end();
        on(self.check, device.path());
    }
}

/// Bytes of blocks, of objects, and of memory.
fn held(disk: &Disk) -> [u64; 3] {
    let mut control = disk.control();
    control.ask(&serde_json::json!({"command": "compact"})).unwrap();
    ["orig_bytes", "compr_bytes", "mem_used"].map(|name| control.stat(name))
}

#[test]
fn ext4() {
    EXT4.try_all();
}

#[test]
fn xfs() {
    XFS.try_all();
}

#[test]
fn btrfs() {
    BTRFS.try_all();
}
