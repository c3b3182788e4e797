//! The server at real sockets: who comes in, limits, the end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod client;

use client::{
    Client, FLUSH, GO, READ, START_TLS, Take, WRITE, exports, go, notes, option, request,
};
use client::{STRUCTURED, write};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use zs_nbd::{
    Content, Context, Device, Endpoint, EndpointError, Errno, Extents, Limits, MemoryDevice,
    Observer, Server, Space, Stopped,
};

const SIZE: u64 = 8 << 20;
const LONG: Duration = Duration::from_secs(60);

struct Setup {
    folder: TempDir,
    server: Server,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Setup {
    fn new(device: Arc<dyn Device>, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::unix(&folder.path().join("nbd")).unwrap();
        let (observer, notes) = notes();
        let server = Server::start(exports(device), vec![endpoint], limits, observer).unwrap();
        Self {
            folder,
            server,
            notes,
        }
    }

    fn memory() -> Self {
        Self::new(disk(), Limits::default())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("nbd")
    }

    /// Stops, and returns what the observer was told.
    fn stop(self) -> Vec<String> {
        assert_eq!(self.server.stop(LONG), Stopped::InTime);
        std::mem::take(&mut self.notes.lock().unwrap())
    }
}

fn disk() -> Arc<MemoryDevice> {
    Arc::new(MemoryDevice::new(SIZE).unwrap())
}

fn silent() -> Observer {
    Arc::new(|_| ())
}

#[test]
fn many_connections_share_a_disk() {
    let setup = Setup::memory();
    std::thread::scope(|scope| {
        for part in 0..8_u64 {
            let path = setup.path();
            scope.spawn(move || {
                let mut client = Client::connect(&path);
                for round in 0..50_u64 {
                    let at = part * (1 << 20) + round * 5000;
                    let bytes: Vec<u8> = (0..5000).map(|n| (n + round + part) as u8).collect();
                    client.write(at, &bytes);
                    assert!(client.read(at, 5000) == bytes);
                }
            });
        }
    });
    let mut other = Client::connect(&setup.path());
    assert_eq!(other.read(7 << 20, 3), [7, 8, 9]);
}

#[test]
fn the_file_is_its_owners_and_goes_at_the_end() {
    let setup = Setup::memory();
    let path = setup.path();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Endpoint::unix(&path);
    assert!(matches!(second, Err(EndpointError::InUse(_))), "{second:?}");
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
    // Somebody else's by now: it stays.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(endpoint);
    assert!(matches!(
        Endpoint::unix(&path),
        Err(EndpointError::NoSocket(_))
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let nowhere = folder.path().join("no/such/folder");
    assert!(matches!(
        Endpoint::unix(&nowhere),
        Err(EndpointError::Unix { .. })
    ));
    let long = folder.path().join("x".repeat(200));
    assert!(matches!(
        Endpoint::unix(&long),
        Err(EndpointError::Unix { .. })
    ));
}

#[test]
fn of_servers_that_start_at_once_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    drop(UnixListener::bind(&path).unwrap());
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

#[test]
fn hostile_clients_end_alone() {
    let setup = Setup::memory();
    let mut good = Client::connect(&setup.path());
    good.write(0, b"good");
    let mut http = UnixStream::connect(setup.path()).unwrap();
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    http.read_to_end(&mut Vec::new()).ok();
    let mut bad = Client::connect(&setup.path());
    bad.send(&[0xff; 28]);
    assert_eq!(bad.stream.read(&mut [0; 1]).unwrap(), 0);
    let mut huge = Client::connect(&setup.path());
    huge.send(&request(WRITE, 0, 1, 0, u32::MAX));
    assert_eq!(huge.stream.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(good.read(0, 4), b"good");
    drop(good);
    let notes = setup.stop().join("\n");
    for told in ["ClientFlags", "RequestMagic", "Payload"] {
        assert!(notes.contains(told), "{told}: {notes}");
    }
}

#[test]
fn a_write_that_is_cut_never_happened() {
    let setup = Setup::memory();
    let mut client = Client::connect(&setup.path());
    client.write(0, &[1; 8192]);
    let whole = write(9, 0, &[2; 8192]);
    for cut in [1, 27, 28, 29, 4096 + 28, 8192 + 27] {
        let mut gone = Client::connect(&setup.path());
        gone.send(&whole[..cut]);
        drop(gone);
    }
    let path = setup.path();
    drop(client);
    let mut late = Client::connect(&path);
    assert_eq!(late.read(0, 8192), [1; 8192]);
    drop(late);
    let notes = setup.stop();
    let cut = notes.iter().filter(|note| note.contains("cut: true"));
    assert_eq!(cut.count(), 6, "{notes:?}");
}

#[test]
fn limits_hold() {
    let limits = Limits {
        connections: 2,
        handshake: Duration::from_millis(50),
        ..Limits::default()
    };
    let setup = Setup::new(disk(), limits);
    let mut first = Client::connect(&setup.path());
    // Says nothing, and is asked to leave.
    let mut idle = UnixStream::connect(setup.path()).unwrap();
    let mut greeting = Vec::new();
    idle.read_to_end(&mut greeting).unwrap();
    assert_eq!(greeting.len(), client::GREETING);
    let _second = loop {
        // The idle one's place is free a moment after it was closed.
        let mut stream = UnixStream::connect(setup.path()).unwrap();
        if stream.read_exact(&mut greeting).is_ok() {
            let mut second = Client { stream };
            second.send(&3_u32.to_be_bytes());
            second.enter();
            break second;
        }
    };
    let mut third = UnixStream::connect(setup.path()).unwrap();
    assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0);
    // No limit of time on those that are in.
    assert_eq!(first.read(0, 2), [0, 0]);
    let notes = setup.notes.lock().unwrap().join("\n");
    assert!(
        notes.contains("Slow(50ms)") && notes.contains("TooMany(2)"),
        "{notes}"
    );
}

/// A device whose reads wait until a number of them are inside at once.
struct Meeting {
    wanted: usize,
    inside: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    fn of(wanted: usize) -> Arc<Self> {
        Arc::new(Self {
            wanted,
            inside: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    fn meet(&self) {
        let mut inside = self.inside.lock().unwrap();
        *inside += 1;
        self.changed.notify_all();
        let met = self
            .changed
            .wait_timeout_while(inside, LONG, |inside| *inside < self.wanted);
        assert!(!met.unwrap().1.timed_out(), "they never met");
    }

    fn wait_for(&self, count: usize) {
        let inside = self.inside.lock().unwrap();
        let all = self.changed.wait_while(inside, |inside| *inside < count);
        drop(all.unwrap());
    }
}

impl Device for Meeting {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read(&self, _: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        self.meet();
        buf.fill(5);
        Ok(Content::Data)
    }
    fn write(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        panic!("a device with a fault")
    }
    fn write_zeroes(&self, _: u64, _: u64, _: Space) -> Result<(), Errno> {
        Ok(())
    }
    fn trim(&self, _: u64, _: u64) -> Result<(), Errno> {
        // Longer than a wake-up takes: after three, the device counts as slow.
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        Ok(())
    }
    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn block_status(&self, _: u64, _: &mut Extents, _: Context) -> Result<(), Errno> {
        Err(Errno::NotSup)
    }
}

/// With a slow device, requests of one connection are worked on at once: batches of 64 KiB, each by a thread of its own, that
/// only end together.
#[test]
fn one_connection_has_several_workers() {
    let meeting = Meeting::of(4);
    let limits = Limits {
        threads: 4,
        ..Limits::default()
    };
    let setup = Setup::new(Arc::clone(&meeting) as Arc<dyn Device>, limits);
    let mut client = Client::connect(&setup.path());
    for _ in 0..3 {
        client.send(&request(client::TRIM, 0, 1, 0, 4096));
        assert_eq!(client.reply(), (0, 1));
    }
    let reads: Vec<u8> = (0..4)
        .flat_map(|n| request(READ, 0, n, n << 16, 1 << 16))
        .collect();
    client.send(&reads);
    let mut cookies: Vec<u64> = (0..4)
        .map(|_| {
            let (error, cookie) = client.reply();
            assert_eq!(error, 0);
            assert!(client.receive(1 << 16).iter().all(|byte| *byte == 5));
            cookie
        })
        .collect();
    cookies.sort_unstable();
    assert_eq!(cookies, [0, 1, 2, 3]);
}

#[test]
fn stop_finishes_what_is_in_flight() {
    let meeting = Meeting::of(2);
    let setup = Setup::new(Arc::clone(&meeting) as Arc<dyn Device>, Limits::default());
    let mut client = Client::connect(&setup.path());
    client.send(&request(READ, 0, 7, 0, 4096));
    client.send(&request(FLUSH, 0, 8, 0, 0));
    meeting.wait_for(1);
    let path = setup.path();
    let notes = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| setup.stop());
        // Nobody is let in from the moment on when the file is gone.
        while path.exists() {
            std::thread::yield_now();
        }
        meeting.meet();
        assert_eq!(client.reply(), (0, 7));
        assert_eq!(client.receive(4096), [5; 4096]);
        assert_eq!(client.reply(), (0, 8));
        assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
        stopping.join().unwrap()
    });
    assert!(
        notes
            .iter()
            .any(|note| note.contains("Gone { cut: false }")),
        "{notes:?}"
    );
}

#[test]
fn stop_does_not_wait_for_clients_that_take_no_replies() {
    let setup = Setup::memory();
    let mut client = Client::connect(&setup.path());
    // Much more than a socket buffers.
    client.write(0, &vec![1; SIZE as usize]);
    client.send(&request(READ, 0, 1, 0, SIZE as u32));
    client.receive(16);
    assert_eq!(setup.server.stop(Duration::ZERO), Stopped::CutOff);
}

#[test]
fn a_device_that_panics_ends_its_connection() {
    let setup = Setup::new(Meeting::of(1), Limits::default());
    let mut victim = Client::connect(&setup.path());
    victim.send(&write(1, 0, &[1; 4096]));
    assert_eq!(victim.stream.read(&mut [0; 1]).unwrap_or(0), 0);
    let mut other = Client::connect(&setup.path());
    assert_eq!(other.read(0, 1), [5]);
}

#[test]
fn inherited_sockets_and_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("given");
    let unix = Endpoint::inherited(UnixListener::bind(&path).unwrap()).unwrap();
    let tcp = Endpoint::tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = tcp.tcp_address().unwrap();
    let endpoints = vec![unix, tcp];
    let server = Server::start(exports(disk()), endpoints, Limits::default(), silent()).unwrap();
    Client::connect(&path).write(3, b"shared");
    let stream = std::net::TcpStream::connect(address).unwrap();
    let mut client = Client { stream };
    client.shake_hands();
    assert_eq!(client.read(3, 6), b"shared");
    assert_eq!(server.stop(LONG), Stopped::InTime);
    assert!(Path::exists(&path), "it is not ours to remove");
    let open = Endpoint::tcp("0.0.0.0:0".parse().unwrap(), None);
    assert!(matches!(open, Err(EndpointError::NeedsTls(_))));
}

/// Data in clear that comes with STARTTLS would be taken for encrypted by a careless server; here TLS is not even offered.
#[test]
fn starttls_is_refused_without_certificates() {
    let setup = Setup::memory();
    let mut stream = UnixStream::connect(setup.path()).unwrap();
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    bytes.extend(option(START_TLS, &[]));
    bytes.extend(option(STRUCTURED, &[]));
    bytes.extend(option(GO, &go("disk", &[])));
    stream.write_all(&bytes).unwrap();
    let mut answer = vec![0; client::GREETING + 20];
    stream.read_exact(&mut answer).unwrap();
    let mut answer = Take(&answer[client::GREETING + 12..]);
    assert_eq!(answer.u32(), 0x8000_0002);
}
