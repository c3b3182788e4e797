//! Clients of other projects, in any version, where they are installed: qemu-img, qemu-io, nbdinfo,
//! nbdcopy, fio. A missing one is named and skipped. Every dialect is tested without them in
//! `dialects.rs`. On Debian and Ubuntu they come with `apt-get install qemu-utils libnbd-bin fio`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what is skipped"
)]

mod client;

use client::{Client, exports};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use zs_nbd::{Endpoint, Limits, MemoryDevice, Server};

const SIZE: u64 = 64 << 20;

struct Disk {
    folder: TempDir,
    _server: Server,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::unix(&folder.path().join("nbd")).unwrap();
        let device = Arc::new(MemoryDevice::new(SIZE).unwrap());
        let limits = Limits::default();
        let server = Server::start(exports(device), vec![endpoint], limits, Arc::new(|_| ()));
        Self {
            folder,
            _server: server.unwrap(),
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.file("nbd"))
    }

    fn client(&self) -> Client<std::os::unix::net::UnixStream> {
        Client::connect(&PathBuf::from(self.file("nbd")))
    }

    /// Makes an image: data, a hole, data.
    fn image(&self) -> String {
        let mut bytes: Vec<u8> = (0..3 << 20)
            .map(|n: u32| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        bytes.resize(20 << 20, 0);
        bytes.extend((0..4096).map(|n: u32| n as u8 | 1));
        bytes.resize(SIZE as usize, 0);
        let file = self.file("image");
        fs::write(&file, bytes).unwrap();
        file
    }
}

/// Returns the output of a program, or `None` if it is not installed.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            return None;
        }
        output => output.unwrap(),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{errors}"
    );
    Some(text)
}

#[test]
fn nbdinfo_maps_an_untouched_disk() {
    let disk = Disk::new();
    let Some(map) = output("nbdinfo", &["--map", &disk.uri()]) else {
        return;
    };
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "67108864", "3", "hole,zero"]);
    let info = output("nbdinfo", &["--json", &disk.uri()]).unwrap();
    for part in [
        "\"export-size\": 67108864",
        "\"can_multi_conn\": true",
        "\"can_fast_zero\": false",
        "\"block_size_maximum\": 33554432",
        "base:allocation",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let list = output("nbdinfo", &["--list", &disk.uri()]).unwrap();
    assert!(list.contains("export=\"disk\""), "{list}");
}

#[test]
fn nbdcopy_there_and_back() {
    let disk = Disk::new();
    let image = disk.image();
    let copy = disk.file("copy");
    if output("nbdcopy", &["--flush", &image, &disk.uri()]).is_none() {
        return;
    }
    output("nbdcopy", &[&disk.uri(), &copy]);
    assert!(fs::read(&image).unwrap() == fs::read(&copy).unwrap());
    assert!(
        disk.client().read(0, SIZE as u32 / 2) == fs::read(&image).unwrap()[..SIZE as usize / 2]
    );
}

#[test]
fn qemu_img_converts_compares_and_maps() {
    let disk = Disk::new();
    let (image, uri) = (disk.image(), disk.uri());
    let convert = ["convert", "-n", "-f", "raw", "-O", "raw", &image, &uri];
    if output("qemu-img", &convert).is_none() {
        return;
    }
    let compare = ["compare", "-f", "raw", "-F", "raw", &image, &uri];
    let same = output("qemu-img", &compare).unwrap();
    assert!(same.contains("identical"), "{same}");
    let map = output("qemu-img", &["map", "-f", "raw", "--output=json", &uri]).unwrap();
    let extents: Vec<&str> = map.lines().filter(|line| line.contains("start")).collect();
    assert_eq!(extents.len(), 4, "{map}");
    let data: Vec<bool> = extents
        .iter()
        .map(|line| line.contains("\"data\": true"))
        .collect();
    assert_eq!(data, [true, false, true, false], "{map}");
    output(
        "qemu-img",
        &["bench", "-f", "raw", "-c", "2000", "-d", "32", "-w", &uri],
    );
}

#[test]
fn qemu_io_patterns() {
    let disk = Disk::new();
    let mut arguments = vec!["-f", "raw"];
    let commands = [
        "write -P 0xab 1000 5000",
        "read -P 0xab 1000 5000",
        "read -P 0 0 1000",
        "write -f -P 0xcd 1M 3M",
        "write -z -u 2M 64k",
        "write -z 3M 512",
        "discard 1M 4k",
        "read -P 0 2M 64k",
        "read -P 0 3M 512",
        "read -P 0xcd 2112k 64k",
        "read -P 0 1M 4k",
        "aio_write -P 1 8M 1M",
        "aio_write -P 2 9M 32M",
        "aio_flush",
        "read -P 1 8M 1M",
        "read -P 2 9M 32M",
        "flush",
    ];
    for command in &commands {
        arguments.extend(["-c", command]);
    }
    let uri = disk.uri();
    arguments.push(&uri);
    if let Some(text) = output("qemu-io", &arguments) {
        assert!(!text.contains("failed"), "{text}");
        assert_eq!(disk.client().read(999, 3), [0, 0xab, 0xab]);
    }
}

#[test]
fn fio_verifies() {
    let disk = Disk::new();
    let uri = format!("--uri={}", disk.uri());
    let text = output(
        "fio",
        &[
            "--name=verify",
            "--ioengine=nbd",
            &uri,
            "--rw=randwrite",
            "--bsrange=512-128k",
            "--bs_unaligned",
            "--iodepth=32",
            "--size=48m",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--randseed=7",
            "--verify_state_save=0",
        ],
    );
    if let Some(text) = text {
        assert!(text.contains("READ:") && text.contains("WRITE:"), "{text}");
    }
}
