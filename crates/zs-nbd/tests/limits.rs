//! What clients may take: places, time, memory.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;

use client::dialect::{Dialect, Speaker};
use client::probe::{Call, Probe, SIZE, Setup};
use client::{Client, GREETING, INFO, LIST, READ, WRITE, go, option, request, write};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zs_nbd::{Device, Endpoint, Export, Exports, Limits, MemoryDevice, Server};

/// A time that only clients exceed that wait for ever.
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

/// Nothing else bounds how many options a client may send.
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
    // It is cut off with or without an error.
    let _ = taken.join().unwrap();
    while setup.server.connections() > 0 {
        std::thread::yield_now();
    }
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(1, Slow(55ms))"), "{notes}");
}

/// A tenth of a handshake's time for each: asked about one by one, over a slow line, many take
/// longer than a handshake may.
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
    assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(setup.server.connections(), 2);
    assert!(
        setup
            .notes
            .lock()
            .unwrap()
            .join("\n")
            .contains("TooMany(2)")
    );
    drop(second);
    while setup.server.connections() == 2 {
        std::thread::yield_now();
    }
    Client::connect(&setup.path()).write(0, b"free again");
    assert_eq!(first.read(0, 4), b"free");
}

/// TCP clients in the middle of their handshake take no place from those of unix sockets.
#[test]
fn handshakes_over_tcp_are_counted_apart() {
    let setup = setup(Limits {
        connections: 1,
        handshakes: 2,
        ..Limits::default()
    });
    let idle = || {
        let mut stream = TcpStream::connect(setup.address).unwrap();
        let greeted = stream.read_exact(&mut [0; GREETING]);
        greeted.map(|()| stream)
    };
    let _idle = [idle().unwrap(), idle().unwrap()];
    assert!(idle().is_err(), "there are two");
    assert_eq!(Client::connect(&setup.path()).read(0, 1), [0]);
}

/// Of eight places one is not for TCP.
#[test]
fn tcp_leaves_places_for_unix_sockets() {
    let setup = setup(Limits {
        connections: 8,
        ..Limits::default()
    });
    let mut in_time: Vec<_> = (0..7).map(|_| Client::connect_tcp(setup.address)).collect();
    for client in &mut in_time {
        assert_eq!(client.read(0, 1), [0]);
    }
    let mut late = Client::connect_tcp(setup.address);
    assert!(late.is_over());
    assert_eq!(Client::connect(&setup.path()).read(0, 1), [0]);
    drop(in_time);
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(8, TooMany(7))"), "{notes}");
}

/// The rest of a request that does not come, with all memory held for it: somebody else's large request waits, and no longer
/// than the limit.
#[test]
fn a_request_that_has_begun_must_end() {
    let setup = setup(Limits {
        memory: 1 << 20,
        request: SHORT,
        ..Limits::default()
    });
    let mut hog = Client::connect(&setup.path());
    hog.send(&request(WRITE, 0, 1, 0, 1 << 20));
    hog.send(&vec![1; 1 << 19]);
    // On a busy machine this may be cut off as well, and tries again; while the memory is held, no try can succeed.
    let mut bytes = vec![1; 16 + (1 << 20)];
    let taken = |bytes: &mut Vec<u8>| {
        let mut good = Client::connect(&setup.path());
        good.send(&request(READ, 0, 1, 0, 1 << 20));
        good.stream.read_exact(bytes)
    };
    while taken(&mut bytes).is_err() {}
    assert!(bytes[16..].iter().all(|byte| *byte == 0));
    assert!(hog.is_over());
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(1, Slow(50ms))"), "{notes}");
}

/// Before a single byte of a request has come there is no limit; in the middle of its head there is.
#[test]
fn a_head_that_has_begun_must_end() {
    let setup = setup(Limits {
        request: SHORT,
        ..Limits::default()
    });
    let mut patient = Client::connect(&setup.path());
    let mut slow = Client::connect(&setup.path());
    slow.send(&request(READ, 0, 1, 0, 1)[..7]);
    assert!(slow.is_over());
    assert_eq!(patient.read(0, 1), [0]);
}

#[test]
fn replies_must_be_taken() {
    let setup = setup(Limits {
        request: SHORT,
        ..Limits::default()
    });
    let mut deaf = Client::connect(&setup.path());
    // Much more than a socket buffers.
    deaf.send(&request(READ, 0, 1, 0, SIZE as u32));
    while setup.server.connections() > 0 {
        std::thread::yield_now();
    }
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Closed(1, Slow(50ms))"), "{notes}");
}

/// Large requests of many connections with memory for one: all of them end, and one at a time is in the device.
#[test]
fn memory_is_bounded_for_all_connections_together() {
    const LARGE: u32 = 3 << 20;
    let probe = Probe::new(|_, _| {
        for _ in 0..100 {
            std::thread::yield_now();
        }
    });
    let limits = Limits {
        memory: 4 << 20,
        ..Limits::default()
    };
    let setup = Setup::new(probe.clone(), limits);
    std::thread::scope(|scope| {
        for number in 0..6_u8 {
            let path = setup.path();
            scope.spawn(move || {
                let mut client = Client::connect(&path);
                for _ in 0..3 {
                    client.write(0, &vec![number; LARGE as usize]);
                    // A write within the batch of a read, each of which needs memory.
                    let mut both = request(READ, 0, 7, 0, LARGE);
                    both.extend(write(8, 0, &vec![number; LARGE as usize]));
                    let sent = client.stream.try_clone().unwrap();
                    let sending = std::thread::spawn(move || (&sent).write_all(&both));
                    assert_eq!(client.reply(), (0, 7));
                    client.receive(LARGE as usize);
                    assert_eq!(client.reply(), (0, 8));
                    sending.join().unwrap().unwrap();
                }
            });
        }
    });
    assert_eq!(probe.most(), 1);
    let calls = probe.calls();
    let writes = calls.iter().filter(|call| **call == Call::Write).count();
    assert_eq!((writes, calls.len()), (36, 54));
}
