//! The server with real sockets: several connections at once, also hostile ones.

mod client;

use client::probe::Setup;
use client::{Client, GO, START_TLS, STRUCTURED, Take, WRITE, go, option, request, write};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

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

/// A careless server would take clear bytes behind STARTTLS for encrypted ones. Here TLS is not
/// even offered.
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
