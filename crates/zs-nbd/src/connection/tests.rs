//! A connection without a server, with a device that is held up in a flush.

use super::*;
use crate::device::{Content, Context, Device, Errno, Extents, Space};
use crate::export::{Export, Exports};
use crate::peer::{Origin, Peer};
use crate::proto::{Handshake, Security, Step};
use crate::refusals::Refusals;
use crate::stop_signal::StopSignal;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex};

const LONG: Duration = Duration::from_secs(60);
const READ: u8 = 0;
const FLUSH: u8 = 3;

/// Zeroes, of which a flush takes until it is let go on.
#[derive(Debug, Default)]
struct SlowFlush {
    open: Mutex<bool>,
    changed: Condvar,
}

impl SlowFlush {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Device for SlowFlush {
    fn size(&self) -> u64 {
        1 << 20
    }
    fn read(&self, _: u64, _: &mut [u8]) -> Result<Content, Errno> {
        Ok(Content::Zeroes)
    }
    changes_nothing!();
    fn flush(&self) -> Result<(), Errno> {
        let open = self.open.lock().unwrap();
        let waited = self.changed.wait_timeout_while(open, LONG, |open| !*open);
        assert!(!waited.unwrap().1.timed_out(), "nobody lets it go on");
        Ok(())
    }
    fn block_status(&self, _: u64, _: &mut Extents, _: Context) -> Result<(), Errno> {
        Err(Errno::NotSup)
    }
}

/// Makes a session with simple replies.
fn session(device: Arc<dyn Device>) -> Session {
    let exports = Exports::new(vec![Export::new("", "", device).unwrap()]).unwrap();
    let untold = Arc::new(Refusals::untold());
    let mut out = Vec::new();
    let mut handshake = Handshake::new(&exports, Security::Clear, Arc::clone(&untold), &mut out);
    let opening = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0";
    let (_, step) = handshake.advance(opening, &mut out).unwrap();
    let Step::Begin(wish) = step else {
        unreachable!("{step:?}");
    };
    Session::new(wish.agreement, untold)
}

fn request(command: u8, cookie: u8, len: u8) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&0x2560_9513_u32.to_be_bytes());
    (bytes[7], bytes[15], bytes[27]) = (command, cookie, len);
    bytes
}

/// Reads the answer to a request, which has `len` zeroes.
fn answered(client: &mut UnixStream, cookie: u8, len: usize) {
    let mut reply = vec![1; 16 + len];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
    assert_eq!((reply[4..8].iter().max(), reply[15]), (Some(&0), cookie));
    assert!(reply[16..].iter().all(|byte| *byte == 0));
}

fn wait_until(is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < LONG, "it never happened");
        std::thread::yield_now();
    }
}

/// Serves a client by two threads: one waits in a flush of the device, the other one reads with
/// borrowed buffers. Then runs `talk` with the client's end, the device and the lender.
fn while_a_flush_is_held_up(talk: impl FnOnce(&mut UnixStream, &SlowFlush, &Lender)) {
    let (socket, mut client) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let device = Arc::new(SlowFlush::default());
    let lender = Arc::new(Lender::new(4));
    let bounds = Bounds {
        handshake: LONG,
        request: LONG,
        idle: None,
        in_flight: 1 << 20,
        threads: 2,
        lender: Arc::clone(&lender),
    };
    let origin = Origin::Unix {
        user: 1,
        process: None,
    };
    let served = Client::new(1, origin, Socket::Unix(socket.try_clone().unwrap()));
    let channel = Channel::new(Socket::Unix(socket), Arc::new(StopSignal::new().unwrap()));
    let account = lender.account(Peer::User(1), 1);
    let session = session(Arc::clone(&device) as Arc<dyn Device>);
    let batch = Batch::new(session.mode(), account.clone()).unwrap();
    let connection = Connection::new(&channel, session, Vec::new(), (&bounds, &served, account));
    std::thread::scope(|scope| {
        scope.spawn(|| std::thread::scope(|scope| connection.work(scope, batch, None)));
        client.write_all(&request(FLUSH, 1, 0)).unwrap();
        wait_until(|| lender.lent() == 1);
        talk(&mut client, &device, &lender);
        drop(client);
    });
    assert!(matches!(connection.end(), CloseReason::Gone { cut: false }));
}

/// A client that stalls inside a request counts too. The other thread then reads the request to its
/// end.
#[test]
fn a_loan_goes_back_while_the_client_is_idle() {
    for cut in [0, 10] {
        while_a_flush_is_held_up(|client, device, lender| {
            let read = request(READ, 2, 9);
            client.write_all(&read[..cut]).unwrap();
            device.open();
            answered(client, 1, 0);
            wait_until(|| lender.lent() == 0);
            client.write_all(&read[cut..]).unwrap();
            answered(client, 2, 9);
        });
    }
}

/// A thread with borrowed buffers goes on waiting for the client while no other thread can.
#[test]
fn an_idle_client_is_waited_for_while_a_flush_takes_long() {
    while_a_flush_is_held_up(|client, device, lender| {
        client.set_read_timeout(Some(2 * LINGER)).unwrap();
        let early = client.read(&mut [0]).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::WouldBlock, "nothing is asked for");
        client.set_read_timeout(Some(LONG)).unwrap();
        client.write_all(&request(READ, 2, 9)).unwrap();
        answered(client, 2, 9);
        assert_eq!(lender.lent(), 1);
        device.open();
        answered(client, 1, 0);
    });
}
