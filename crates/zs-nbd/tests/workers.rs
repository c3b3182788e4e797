//! Several threads for one connection: requests that run at once, and requests that need not wait.

mod client;

use client::probe::{Call, LONG, Probe, Setup};
use client::{CACHE, Client, FLUSH, READ, TRIM, WRITE, ZEROES, request, write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zs_nbd::Limits;

const FUA: u16 = 1;

fn threads(count: usize) -> Limits {
    Limits {
        threads: count,
        ..Limits::default()
    }
}

/// Returns a client of a device that was slow for long enough to count as slow. From then on its
/// calls wait until `wanted` of them are inside.
fn slow(limits: Limits, wanted: usize) -> (Setup, Arc<Probe>, Client<UnixStream>) {
    let learned = Arc::new(AtomicBool::new(false));
    let probe = {
        let learned = Arc::clone(&learned);
        Probe::new(move |probe, _| {
            let begun = Instant::now();
            if learned.load(Ordering::Acquire) {
                return probe.meet(wanted);
            }
            while begun.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
        })
    };
    let setup = Setup::new(probe.clone(), limits);
    let mut client = Client::connect(&setup.path());
    for _ in 0..16 {
        client.read(0, 512);
    }
    learned.store(true, Ordering::Release);
    (setup, probe, client)
}

/// Batches of 64 KiB, each on a thread of its own, that only end together.
#[test]
fn large_requests_are_worked_on_at_once() {
    let (_setup, _probe, mut client) = slow(threads(4), 4);
    let reads = (0..4).flat_map(|n| request(READ, 0, n, n << 16, 1 << 16));
    client.send(&reads.collect::<Vec<u8>>());
    let mut cookies: Vec<u64> = (0..4)
        .map(|_| {
            let (error, cookie) = client.reply();
            assert_eq!(error, 0);
            client.receive(1 << 16);
            cookie
        })
        .collect();
    cookies.sort_unstable();
    assert_eq!(cookies, [0, 1, 2, 3]);
}

/// Fifteen small requests do not fill a batch, but are shared between threads.
#[test]
fn small_requests_are_worked_on_at_once() {
    let (_setup, _probe, mut client) = slow(threads(4), 4);
    let writes = (0..15).flat_map(|n| write(n, n * 4096, &[1; 4096]));
    client.send(&writes.collect::<Vec<u8>>());
    for _ in 0..15 {
        assert_eq!(client.reply().0, 0);
    }
}

/// Two of four reads of 64 KiB are within the limit, though there are threads for all.
#[test]
fn what_is_in_flight_is_bounded() {
    let limits = Limits {
        in_flight: 100 << 10,
        ..threads(4)
    };
    let (_setup, probe, mut client) = slow(limits, 2);
    let reads = (0..8).flat_map(|n| request(READ, 0, n, n << 16, 1 << 16));
    client.send(&reads.collect::<Vec<u8>>());
    for _ in 0..8 {
        assert_eq!(client.reply().0, 0);
        client.receive(1 << 16);
    }
    assert_eq!(probe.most(), 2);
}

/// While a long command is held up in the device, a read behind it is answered, and so is one
/// before it.
#[test]
fn what_takes_long_holds_nothing_up() {
    let long = [
        (Call::Flush, request(FLUSH, 0, 1, 0, 0)),
        (Call::Flush, {
            let mut bytes = request(WRITE, FUA, 1, 0, 1);
            bytes.push(7);
            bytes
        }),
        (Call::Flush, request(TRIM, FUA, 1, 0, 512)),
        (Call::Trim, request(TRIM, 0, 1, 0, 1 << 20)),
        (Call::Zeroes, request(ZEROES, 0, 1, 0, 1 << 20)),
        (Call::Cache, request(CACHE, 0, 1, 0, 1 << 20)),
    ];
    for (held, bytes) in long {
        let probe = Probe::new(move |probe, call| {
            if call == held {
                probe.pass();
            }
        });
        let setup = Setup::new(probe.clone(), threads(2));
        let mut client = Client::connect(&setup.path());
        client.stream.set_read_timeout(Some(LONG)).unwrap();
        client.send(&[request(READ, 0, 8, 0, 1), bytes].concat());
        assert_eq!(
            client.reply(),
            (0, 8),
            "{held:?} holds up what was before it"
        );
        client.receive(1);
        probe.wait_for(held, 1);
        client.send(&request(READ, 0, 9, 0, 1));
        assert_eq!(
            client.reply(),
            (0, 9),
            "{held:?} holds up what is behind it"
        );
        client.receive(1);
        probe.open();
        assert_eq!(client.reply(), (0, 1));
    }
}

/// With FUA, each command that writes is followed by a flush; without, none is.
#[test]
fn fua_is_a_flush_behind_the_write() {
    let probe = Probe::new(|_, _| ());
    let setup = Setup::new(probe.clone(), Limits::default());
    let mut client = Client::connect(&setup.path());
    for (command, call) in [
        (WRITE, Call::Write),
        (TRIM, Call::Trim),
        (ZEROES, Call::Zeroes),
    ] {
        for (flags, expected) in [(0, vec![call]), (FUA, vec![call, Call::Flush])] {
            let mut bytes = request(command, flags, 1, 0, 512);
            if command == WRITE {
                bytes.extend([1; 512]);
            }
            client.send(&bytes);
            assert_eq!(client.reply(), (0, 1));
            assert_eq!(probe.calls(), expected);
        }
    }
    client.send(&request(CACHE, FUA, 1, 0, 512));
    assert_eq!(client.reply(), (0, 1));
}

/// A client goes while its first request is in progress. The requests behind it are not executed,
/// and the close reason says why.
#[test]
fn nothing_is_done_for_a_client_that_is_gone() {
    let probe = Probe::new(|probe, call| {
        if call == Call::Read {
            probe.pass();
        }
    });
    let setup = Setup::new(probe.clone(), Limits::default());
    let mut client = Client::connect(&setup.path());
    let mut bytes = request(READ, 0, 1, 0, 1 << 16);
    for cookie in 0..9 {
        bytes.extend(write(cookie, 0, &[1; 512]));
    }
    client.send(&bytes);
    probe.wait_for(Call::Read, 1);
    drop(client);
    probe.open();
    let notes = setup.stop();
    assert_eq!(probe.calls(), [Call::Read]);
    let told = |note: &String| note.contains("Socket") && note.contains("BrokenPipe");
    assert!(notes.iter().any(told), "{notes:?}");
}
