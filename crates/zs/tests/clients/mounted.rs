//! A disk as a file, as a block device, and as a file system.
//!
//! Data model: `NBD -> qemu-storage-daemon -> a file of FUSE -> loop device -> mount`. Each guard
//! undoes its step when it is dropped, also when a test fails.

use crate::disk::Disk;
use crate::programs::{attempt, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A disk as a block device.
pub(crate) struct BlockDevice {
    // In the order in which they go.
    looped: Loop,
    _file: FuseFile,
}

impl BlockDevice {
    pub(crate) fn attach(disk: &Disk) -> Self {
        let file = FuseFile::export(disk);
        Self {
            looped: Loop::attach(&file.path),
            _file: file,
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.looped.0
    }
}

/// The disk as a file.
struct FuseFile {
    daemon: Child,
    path: PathBuf,
}

impl FuseFile {
    /// Returns when the file is there.
    fn export(disk: &Disk) -> Self {
        let path = disk.file("fuse");
        fs::write(&path, "").unwrap();
        let socket = disk.socket();
        let (socket, shown) = (socket.display(), path.display());
        let mut daemon = Command::new("qemu-storage-daemon")
            .arg("--blockdev")
            .arg(format!(
                "driver=nbd,node-name=disk,server.type=unix,server.path={socket},discard=unmap"
            ))
            .arg("--export")
            .arg(format!(
                "type=fuse,id=fuse,node-name=disk,mountpoint={shown},writable=on"
            ))
            // A monitor that greets when all that was asked for is there.
            .args(["--chardev", "stdio,id=said", "--monitor", "chardev=said"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ready = wait_for_greeting(&mut daemon);
        let file = Self { daemon, path };
        assert!(ready, "qemu-storage-daemon ended");
        assert!(
            fs::metadata(&file.path).unwrap().len() > 0,
            "nothing is mounted"
        );
        file
    }
}

fn wait_for_greeting(daemon: &mut Child) -> bool {
    use std::io::Read as _;
    let out = daemon.stdout.as_mut().unwrap();
    matches!(out.read(&mut [0; 64]), Ok(1..))
}

impl Drop for FuseFile {
    fn drop(&mut self) {
        // Its own end unmounts the file, after what is under way.
        let daemon = rustix::process::Pid::from_child(&self.daemon);
        let asked = rustix::process::kill_process(daemon, rustix::process::Signal::TERM);
        if asked.is_err() || !self.daemon.wait().is_ok_and(|status| status.success()) {
            attempt("umount", [&self.path]);
        }
    }
}

/// A loop device by its path.
struct Loop(String);

impl Loop {
    fn attach(file: &Path) -> Self {
        let path = run(
            "losetup",
            ["--find".as_ref(), "--show".as_ref(), file.as_os_str()],
        );
        Self(path.trim_end().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        attempt("losetup", ["--detach", &self.0]);
    }
}

/// A mounted file system.
pub(crate) struct Mount(PathBuf);

impl Mount {
    pub(crate) fn new(device: &BlockDevice, folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        run("mount", [device.path().as_ref(), folder.as_os_str()]);
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Unmounts, and says so if that fails.
    pub(crate) fn end(self) {
        run("umount", [&self.0]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Already gone after `end`.
        attempt("umount", ["--lazy".as_ref(), self.0.as_os_str()]);
    }
}
