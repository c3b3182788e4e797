use super::*;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;

#[test]
fn what_is_created_replaces_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let folder = Folder::open(outer.path()).unwrap();
    let create = |text: &str| {
        folder.create(Path::new("file"), |mut file| {
            file.write_all(text.as_bytes())
        })
    };
    create("1").unwrap();
    let refused = create("2").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(outer.path().join("file")).unwrap(), b"1");
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "no draft");
}

#[test]
fn names_stay_below_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("in");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("file"), "1").unwrap();
    fs::write(outer.path().join("secret"), "2").unwrap();
    symlink("/", root.join("out")).unwrap();
    symlink("sub", root.join("within")).unwrap();
    symlink("../secret", root.join("link")).unwrap();
    let folder = Folder::open(&root).unwrap();
    for name in ["file", "sub/../file", root.join("file").to_str().unwrap()] {
        assert!(folder.read(Path::new(name)).is_ok(), "{name}");
    }
    let replace = |name: &str| folder.replace(Path::new(name), |mut file| file.write_all(b"new"));
    for name in [
        "../secret",
        "out/etc/passwd",
        "/etc/passwd",
        "link",
        "sub",
        ".",
        "",
    ] {
        assert!(folder.read(Path::new(name)).is_err(), "{name}");
    }
    for name in ["../file", "out/tmp/file", "/tmp/file", "sub", "..", "", "/"] {
        assert!(replace(name).is_err(), "{name}");
    }
    // A link in the last component is replaced, not followed.
    for name in ["new", "within/new", "link"] {
        replace(name).unwrap();
        let mut text = String::new();
        folder
            .read(Path::new(name))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "new", "{name}");
    }
    assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"2");
}

#[test]
fn a_failed_file_leaves_the_old() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let name = Path::new("file");
    folder
        .replace(name, |mut file| file.write_all(b"old"))
        .unwrap();
    let failed = folder.replace(name, |mut file| {
        file.write_all(b"half")?;
        Err(io::Error::other("no more"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "no more");
    assert_eq!(fs::read(root.path().join(name)).unwrap(), b"old");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}
/// A process is killed while it writes a file. Its draft is not locked any more, and is removed
/// (`misc.py draft`).
#[test]
fn a_draft_of_a_killed_process_does_not_stay() {
    let root = tempfile::tempdir().unwrap();
    let left = root.path().join(format!("{DRAFT}77-1234"));
    let names = || {
        let entries = fs::read_dir(root.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    fs::write(&left, "half").unwrap();
    let folder = Folder::open(root.path()).unwrap();
    assert!(names().is_empty());
    fs::write(&left, "half").unwrap();
    fs::write(root.path().join(".zs-draft-of-a-novel"), "mine").unwrap();
    let name = Path::new("file");
    folder
        .replace(name, |mut file| file.write_all(b"whole"))
        .unwrap();
    assert_eq!(fs::read(root.path().join(name)).unwrap(), b"whole");
    assert_eq!(names().len(), 2, "the novel, and the file");
    // A named draft, as on a file system without unnamed files. A new writer leaves it alone,
    // because it is locked.
    let parent = rustix::fs::open(root.path(), OFlags::RDONLY, Mode::empty()).unwrap();
    let draft = Draft::named(&parent).unwrap();
    assert!(lock_file(&draft.file).unwrap());
    drop(Folder::open(root.path()).unwrap());
    assert_eq!(names().len(), 3);
    draft
        .publish(OsStr::new("other"), RenameFlags::empty())
        .unwrap();
    assert_eq!(names().len(), 3);
}

/// The holder of a lease is asked to give it up, and waited for a limited time.
#[test]
fn a_file_lease_does_not_hold_us_up_for_ever() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    fs::write(&path, "leased").unwrap();
    let script = "\
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('leased', flush=True)
sys.stdin.read(1)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
print('given up', flush=True)
";
    let spawned = std::process::Command::new("python3")
        .args(["-c", script, path.to_str().unwrap()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut holder) = spawned else {
        println!("skipped: python3 is not there (apt install python3)");
        return;
    };
    let mut out = io::BufReader::new(holder.stdout.take().unwrap());
    let mut says = || {
        let mut line = String::new();
        io::BufRead::read_line(&mut out, &mut line).unwrap();
        line
    };
    assert_eq!(says(), "leased\n");
    let folder = Folder::open(root.path()).unwrap();
    let error = folder.read(Path::new("file")).unwrap_err();
    assert!(
        error.to_string().contains("has a lease on the file"),
        "{error}"
    );
    drop(holder.stdin.take());
    assert_eq!(says(), "given up\n");
    assert!(folder.read(Path::new("file")).is_ok());
    holder.wait().unwrap();
}
