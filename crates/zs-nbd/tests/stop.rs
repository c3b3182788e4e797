//! The end of a server: requests that are finished, clients that are cut off, events.

mod client;

use client::probe::{Call, LONG, Probe, SIZE, Setup};
use client::{Client, EXPORT_NAME, FLUSH, GREETING, READ, Take, exports, option, request, write};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use zs_nbd::{Endpoint, Limits, MemoryDevice, Server, Stopped};

#[test]
fn what_has_arrived_is_finished() {
    let probe = Probe::new(|probe, call| {
        if call == Call::Read {
            probe.pass();
        }
    });
    let setup = Setup::new(probe.clone(), Limits::default());
    let mut client = Client::connect(&setup.path());
    client.send(&request(READ, 0, 7, 0, 4096));
    client.send(&request(FLUSH, 0, 8, 0, 0));
    probe.wait_for(Call::Read, 1);
    let path = setup.path();
    let notes = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| setup.stop());
        // From the moment when the file is gone, no client is accepted.
        while path.exists() {
            std::thread::yield_now();
        }
        probe.open();
        assert_eq!(client.reply(), (0, 7));
        client.receive(4096);
        assert_eq!(client.reply(), (0, 8));
        assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
        stopping.join().unwrap()
    });
    let gone = |note: &String| note.contains("Gone { cut: false }");
    assert!(notes.iter().any(gone), "{notes:?}");
}

/// A client that goes on sending is not read for ever. It gets a reply to each request that was
/// read.
#[test]
fn a_tcp_client_that_goes_on_is_cut_off_behind_a_reply() {
    let setup = Setup::memory();
    let mut client = Client::connect_tcp(setup.address);
    let mut sender = client.stream.try_clone().unwrap();
    let (heard, sending) = (AtomicUsize::new(0), request(READ, 0, 5, 0, 512).repeat(100));
    std::thread::scope(|scope| {
        scope.spawn(|| while sender.write_all(&sending).is_ok() {});
        let taking = scope.spawn(|| {
            let mut reply = [0; 16 + 512];
            loop {
                let mut filled = 0;
                while filled < reply.len() {
                    match client.stream.read(&mut reply[filled..]).unwrap() {
                        0 => return filled,
                        len => filled += len,
                    }
                }
                assert_eq!(Take(&reply).simple(), (0, 5));
                heard.fetch_add(1, Ordering::Relaxed);
            }
        });
        while heard.load(Ordering::Relaxed) < 1000 && !taking.is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(setup.server.stop(LONG), Stopped::InTime);
        assert_eq!(taking.join().unwrap(), 0, "a reply was cut");
    });
}

#[test]
fn clients_that_take_no_replies_are_cut_off() {
    let setup = Setup::memory();
    let mut client = Client::connect(&setup.path());
    // Much more than a socket buffers.
    client.write(0, &vec![1; SIZE as usize]);
    client.send(&request(READ, 0, 1, 0, SIZE as u32));
    client.receive(16);
    assert_eq!(setup.server.stop(Duration::ZERO), Stopped::CutOff);
}

/// A device that does not return is reported, and the end does not wait for it.
#[test]
fn a_device_that_hangs_is_not_waited_for() {
    let probe = Probe::new(|probe, _| probe.pass());
    let setup = Setup::new(probe.clone(), Limits::default());
    let mut client = Client::connect(&setup.path());
    client.send(&request(READ, 0, 1, 0, 1));
    probe.wait_for(Call::Read, 1);
    assert_eq!(setup.server.stop(Duration::ZERO), Stopped::Stuck(1));
    probe.open();
    assert!(client.is_over());
}

#[test]
fn a_device_that_panics_ends_its_connection() {
    let probe = Probe::new(|_, call| assert!(call != Call::Write, "a device with a fault"));
    let setup = Setup::new(probe, Limits::default());
    let mut victim = Client::connect(&setup.path());
    victim.send(&write(1, 0, &[1; 4096]));
    assert!(victim.is_over());
    let mut other = Client::connect(&setup.path());
    assert_eq!(other.read(0, 1), [0]);
    drop(other);
    let notes = setup.stop();
    assert!(
        notes.contains(&"Closed(1, Panicked)".to_owned()),
        "{notes:?}"
    );
}

/// An observer that panics ends neither connections nor the accepting thread.
#[test]
fn an_observer_that_panics_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nbd");
    let endpoint = Endpoint::unix(&path).unwrap();
    let disk = Arc::new(MemoryDevice::new(SIZE).unwrap());
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let observer = Arc::new(|_: &_| panic!("an observer with a fault"));
    let server = Server::start(exports(disk), vec![endpoint], limits, observer).unwrap();
    let mut first = Client::connect(&path);
    // One too many: refused in its handshake.
    let mut second = std::os::unix::net::UnixStream::connect(&path).unwrap();
    second.write_all(&3_u32.to_be_bytes()).unwrap();
    second.write_all(&option(EXPORT_NAME, b"")).unwrap();
    second.read_exact(&mut [0; GREETING]).unwrap();
    assert_eq!(second.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(first.read(0, 1), [0]);
    drop(first);
    while server.connections() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(Client::connect(&path).read(0, 1), [0]);
    assert_eq!(server.stop(LONG), Stopped::InTime);
}
