//! Sockets and their files: the users that may connect, the owner of a name, inherited sockets.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;

use client::probe::{LONG, SIZE, Setup};
use client::{Client, GREETING, exports, notes};
use rustix::fs::FlockOperation;
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use zs_nbd::{Endpoint, EndpointError, Limits, MemoryDevice, Server, Stopped};

/// The variable that tells a child process its socket.
const CHILD: &str = "ZS_NBD_TEST_CHILD";

fn serve(endpoints: Vec<Endpoint>) -> (Server, Arc<std::sync::Mutex<Vec<String>>>) {
    let disk = Arc::new(MemoryDevice::new(SIZE).unwrap());
    let (observer, notes) = notes();
    let server = Server::start(exports(disk), endpoints, Limits::default(), observer);
    (server.unwrap(), notes)
}

/// While sockets are made without a umask, the folder never shows a socket that others may open.
#[test]
fn a_socket_is_its_owners_from_its_first_moment_on() {
    let folder = tempfile::tempdir().unwrap();
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for entry in fs::read_dir(folder.path()).unwrap() {
                    if let Ok(found) = entry.unwrap().metadata() {
                        assert!(found.file_type().is_socket());
                        assert_eq!(found.permissions().mode() & 0o777, 0o600);
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        while seen.load(Ordering::Relaxed) < 1000 {
            drop(Endpoint::unix(&folder.path().join("nbd")).unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
    rustix::process::umask(umask);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "all of them go"
    );
}

#[test]
fn a_socket_in_use_is_left_alone() {
    let setup = Setup::memory();
    let path = setup.path();
    let second = Endpoint::unix(&path);
    assert!(matches!(second, Err(EndpointError::InUse(_))), "{second:?}");
    Client::connect(&path).write(0, b"as before");
    setup.stop();
    assert!(!path.exists());
}

#[test]
fn abandoned_sockets_are_replaced_and_other_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the file");
    let endpoint = Endpoint::unix(&path).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    // The file is another server's by now, so it stays.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(endpoint);
    assert!(matches!(
        Endpoint::unix(&path),
        Err(EndpointError::NoSocket(_))
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let nowhere = folder.path().join("no/such/folder");
    let long = folder.path().join("x".repeat(200));
    for path in [nowhere, long] {
        let made = Endpoint::unix(&path);
        assert!(matches!(made, Err(EndpointError::Unix { .. })), "{made:?}");
    }
}

/// A name that another server has taken meanwhile stays that server's.
#[test]
fn a_name_that_is_somebody_elses_by_now_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    let first = Endpoint::unix(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _second = Endpoint::unix(&path).unwrap();
    drop(first);
    assert!(UnixStream::connect(&path).is_ok());
}

/// Any user may lock a shared folder for ever. Only a server that replaces a socket needs the lock,
/// and it gets an error that says so.
#[test]
fn a_locked_folder_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    let lock = File::open(folder.path()).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    drop(Endpoint::unix(&path).unwrap());
    assert!(!path.exists());
    drop(UnixListener::bind(&path).unwrap());
    let made = Endpoint::unix(&path);
    assert!(matches!(made, Err(EndpointError::Locked(_))), "{made:?}");
    drop(lock);
    assert!(Endpoint::unix(&path).is_ok());
}

#[test]
fn of_servers_that_start_at_once_one_wins() {
    for abandoned in [false, true] {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("nbd");
            if abandoned {
                drop(UnixListener::bind(&path).unwrap());
            }
            let made: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| Endpoint::unix(&path)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
            assert!(UnixStream::connect(&path).is_ok());
        }
    }
}

/// The file is removed before the socket is closed. In the other order, a successor may take the
/// name, and even the inode number, before its predecessor removes the file. The test watches a
/// connection that is never accepted, until it is reset.
#[test]
fn the_file_goes_before_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    for _ in 0..50 {
        let endpoint = Endpoint::unix(&path).unwrap();
        let mut waiting = UnixStream::connect(&path).unwrap();
        waiting.set_nonblocking(true).unwrap();
        let watching = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let waits = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
                while waiting.read(&mut [0]).is_err_and(|error| waits(&error)) {
                    watching.store(true, Ordering::Relaxed);
                }
                assert!(
                    !path.exists(),
                    "the socket is closed, and its file still there"
                );
            });
            while !watching.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            drop(endpoint);
        });
    }
}

#[test]
fn inherited_sockets_and_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("given");
    let unix = Endpoint::inherited(UnixListener::bind(&path).unwrap()).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = Endpoint::inherited_tcp(tcp, None).unwrap();
    let address = tcp.tcp_address().unwrap();
    let (server, _) = serve(vec![unix, tcp]);
    Client::connect(&path).write(3, b"shared");
    assert_eq!(Client::connect_tcp(address).read(3, 6), b"shared");
    assert_eq!(server.stop(LONG), Stopped::InTime);
    assert!(path.exists(), "it is not ours to remove");
    let open = Endpoint::tcp("0.0.0.0:0".parse().unwrap(), None);
    assert!(matches!(open, Err(EndpointError::NeedsTls(_))));
    let open = Endpoint::inherited_tcp(TcpListener::bind("0.0.0.0:0").unwrap(), None);
    assert!(matches!(open, Err(EndpointError::NeedsTls(_))));
}

/// Returns a command that runs this program again, for one test below that is only run as a child.
fn child(folder: &Path, test: &str) -> Command {
    let program = folder.join("child");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.args(["--ignored", "--exact", test]);
    command
}

/// A connection of another user, allowed by the file's mode, is closed without a greeting and
/// reported to the observer.
#[test]
fn other_users_are_turned_away() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let (server, notes) = serve(vec![Endpoint::inherited(listener).unwrap()]);
    let mut child = child(folder.path(), "child_is_turned_away");
    let status = child.env(CHILD, &path).uid(65_534).status().unwrap();
    assert!(status.success());
    assert_eq!(server.stop(LONG), Stopped::InTime);
    let notes = notes.lock().unwrap().join("\n");
    assert!(notes.contains("user 65534 is not 0"), "{notes}");
}

#[test]
#[ignore = "run as another user by other_users_are_turned_away"]
fn child_is_turned_away() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let mut stream = UnixStream::connect(path).unwrap();
    let greeted = stream.read(&mut [0; GREETING]);
    let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(greeted.map_or_else(refused, |len| len == 0));
}
