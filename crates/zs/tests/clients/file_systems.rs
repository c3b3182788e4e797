//! ext4, xfs and btrfs on a disk: made, filled, taken apart, checked, compared, trimmed.

use crate::common::ZS;
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

const BLOCK_SIZES: [&str; 2] = ["4k", "64k"];
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
        let programs = [
            "qemu-storage-daemon",
            "losetup",
            "fstrim",
            self.make[0],
            self.check[0],
        ];
        if !installed(&programs) || !may_mount() {
            return;
        }
        for block_size in BLOCK_SIZES {
            for algorithm in ALGORITHMS {
                let options = ["--size", "512M"];
                let chosen = ["--block-size", block_size, "--algorithm", algorithm];
                let disk = Disk::start(&[&options[..], &chosen].concat());
                self.fill(&disk);
                self.compare_and_empty(&disk);
                disk.end();
            }
        }
    }

    /// Makes it, and copies the tree into it. Nothing of it is left in this machine's caches
    /// afterwards.
    fn fill(&self, disk: &Disk) {
        // A copy of its own: somebody may be working on the originals. The tool is one large file.
        let tree = disk.file("tree");
        copy(Path::new(TREE), &tree);
        copy(Path::new(ZS), &tree.join("tool"));
        let device = BlockDevice::attach(disk);
        on(self.make, device.path());
        let mount = Mount::new(&device, disk.file("mount"));
        copy(&tree, mount.path());
        mount.end();
    }

    /// Checks and compares it, and requires that memory falls with what is removed.
    fn compare_and_empty(&self, disk: &Disk) {
        let device = BlockDevice::attach(disk);
        on(self.check, device.path());
        let mount = Mount::new(&device, disk.file("mount"));
        let (tree, copy) = (disk.file("tree"), mount.path().join("tree"));
        run(
            "diff",
            [OsStr::new("-r"), tree.as_os_str(), copy.as_os_str()],
        );
        let bytes = run("du", ["-s".as_ref(), "-B1".as_ref(), tree.as_os_str()]);
        let bytes: u64 = bytes.split_whitespace().next().unwrap().parse().unwrap();
        let full = held(disk);
        fs::remove_dir_all(copy).unwrap();
        // xfs takes its time to free what was removed, but not beyond that.
        mount.end();
        let mount = Mount::new(&device, disk.file("mount"));
        run("fstrim", [mount.path()]);
        let empty = held(disk);
        // What the file system has for itself stays.
        println!("{bytes} bytes of files; held {full:?}, then {empty:?}");
        assert!(
            full[0] - empty[0] > bytes / 4 * 3,
            "the files' blocks are still there"
        );
        assert!(
            empty[1] < full[1] / 2 && empty[2] < full[2] / 2,
            "objects and memory are still there"
        );
        mount.end();
        on(self.check, device.path());
    }
}

/// Bytes of blocks, of objects, and of memory.
fn held(disk: &Disk) -> [u64; 3] {
    let mut control = disk.control();
    control
        .ask(&serde_json::json!({"command": "compact"}))
        .unwrap();
    ["orig_data_size", "compr_data_size", "mem_used_total"].map(|name| control.stat(name))
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
