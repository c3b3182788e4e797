//! A good client beside hostile ones, which are more than the places, shares and memory. The good
//! client is served, and waits for none of them.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;

use client::probe::{Call, LONG, Probe, SIZE, Setup};
use client::{
    ABORT, ACK, Client, ERR, FLUSH, GO, GREETING, READ, STRUCTURED, TRIM, Take, WRITE, ZEROES, go,
    option, request, write,
};
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use zs_nbd::{Limits, MemoryDevice, Origin};

const LARGE: usize = 4 << 20;

fn memory(limits: Limits) -> Setup {
    Setup::new(Arc::new(MemoryDevice::new(SIZE).unwrap()), limits)
}

/// Limits without memory to lend, so that a connection that waited for a loan would wait for ever.
fn scarce() -> Limits {
    Limits {
        memory: 0,
        ..Limits::default()
    }
}

/// Acts as a good client: sends requests of all lengths, and takes each answer.
fn works(path: &std::path::Path) {
    let mut good = Client::connect(path);
    good.stream.set_read_timeout(Some(LONG)).unwrap();
    let bytes: Vec<u8> = (0..LARGE).map(|n| (n / 7) as u8).collect();
    let sent = good.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (&sent).write_all(&write(1, 4096, &bytes)).unwrap());
        assert_eq!(good.reply(), (0, 1));
    });
    assert!(good.read(4096, LARGE as u32) == bytes);
    assert_eq!(good.read(4096, 512), bytes[..512]);
    good.send(&request(FLUSH, 0, 3, 0, 0));
    assert_eq!(good.reply(), (0, 3));
}

fn silent_tcp(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.read_exact(&mut [0; GREETING]).unwrap();
    stream
}

/// Each client stalls inside a write of several MiB (`budget.py write`).
#[test]
fn clients_that_stall_inside_a_large_write_hold_up_nobody() {
    let setup = memory(scarce());
    let hogs: Vec<_> = (0..20)
        .map(|_| {
            let mut hog = Client::connect(&setup.path());
            hog.send(&request(WRITE, 0, 1, 0, LARGE as u32));
            hog.send(&vec![1; 140 << 10]);
            hog
        })
        .collect();
    works(&setup.path());
    drop(hogs);
    let notes = setup.stop().join("\n");
    assert_eq!(notes.matches("Gone { cut: true }").count(), 20, "{notes}");
}

/// Each client reads much more than a socket buffers, and takes no reply (`budget.py read`).
#[test]
fn clients_that_take_no_replies_hold_up_nobody() {
    let setup = memory(scarce());
    Client::connect(&setup.path()).write(0, &[7; 4096]);
    let hogs: Vec<_> = (0..20)
        .map(|_| {
            let mut hog = Client::connect(&setup.path());
            hog.send(&request(READ, 0, 1, 0, SIZE as u32).repeat(4));
            hog.receive(16);
            hog
        })
        .collect();
    works(&setup.path());
    drop(hogs);
}

/// A client of a unix socket that receives its replies late gets all of them, however short the
/// time for TCP clients is. So does one that sends the rest of a request late (`paused.py`).
#[test]
fn a_client_that_was_stopped_gets_its_answers() {
    let setup = memory(Limits {
        request: Duration::from_millis(1),
        ..Limits::default()
    });
    let mut paused = Client::connect(&setup.path());
    paused.write(0, &vec![5; SIZE as usize]);
    paused.send(&request(READ, 0, 9, 0, SIZE as u32).repeat(3));
    let mut cut = Client::connect(&setup.path());
    let whole = write(4, 0, &[6; 1 << 20]);
    let (now, later) = whole.split_at(200 << 10);
    cut.send(now);
    // A TCP client is cut off meanwhile, after that time.
    let mut slow = Client::connect_tcp(setup.address);
    slow.send(&request(WRITE, 0, 1, 0, 9));
    assert!(slow.is_over());
    for _ in 0..3 {
        assert_eq!(paused.reply(), (0, 9));
        let bytes = paused.receive(SIZE as usize);
        assert!(bytes.iter().all(|byte| [5, 6].contains(byte)));
    }
    cut.send(later);
    assert_eq!(cut.reply(), (0, 4));
}

/// Silent connections, more than the places for handshakes, that connect again and again (`misc.py
/// handshake`).
#[test]
fn silent_connections_keep_nobody_out() {
    let setup = memory(Limits {
        handshakes: 4,
        ..Limits::default()
    });
    for round in 0..3 {
        let mut silent: Vec<_> = (0..10).map(|_| silent_tcp(setup.address)).collect();
        let mut good = Client::connect_tcp(setup.address);
        assert_eq!(good.read(0, 1), [0], "round {round}");
        // The oldest ones were displaced.
        assert_eq!(silent[0].read(&mut [0; 1]).unwrap_or(0), 0);
        let mut unix: Vec<_> = (0..10)
            .map(|_| UnixStream::connect(setup.path()).unwrap())
            .collect();
        works(&setup.path());
        for stream in &mut unix[..6] {
            let mut greeting = Vec::new();
            let _ = stream.read_to_end(&mut greeting);
        }
    }
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Displaced"), "{notes}");
}

/// Reads an answer to an option from a stream.
fn answer(stream: &mut impl Read) -> (u32, Vec<u8>) {
    let mut head = [0; 20];
    stream.read_exact(&mut head).unwrap();
    let mut head = Take(&head[12..]);
    let kind = head.u32();
    let mut data = vec![0; head.u32() as usize];
    stream.read_exact(&mut data).unwrap();
    (kind, data)
}

/// Asks for an export by `NBD_OPT_GO`, and returns the last answer.
fn asks(stream: &mut (impl Read + std::io::Write)) -> (u32, String) {
    stream.write_all(&option(GO, &go("disk", &[]))).unwrap();
    loop {
        let (kind, data) = answer(stream);
        if kind == ACK || kind >= ERR {
            return (kind, String::from_utf8(data).unwrap());
        }
    }
}

/// Each client that is told that it may begin is served. The others are told why not, and may ask
/// again (`full64.py`).
#[test]
fn nobody_is_told_yes_and_not_served() {
    let setup = memory(Limits {
        connections: 8,
        ..Limits::default()
    });
    let mut told_yes = Vec::new();
    let mut told_no = Vec::new();
    for _ in 0..12 {
        let mut stream = silent_tcp(setup.address);
        stream.write_all(&3_u32.to_be_bytes()).unwrap();
        match asks(&mut stream) {
            (ACK, _) => told_yes.push(Client { stream }),
            (kind, text) => {
                assert_eq!(kind, 0x8000_0002, "{text}");
                assert_eq!(text, "all 7 places are taken: try again later");
                told_no.push(stream);
            }
        }
    }
    assert_eq!((told_yes.len(), told_no.len()), (7, 5));
    for client in &mut told_yes {
        assert_eq!(client.read(0, 1), [0]);
    }
    // An eighth is reserved for unix sockets.
    works(&setup.path());
    drop(told_yes.pop());
    while setup.server.connections() > 6 {
        std::thread::yield_now();
    }
    let mut again = told_no.pop().unwrap();
    assert_eq!(asks(&mut again).0, ACK);
    assert_eq!(Client { stream: again }.read(0, 1), [0]);
    let mut other = told_no.pop().unwrap();
    other.write_all(&option(ABORT, &[])).unwrap();
    assert_eq!(answer(&mut other).0, ACK);
    drop((told_yes, told_no, other));
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Denied(8, TooMany(7))"), "{notes}");
}

/// Idle clients keep all places until another client needs one (`idle.py`).
#[test]
fn idle_clients_make_room_when_places_are_needed() {
    let setup = memory(Limits {
        connections: 4,
        spare: Duration::ZERO,
        ..Limits::default()
    });
    let mut idle: Vec<_> = (0..4).map(|_| Client::connect_tcp(setup.address)).collect();
    for client in &mut idle {
        client.read(0, 1);
    }
    let mut newcomer = Client::connect_tcp(setup.address);
    assert_eq!(newcomer.read(0, 1), [0]);
    // One of them has gone. It may be either: the server notes the time of a reply a little after
    // the client has received it.
    while setup.server.clients().list().len() > 4 {
        std::thread::yield_now();
    }
    let left = setup.server.clients().list();
    for (number, client) in (1..).zip(&mut idle) {
        match left.iter().any(|one| one.number == number) {
            true => assert_eq!(client.read(0, 1), [0]),
            false => assert!(client.is_over()),
        }
    }
    drop((idle, newcomer));
    let notes = setup.stop().join("\n");
    assert_eq!(notes.matches("Displaced").count(), 1, "{notes}");
}

#[test]
fn clients_are_listed_and_disconnected() {
    let setup = memory(Limits::default());
    let mut unix = Client::connect(&setup.path());
    unix.write(0, &[1; 5000]);
    unix.read(0, 1000);
    let _tcp = Client::connect_tcp(setup.address);
    let _silent = silent_tcp(setup.address);
    let clients = setup.server.clients();
    let list = clients.list();
    let exports: Vec<_> = list.iter().map(|one| one.export.as_deref()).collect();
    assert_eq!(exports, [Some("disk"), Some("disk"), None]);
    let Origin::Unix { user, process } = list[0].origin else {
        unreachable!("{list:?}")
    };
    assert_eq!(user, own_user());
    assert_eq!(process, Some(std::process::id()));
    assert_eq!((list[0].requests, list[0].bytes), (2, 6000));
    assert!(list[0].idle <= list[0].connected);
    assert!(matches!(list[1].origin, Origin::Tcp(from) if from.ip().is_loopback()));
    assert_eq!(clients.disconnect(|one| one.number == 99), (0, 0));
    assert_eq!(clients.disconnect(|one| one.number == 1), (1, 0));
    assert!(unix.is_over());
    assert_eq!(clients.disconnect(|_| true), (2, 0));
    assert!(clients.list().is_empty());
    works(&setup.path());
    let notes = setup.stop().join("\n");
    assert_eq!(notes.matches("Disconnected").count(), 3, "{notes}");
}

/// Returns the user of this process, from a file that it made.
fn own_user() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

/// A client that hangs in the device is waited for no longer than 5 seconds.
#[test]
fn a_client_in_the_device_is_told_of_as_still_there() {
    let probe = Probe::new(|probe, call| {
        if call == Call::Flush {
            probe.pass();
        }
    });
    let setup = Setup::new(probe.clone(), Limits::default());
    let mut client = Client::connect(&setup.path());
    client.send(&request(FLUSH, 0, 1, 0, 0));
    probe.wait_for(Call::Flush, 1);
    let clients = setup.server.clients();
    std::thread::scope(|scope| {
        let disconnecting = scope.spawn(|| clients.disconnect(|_| true));
        assert!(client.is_over(), "its socket is closed at once");
        probe.open();
        assert_eq!(disconnecting.join().unwrap(), (1, 0));
    });
}

/// Each kind of invalid input, one after the other, beside a good client that stays.
#[test]
fn rubbish_ends_its_own_connection() {
    let setup = memory(Limits::default());
    let mut good = Client::connect(&setup.path());
    good.write(0, b"good");
    for round in 0..20_u8 {
        let mut bad = Client::connect(&setup.path());
        bad.send(&[round; 28]);
        assert!(bad.is_over());
        let mut bad = silent_tcp(setup.address);
        bad.write_all(&[0xff; 4]).unwrap();
        let _ = bad.read_to_end(&mut Vec::new());
        assert_eq!(good.read(0, 4), b"good");
    }
}

/// Large requests are executed in pieces and answered once: at their end, or with the first error.
#[test]
fn large_requests_are_answered_once() {
    let probe = Probe::new(|_, _| ());
    let limits = Limits {
        threads: 4,
        ..Limits::default()
    };
    let setup = Setup::new(probe.clone(), limits);
    let mut client = Client {
        stream: UnixStream::connect(setup.path()).unwrap(),
    };
    client.receive(GREETING);
    client.send(&3_u32.to_be_bytes());
    client.send(&option(STRUCTURED, &[]));
    assert_eq!(answer(&mut client.stream).0, ACK);
    assert_eq!(asks(&mut client.stream).0, ACK);
    for (offset, error) in [(1000, 0), (SIZE - 1000, 28)] {
        client.send(&write(1, offset, &vec![3; 1 << 20]));
        let mut head = Take(&client.receive(4)).u32();
        if error == 0 {
            assert_eq!(head, 0x6744_6698);
            assert_eq!(client.receive(12)[..4], [0; 4]);
        } else {
            assert_eq!(head, 0x668e_33ef);
            let rest = client.receive(16);
            let len = Take(&rest[12..]).u32();
            head = Take(&client.receive(len as usize)).u32();
            assert_eq!(head, error);
        }
    }
    // With FUA there is one flush, after all pieces.
    probe.calls();
    let mut bytes = request(WRITE, 1, 2, 0, 1 << 20);
    bytes.extend(vec![4; 1 << 20]);
    client.send(&bytes);
    client.receive(16);
    let calls = probe.calls();
    assert_eq!(calls.len(), 9, "{calls:?}");
    assert_eq!(calls[8], Call::Flush);
    // Chunks of all the data, in any order, then the end.
    client.send(&request(READ, 0, 3, 0, 1 << 20));
    let (mut got, mut ended) = (0, false);
    while !ended {
        let head = client.receive(20);
        let mut head = Take(&head[4..]);
        let (flags, kind) = (head.u16(), head.u16());
        assert_eq!(head.u64(), 3);
        let data = client.receive(head.u32() as usize);
        ended = flags == 1;
        assert_eq!(kind, u16::from(!ended));
        got += data.len().saturating_sub(8);
        assert!(data.iter().skip(8).all(|byte| *byte == 4));
    }
    assert_eq!(got, 1 << 20);
    for command in [TRIM, ZEROES] {
        client.send(&request(command, 0, 4, 0, SIZE as u32));
        assert_eq!(client.reply(), (0, 4));
    }
}
