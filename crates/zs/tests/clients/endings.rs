//! Clients that are killed, and a server that is told to end, in the middle of it.

use crate::disk::Disk;
use crate::programs::{installed, run};
use std::fs;
use std::process::{Command, Stdio};

const BLOCK: usize = 4096;
const BLOCKS: usize = 8192;

/// An image in which each block says of which version and number it is, over all of its length.
fn image(version: u32) -> Vec<u8> {
    (0..BLOCKS as u32)
        .flat_map(|number| block(version, number))
        .collect()
}

fn block(version: u32, number: u32) -> Vec<u8> {
    // A part that compresses, and one that hardly does.
    let mut random = fastrand::Rng::with_seed(u64::from(version) << 32 | u64::from(number));
    let mut bytes = [version.to_le_bytes(), number.to_le_bytes()].concat();
    bytes = bytes.repeat(BLOCK / 16);
    bytes.resize_with(BLOCK, || random.u8(..));
    bytes
}

/// The version of a block, which must be whole.
#[track_caller]
fn version(number: usize, bytes: &[u8]) -> u32 {
    let version = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert!(
        bytes == block(version, number as u32),
        "block {number} is torn"
    );
    version
}

/// R2, and the server's promise: whoever is killed leaves whole blocks, old or new.
#[test]
fn a_killed_client_leaves_whole_blocks() {
    const TRIES: u32 = 100;
    if !installed(&["nbdcopy"]) {
        return;
    }
    let disk = Disk::start(&["--size", "32M"]);
    let (source, back) = (disk.file("source"), disk.file("back"));
    fs::write(&source, image(0)).unwrap();
    run("nbdcopy", [source.as_os_str(), disk.uri().as_ref()]);
    let mut versions = vec![0; BLOCKS];
    let mut control = disk.control();
    let (mut killed_within, mut tries) = (0, 0);
    // The first version that is written in part only shows that a client was killed within its
    // writes.
    for new in 1..=TRIES {
        tries = new;
        fs::write(&source, image(new)).unwrap();
        let before = control.stat("write/bytes");
        let mut client = Command::new("nbdcopy")
            .args([source.as_os_str(), disk.uri().as_ref()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while control.stat("write/bytes") == before {}
        client.kill().unwrap();
        client.wait().unwrap();
        run("nbdcopy", [disk.uri().as_ref(), back.as_os_str()]);
        let bytes = fs::read(&back).unwrap();
        let found = bytes.chunks(BLOCK).enumerate();
        let found: Vec<u32> = found
            .map(|(number, bytes)| version(number, bytes))
            .collect();
        for (number, (found, old)) in found.iter().zip(&versions).enumerate() {
            assert!(
                found == old || *found == new,
                "block {number} is of version {found}"
            );
        }
        let share = found.iter().filter(|version| **version == new).count();
        killed_within += u32::from((1..BLOCKS).contains(&share));
        versions = found;
        if killed_within == 5 {
            break;
        }
    }
    println!("killed within its writes {killed_within} times of {tries}");
    assert!(killed_within > 0, "no client was killed within its writes");
    disk.end();
}

/// A signal while requests are under way: those that have arrived are finished, and nothing is
/// left.
#[test]
fn a_server_ends_while_fio_runs() {
    if !installed(&["fio"]) {
        return;
    }
    for _ in 0..3 {
        let disk = Disk::start(&["--size", "64M"]);
        let mut client = Command::new("fio")
            .args([
                "--name=endless",
                "--ioengine=nbd",
                "--rw=randrw",
                "--bs=64k",
            ])
            .args([
                "--size=64m",
                "--iodepth=16",
                "--time_based",
                "--runtime=600",
            ])
            .arg(format!("--uri={}", disk.uri()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut control = disk.control();
        while control.stat("write/requests") < 100 {
            let ended = client.try_wait().unwrap();
            assert!(ended.is_none(), "fio ended: {ended:?}");
        }
        drop(control);
        disk.end();
        // Its disk has gone.
        assert!(!client.wait().unwrap().success());
    }
}
