//! What may be a backing (R14).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    clippy::print_stderr,
    reason = "tests; what is skipped is said"
)]

use crate::common::{BLOCK, Fill, bare, block, write};
use zram::*;

#[test]
fn r14_backings_that_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backing");
    let refusal =
        |path: &std::path::Path| BackingFile::open(path).expect_err("refused").to_string();
    assert!(refusal(&path).contains("opening the backing"));
    std::fs::write(&path, b"").expect("a file");
    assert!(refusal(&path).contains("is empty"));
    assert!(refusal(folder.path()).contains("neither a file nor a block device"));
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let store = bare();
    store
        .set_backing(BackingFile::open(&path).expect("a file"))
        .expect("the first");
    assert!(refusal(&path).contains("somebody else"));
    let second = BackingFile::temporary(folder.path(), 1 << 20).expect("a file");
    assert!(matches!(store.set_backing(second), Err(Error::Busy(_))));
    store.reset().expect("nobody is attached");
    // Let go by the reset, and by a refusal.
    let short = BackingFile::open(&path).expect("free again");
    drop(short);
    std::fs::write(&path, vec![0; 100]).expect("a file");
    let short = BackingFile::open(&path).expect("a file");
    assert!(matches!(store.set_backing(short), Err(Error::Invalid(_))));
    drop(BackingFile::open(&path).expect("free again"));
}

/// The store itself, or the file of a snapshot, by whatever name.
#[test]
fn r14_the_store_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("itself"), vec![0; 1 << 20]).expect("a file");
    std::fs::write(path("other"), vec![0; 1 << 20]).expect("a file");
    std::fs::hard_link(path("itself"), path("hard")).expect("a link");
    std::os::unix::fs::symlink(path("itself"), path("soft")).expect("a link");
    let itself = FileId::of(&std::fs::metadata(path("itself")).expect("a file"));
    for name in ["itself", "hard", "soft"] {
        let refused = BackingFile::open_unless(&path(name), &[itself]).expect_err("itself");
        assert!(
            refused.to_string().contains("the store itself"),
            "{refused}"
        );
    }
    drop(BackingFile::open_unless(&path("other"), &[itself]).expect("another file"));
    // A refusal holds no lock.
    drop(BackingFile::open(&path("itself")).expect("not refused here"));
    let device = std::path::Path::new("/dev/null");
    let refused = BackingFile::open(device).expect_err("no file");
    assert!(
        refused
            .to_string()
            .contains("neither a file nor a block device")
    );
}

/// Lengths that are too short or too long; nothing is taken for those that are refused.
#[test]
fn r14_lengths() {
    let store = bare();
    let held = store.stats().mem_used_max;
    let folder = std::env::temp_dir();
    let file = |bytes| BackingFile::temporary(&folder, bytes).expect("a file");
    for bytes in [0, 1, 127, 4096, 4096 + 127, (512 << 30) + 1, u64::MAX] {
        let refused = store.set_backing(file(bytes)).expect_err("refused");
        assert!(matches!(refused, Error::Invalid(_)), "{bytes}: {refused}");
    }
    // 512 MiB of bits and their index, of which the limit of 16 MiB knows before they are there.
    assert!(matches!(
        store.set_backing(file(512 << 30)),
        Err(Error::NoMemory)
    ));
    assert_eq!(store.stats().mem_used_max, held);
    store
        .set_backing(file(u64::MAX).limited_to(4096 + 128))
        .expect("one block");
    assert_eq!(store.stats().backing_size, 4096 + 128);
}

/// A command's exit, where this process may make devices at all.
fn command(program: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// A mounted device, and one that somebody has claimed; one that is free is taken, and let go
/// again.
#[test]
fn r14_devices_in_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(4 << 20))
        .expect("a file");
    let image = image.to_str().expect("a name");
    let Some(device) = command("losetup", &["--find", "--show", image]) else {
        eprintln!("skipped: no loop device can be made here");
        return;
    };
    let outcome = std::panic::catch_unwind(|| devices_in_use(&device, folder.path()));
    command("losetup", &["--detach", &device]).expect("the device goes");
    outcome.expect("devices in use are refused");
}

fn devices_in_use(device: &str, folder: &std::path::Path) {
    let path = std::path::Path::new(device);
    let first = BackingFile::open(path).expect("free");
    let refused = BackingFile::open(path).expect_err("claimed");
    assert!(matches!(refused, Error::Busy(_)), "{refused}");
    let store = bare();
    store.set_backing(first).expect("the first");
    assert_eq!(store.stats().backing_size, 4 << 20);
    store.reset().expect("nobody is attached");
    let id = FileId::of(&std::fs::metadata(path).expect("a device"));
    assert!(matches!(
        BackingFile::open_unless(path, &[id]),
        Err(Error::Invalid(_))
    ));
    drop(BackingFile::open(path).expect("free again"));
    let mounted = folder.join("mounted");
    std::fs::create_dir(&mounted).expect("a folder");
    let mounted = mounted.to_str().expect("a name");
    if command("mkfs.ext2", &["-q", device]).is_none()
        || command("mount", &[device, mounted]).is_none()
    {
        eprintln!("skipped in part: nothing can be mounted here");
        return;
    }
    let refused = BackingFile::open(path).map(drop);
    command("umount", &[mounted]).expect("unmounted");
    match refused {
        Err(Error::Busy(what)) => assert!(what.contains("mounted"), "{what}"),
        other => unreachable!("{other:?}"),
    }
}

/// A loop device passes holes on to its file, which takes less space as records die.
#[test]
fn a_device_takes_less_space_as_its_records_die() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image");
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(4 << 20).expect("long enough");
    let taken = || file.metadata().expect("a file").blocks() * 512;
    let image = path.to_str().expect("a name");
    let device = command("losetup", &["--find", "--show", image]);
    let Some(device) = device.filter(|_| zs_os::punch_hole(&file, 0, 4096).is_ok()) else {
        eprintln!("skipped: no loop device, or no holes, here");
        return;
    };
    let outcome = std::panic::catch_unwind(|| {
        let store = bare();
        let backing = BackingFile::open(std::path::Path::new(&device)).expect("free");
        store.set_backing(backing).expect("the first");
        for index in 0..20 {
            write(&store, index, &Fill::Random(index).bytes(BLOCK));
        }
        let report = store.writeback(&WritebackRequest::new(BlockFilter::All));
        assert_eq!(report.expect("alone").blocks, 20);
        // The device was synced: its file has them.
        assert!(taken() >= 20 * BLOCK as u64);
        store.discard(0, 10 * BLOCK as u64).expect("in range");
        while taken() > 12 * BLOCK as u64 {
            std::thread::yield_now();
        }
        for index in 10..20 {
            assert!(block(&store, index) == Fill::Random(index).bytes(BLOCK));
        }
    });
    command("losetup", &["--detach", &device]).expect("the device goes");
    outcome.expect("records die");
}
