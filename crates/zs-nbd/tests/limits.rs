//! The limits on clients: places, time, memory.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;

use client::dialect::{Dialect, Speaker};
use client::probe::{Call, Probe, SIZE, Setup};
use client::{
    Client, EXPORT_NAME, FLUSH, GO, GREETING, INFO, LIST, READ, WRITE, go, option, request,
};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zs_nbd::{
    Content, Context, Device, Endpoint, Errno, Export, Exports, Extents, Limits, MemoryDevice,
    Server, Space,
};

/// A time that only clients exceed which wait for ever.
const SHORT: Duration = Duration::from_millis(50);

fn setup(limits: Limits) -> Setup {
    Setup::new(Arc::new(MemoryDevice::new(SIZE).unwrap()), limits)
}

#[test]
fn who_says_nothing_is_asked_to_leave() {
    let setup = setup(Limits {
        handshake: SHORT,
        ..Limits::default()
    });
    let mut idle = UnixStream::connect(setup.path()).unwrap();
    let mut greeting = Vec::new();
    idle.read_to_end(&mut greeting).unwrap();
    assert_eq!(greeting.len(), GREETING);
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(1, Slow(50ms))"), "{notes}");
}

/// Nothing but the time limits the number of options.
#[test]
fn who_asks_without_end_is_asked_to_leave() {
    let setup = setup(Limits {
        handshake: SHORT,
        ..Limits::default()
    });
    let mut asking = UnixStream::connect(setup.path()).unwrap();
    let mut taking = asking.try_clone().unwrap();
    let taken = std::thread::spawn(move || std::io::copy(&mut taking, &mut std::io::sink()));
    asking.write_all(&3_u32.to_be_bytes()).unwrap();
    let many = option(LIST, &[]).repeat(100);
    while asking.write_all(&many).is_ok() {}
    // The connection is cut off, with or without an error.
    let _ = taken.join().unwrap();
    while !setup.server.clients().list().is_empty() {
        std::thread::yield_now();
    }
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(1, Slow(55ms))"), "{notes}");
}

/// A client gets a tenth of the handshake time more for each export. Asking about many exports one
/// by one over a slow line takes longer than a handshake may.
#[test]
fn a_listing_has_time_for_each_export() {
    const EXPORTS: usize = 4000;
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(SIZE).unwrap());
    let named = |number| Export::new(format!("{number}"), "", Arc::clone(&device)).unwrap();
    let exports = Exports::new((0..EXPORTS).map(named).collect()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    let limits = Limits {
        handshake: SHORT,
        ..Limits::default()
    };
    let endpoint = Endpoint::unix(&path).unwrap();
    let server = Server::start(exports, vec![endpoint], limits, Arc::new(|_| ())).unwrap();
    let mut speaker = Speaker::greeted(&path, Dialect::Structured);
    let begun = Instant::now();
    assert_eq!(speaker.option(LIST, b""), Ok(()));
    for number in (0..EXPORTS).cycle() {
        let asked = go(&number.to_string(), &[1, 2, 3]);
        assert_eq!(speaker.option(INFO, &asked), Ok(()), "{number}");
        if number + 1 == EXPORTS && begun.elapsed() > SHORT * 2 {
            break;
        }
    }
    speaker.quit();
    drop(server);
}

#[test]
fn places_are_counted() {
    let setup = setup(Limits {
        connections: 2,
        ..Limits::default()
    });
    let mut first = Client::connect(&setup.path());
    let second = Client::connect(&setup.path());
    let mut third = UnixStream::connect(setup.path()).unwrap();
    third.write_all(&3_u32.to_be_bytes()).unwrap();
    third.write_all(&option(EXPORT_NAME, b"")).unwrap();
    let mut answer = Vec::new();
    let _ = third.read_to_end(&mut answer);
    assert_eq!(answer.len(), GREETING, "it is not told that it may begin");
    assert_eq!(setup.server.connections(), 2);
    drop(second);
    while setup.server.connections() == 2 {
        std::thread::yield_now();
    }
    Client::connect(&setup.path()).write(0, b"free again");
    assert_eq!(first.read(0, 4), b"free");
    drop(first);
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(3, TooMany(2))"), "{notes}");
}

/// Over TCP, a request whose rest does not come, in its head or its payload, ends its own
/// connection only.
#[test]
fn a_request_that_has_begun_over_tcp_must_end() {
    let setup = setup(Limits {
        request: SHORT,
        ..Limits::default()
    });
    let mut patient = Client::connect_tcp(setup.address);
    for begun in [
        &request(READ, 0, 1, 0, 1)[..7],
        &request(WRITE, 0, 1, 0, 9),
        // Between the end of one piece and the start of the next.
        &[&request(WRITE, 0, 1, 0, 1 << 20)[..], &[7; 128 << 10]].concat(),
    ] {
        let mut slow = Client::connect_tcp(setup.address);
        slow.send(begun);
        assert!(slow.is_over());
    }
    assert_eq!(patient.read(0, 1), [7]);
    drop(patient);
    let notes = setup.stop().join("\n");
    assert_eq!(notes.matches("Slow(50ms)").count(), 3, "{notes}");
}

#[test]
fn replies_must_be_taken_over_tcp() {
    let setup = setup(Limits {
        request: SHORT,
        ..Limits::default()
    });
    let mut deaf = Client::connect_tcp(setup.address);
    // Much more than the sockets buffer.
    deaf.send(&request(READ, 0, 1, 0, SIZE as u32).repeat(20));
    while setup.server.connections() > 0 {
        std::thread::yield_now();
    }
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(1, Slow(50ms))"), "{notes}");
}

/// Holds for both kinds of sockets, also in the middle of a request and of a reply.
#[test]
fn who_is_idle_for_long_is_asked_to_leave() {
    let setup = setup(Limits {
        idle: Some(SHORT),
        ..Limits::default()
    });
    let mut silent = Client::connect(&setup.path());
    assert!(silent.is_over());
    assert!(Client::connect_tcp(setup.address).is_over());
    let mut cut = Client::connect(&setup.path());
    cut.send(&request(WRITE, 0, 1, 0, 9));
    assert!(cut.is_over());
    let mut deaf = Client::connect(&setup.path());
    deaf.send(&request(READ, 0, 1, 0, SIZE as u32).repeat(20));
    while setup.server.connections() > 0 {
        std::thread::yield_now();
    }
    let notes = setup.stop().join("\n");
    assert_eq!(notes.matches("Idle(50ms)").count(), 3, "{notes}");
    assert_eq!(notes.matches("Slow(50ms)").count(), 1, "{notes}");
}

/// A device that takes longer than the idle limit: its client waits for the server, so it is not
/// idle.
#[test]
fn who_waits_for_an_answer_is_not_idle() {
    let probe = Probe::new(|probe, call| {
        if call == Call::Flush {
            probe.pass();
        }
    });
    let limits = Limits {
        idle: Some(SHORT),
        threads: 2,
        ..Limits::default()
    };
    let setup = Setup::new(probe.clone(), limits);
    let mut waiting = Client::connect(&setup.path());
    waiting.send(&request(FLUSH, 0, 7, 0, 0));
    probe.wait_for(Call::Flush, 1);
    // Each of these is ended after that time at the earliest, one after the other.
    for _ in 0..3 {
        assert!(Client::connect(&setup.path()).is_over());
    }
    probe.open();
    assert_eq!(waiting.reply(), (0, 7));
}

/// A device of memory that refuses clients from some moment on.
#[derive(Debug)]
struct Closing {
    disk: MemoryDevice,
    closed: AtomicBool,
}

impl Device for Closing {
    fn size(&self) -> u64 {
        SIZE
    }
    fn attached(&self, session: &mut dyn FnMut()) -> Result<(), Errno> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Errno::Shutdown);
        }
        session();
        Ok(())
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        self.disk.read(offset, buf)
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.disk.write(offset, bytes)
    }
    fn write_zeroes(&self, offset: u64, len: u64, space: Space) -> Result<(), Errno> {
        self.disk.write_zeroes(offset, len, space)
    }
    fn trim(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.disk.trim(offset, len)
    }
    fn flush(&self) -> Result<(), Errno> {
        self.disk.flush()
    }
    fn block_status(&self, at: u64, to: &mut Extents, context: Context) -> Result<(), Errno> {
        self.disk.block_status(at, to, context)
    }
}

/// No client is displaced for a client that is not served in the end.
#[test]
fn a_client_that_the_device_refuses_displaces_nobody() {
    let disk = MemoryDevice::new(SIZE).unwrap();
    let device = Arc::new(Closing {
        disk,
        closed: AtomicBool::new(false),
    });
    let limits = Limits {
        connections: 4,
        spare: Duration::ZERO,
        ..Limits::default()
    };
    let setup = Setup::new(Arc::clone(&device) as Arc<dyn Device>, limits);
    let mut idle: Vec<_> = (0..4).map(|_| Client::connect_tcp(setup.address)).collect();
    for client in &mut idle {
        client.read(0, 1);
    }
    device.closed.store(true, Ordering::SeqCst);
    let mut refused = Speaker::greeted(&setup.path(), Dialect::Simple);
    let policy = 2;
    assert_eq!(refused.option(GO, &go("disk", &[])), Err(policy));
    for client in &mut idle {
        assert_eq!(client.read(0, 1), [0]);
    }
    // The client has no place, and may ask again.
    device.closed.store(false, Ordering::SeqCst);
    assert_eq!(refused.option(GO, &go("disk", &[])), Ok(()));
    drop((idle, refused));
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Denied(5, KeptOut(Shutdown))"), "{notes}");
    assert_eq!(notes.matches("Displaced").count(), 1, "{notes}");
}
