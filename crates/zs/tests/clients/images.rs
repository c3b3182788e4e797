//! Images in and out, and what maps say of them.

use crate::disk::Disk;
use crate::programs::{installed, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// The sources of this project: text, in folders.
pub(crate) const TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An ext4 file system of 96 MiB with [`TREE`] in it, made without being mounted; and a disk of its
/// size.
fn image(arguments: &[&str]) -> (Disk, String) {
    let disk = Disk::start(&[&["--size", "96M"], arguments].concat());
    let image = text(&disk.file("image")).to_owned();
    run("mke2fs", ["-q", "-t", "ext4", "-d", TREE, &image, "96M"]);
    assert_eq!(fs::metadata(&image).unwrap().len(), 96 * MIB);
    (disk, image)
}

fn differ(one: &str, other: &str) -> bool {
    fs::read(one).unwrap() != fs::read(other).unwrap()
}

#[test]
fn qemu_img_converts_in_and_out() {
    if !installed(&["qemu-img", "mke2fs", "e2fsck"]) {
        return;
    }
    let (disk, image) = image(&["--algorithm", "zstd"]);
    let (uri, qcow) = (disk.uri(), text(&disk.file("qcow")).to_owned());
    let back = text(&disk.file("back")).to_owned();
    // A compressed qcow2 image, as images are handed about, to the disk, and a raw one back.
    run("qemu-img", ["convert", "-c", "-O", "qcow2", &image, &qcow]);
    run("qemu-img", ["convert", "-n", "-O", "raw", &qcow, uri]);
    let same = run("qemu-img", ["compare", "-F", "raw", &qcow, uri]);
    assert!(same.contains("identical"), "{same}");
    run(
        "qemu-img",
        ["convert", "-f", "raw", "-O", "raw", uri, &back],
    );
    assert!(!differ(&image, &back));
    run("e2fsck", ["-fn", &back]);
    assert!(disk.stat("compr_data_size") < disk.stat("orig_data_size") / 2);
    disk.end();
}

#[test]
fn qemu_img_maps_and_measures() {
    if !installed(&["qemu-img", "qemu-io"]) {
        return;
    }
    let disk = Disk::start(&["--size", "64M"]);
    let write = ["write -P 1 1M 2M", "write -z 8M 1M", "write -z -u 16M 1M"];
    let commands = write.iter().flat_map(|command| ["-c", command]);
    run(
        "qemu-io",
        ["-f", "raw"]
            .into_iter()
            .chain(commands)
            .chain([disk.uri()]),
    );
    let map = run(
        "qemu-img",
        ["map", "-f", "raw", "--output=json", disk.uri()],
    );
    let map: Value = serde_json::from_str(&map).unwrap();
    let found: Vec<_> = map.as_array().unwrap().iter().map(extent).collect();
    // Zeroes that were written are there; those that might become a hole are one.
    let expected = [
        (0, MIB, false),
        (MIB, 2 * MIB, true),
        (3 * MIB, 5 * MIB, false),
        (8 * MIB, MIB, true),
        (9 * MIB, 55 * MIB, false),
    ];
    assert_eq!(found, expected);
    let bench = ["bench", "-f", "raw", "-c", "2000", "-d", "32"];
    for more in [&["-w"][..], &[], &["-w", "--flush-interval", "100"]] {
        run("qemu-img", [&bench, more, &[disk.uri()]].concat());
    }
    disk.end();
}

/// Start, length, and whether there is something to read.
fn extent(one: &Value) -> (u64, u64, bool) {
    let number = |name: &str| one[name].as_u64().unwrap();
    (
        number("start"),
        number("length"),
        one["data"].as_bool().unwrap(),
    )
}

#[test]
fn nbdcopy_takes_several_connections() {
    if !installed(&["nbdcopy", "mke2fs"]) {
        return;
    }
    let (disk, image) = image(&["--block-size", "64k"]);
    let uri = disk.uri();
    let back = |arguments: &[&str]| {
        let back = text(&disk.file("back")).to_owned();
        run("nbdcopy", [arguments, &[uri, &back]].concat());
        assert!(!differ(&image, &back), "{arguments:?}");
        fs::remove_file(back).unwrap();
    };
    run(
        "nbdcopy",
        ["--flush", "--connections=4", "--requests=32", &image, uri],
    );
    back(&["--connections=4"]);
    let sparse = disk.stat("orig_data_size");
    // Zeroes are written as such, not left out.
    run("nbdcopy", ["--allocated", "--connections=2", &image, uri]);
    back(&["--synchronous"]);
    assert!(disk.stat("orig_data_size") >= sparse);
    // From one disk to another, without a file between them.
    let other = Disk::start(&["--size", "96M"]);
    run("nbdcopy", [uri, other.uri()]);
    let theirs = text(&disk.file("theirs")).to_owned();
    run("nbdcopy", [other.uri(), &theirs]);
    assert!(!differ(&image, &theirs));
    other.end();
    disk.end();
}

#[test]
fn nbdinfo_says_what_is_there() {
    if !installed(&["nbdinfo", "qemu-io"]) {
        return;
    }
    let disk = Disk::start(&["--size", "64M"]);
    let map = || -> Vec<String> {
        let map = run("nbdinfo", ["--map", disk.uri()]);
        map.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(map(), ["0", "67108864", "3", "hole,zero"], "untouched");
    let commands = ["write -P 7 4k 8k", "write -z 1M 64k"].map(|text| ["-c", text]);
    run(
        "qemu-io",
        [&["-f", "raw"], commands.as_flattened(), &[disk.uri()]].concat(),
    );
    let expected = "0 4096 3 hole,zero 4096 8192 0 data 12288 1036288 3 hole,zero \
                    1048576 65536 2 zero 1114112 65994752 3 hole,zero";
    assert_eq!(map().join(" "), expected);
    let info = run("nbdinfo", ["--json", disk.uri()]);
    let info: Value = serde_json::from_str(&info).unwrap();
    let export = &info["exports"][0];
    assert_eq!(export["export-size"], 64 * MIB);
    assert_eq!(export["can_multi_conn"], true);
    let contexts = ["base:allocation", "x-zs:stored-size"];
    assert_eq!(export["contexts"], Value::from(contexts.to_vec()));
    // Blocks of one byte lie in their words; one of text takes what it was compressed to.
    let text = disk.file("text");
    fs::write(&text, "line of a text; ".repeat(256)).unwrap();
    let write = format!("write -s {} 32k 4k", text.display());
    run("qemu-io", ["-f", "raw", "-c", &write, disk.uri()]);
    let stored = run("nbdinfo", ["--map=x-zs:stored-size", disk.uri()]);
    let words: Vec<&str> = stored.split_whitespace().collect();
    let takes = disk.stat("compr_data_size").to_string();
    let expected = [
        "0", "32768", "0", "32768", "4096", &takes, "36864", "67072000", "0",
    ];
    assert_eq!(words, expected);
    assert!((9..200).contains(&takes.parse().unwrap()), "{takes}");
    let list = run("nbdinfo", ["--list", disk.uri()]);
    assert!(list.contains("export=\"\""), "{list}");
    disk.end();
}

/// Of each it asks the server several things, over one connection.
#[test]
fn nbdinfo_lists_500_disks() {
    if !installed(&["nbdinfo"]) {
        return;
    }
    let exports: Vec<String> = (0..500).map(|number| format!("disk{number}=1M")).collect();
    let arguments = exports.iter().flat_map(|export| ["--export", export]);
    let disk = Disk::start(&arguments.collect::<Vec<_>>());
    let list = run("nbdinfo", ["--list", "--json", disk.uri()]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let exports = list["exports"].as_array().unwrap();
    assert_eq!(exports.len(), 500);
    for (number, export) in exports.iter().enumerate() {
        assert_eq!(export["export-name"], format!("disk{number}"));
        assert_eq!(export["export-size"], MIB);
    }
    disk.end();
}

/// A disk larger than memory would be costs nothing, and is looked at without going over all of it.
#[test]
fn a_large_empty_disk_takes_no_memory() {
    if !installed(&["nbdinfo", "qemu-img"]) {
        return;
    }
    let small = Disk::start(&["--size", "1M"]);
    let disk = Disk::start(&["--size", "100G"]);
    assert_eq!(
        run("nbdinfo", ["--size", disk.uri()]).trim(),
        (100_u64 << 30).to_string()
    );
    let map = run("nbdinfo", ["--map", disk.uri()]);
    let words: Vec<_> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "107374182400", "3", "hole,zero"]);
    // It looks at the first bytes for a format; so does the other.
    for disk in [&small, &disk] {
        run("qemu-img", ["map", "-f", "raw", disk.uri()]);
        run("qemu-img", ["info", disk.uri()]);
        run("nbdinfo", [disk.uri()]);
    }
    let (before, after) = (small.resident(), disk.resident());
    assert!(
        after < before + (2 << 20),
        "{before} bytes, {after} for the large one"
    );
    disk.end();
    small.end();
}
