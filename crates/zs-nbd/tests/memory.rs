//! A server that gets no memory for buffers tells its clients so, and goes on.

#[macro_use]
mod client;

use client::dialect::{Dialect, Speaker};
use client::probe::{Call, LONG, Probe, SIZE, Setup};
use client::talk::Talk;
use client::{
    ACK, Client, EXTENDED, FLUSH, GO, GREETING, READ, SET_CONTEXT, START_TLS, STATUS, Take,
    exports, extended, go, notes, option, queries, request,
};
use rcgen::{CertificateParams, KeyPair};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zs_nbd::{
    Content, Context, Device, Endpoint, Errno, Extents, Limits, MemoryDevice, Server, Space,
    Stopped, Tls,
};

/// The system's allocator, which fails large allocations while [`scarce`] is held.
struct Scarce;

/// Allocations of this many bytes or more fail.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// A lock, because a second test at the same time would fail for want of memory too.
static TURN: Mutex<()> = Mutex::new(());

// SAFETY: memory comes from `System` and goes back to it unchanged. Null is the result of an
// allocator without memory.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= MOST.load(Ordering::SeqCst) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above; `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static GLOBAL: Scarce = Scarce;

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Dropping this makes memory available again.
struct Want;

/// Makes allocations of buffers fail from now on.
fn scarce() -> Want {
    MOST.store(64 << 10, Ordering::SeqCst);
    Want
}

impl Drop for Want {
    fn drop(&mut self) {
        MOST.store(usize::MAX, Ordering::SeqCst);
    }
}

#[test]
fn without_memory_a_client_is_told_no_and_may_ask_again() {
    let _turn = turn();
    let disk = Arc::new(MemoryDevice::new(SIZE).unwrap());
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let setup = Setup::new(disk, limits);
    let mut speaker = Speaker::greeted(&setup.path(), Dialect::Simple);
    let want = scarce();
    let policy = 2;
    assert_eq!(speaker.option(GO, &go("disk", &[])), Err(policy));
    drop(want);
    assert_eq!(speaker.option(GO, &go("disk", &[])), Ok(()));
    assert_eq!(speaker.read(0, 0, 1), Ok(vec![0]));
    speaker.leave();
    let notes = setup.stop().join("\n");
    assert!(notes.contains("Denied(1, NoMemory)"), "{notes}");
    assert!(notes.contains("Closed(1, Goodbye)"), "{notes}");
}

/// Another thread would need buffers of its own. Without them the first thread does everything,
/// loses no bytes that it read ahead, and sends a large reply in parts.
#[test]
fn without_memory_one_thread_does_everything() {
    let _turn = turn();
    let probe = Probe::new(|_, _| ());
    let setup = Setup::new(probe.clone(), Limits::default());
    let mut client = Client::connect(&setup.path());
    client.stream.set_read_timeout(Some(LONG)).unwrap();
    let want = scarce();
    let flushes = (0..50).flat_map(|cookie| request(FLUSH, 0, cookie, 0, 0));
    client.send(&flushes.collect::<Vec<u8>>());
    for cookie in 0..50 {
        assert_eq!(client.reply(), (0, cookie), "in their order");
    }
    client.send(&request(READ, 0, 50, 0, SIZE as u32));
    assert_eq!(client.reply(), (0, 50));
    let mut page = [1; 4096];
    for _ in 0..SIZE / 4096 {
        client.stream.read_exact(&mut page).unwrap();
        assert_eq!(page, [0; 4096]);
    }
    drop(want);
    assert_eq!(probe.most(), 1);
    let calls = probe.calls();
    assert_eq!(
        calls.iter().filter(|call| **call == Call::Flush).count(),
        50
    );
    assert_eq!(client.read(0, 1), [0]);
}

#[test]
fn without_memory_tls_does_not_begin() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(file("pem"), certificate.pem()).unwrap();
    std::fs::write(file("key"), key.serialize_pem()).unwrap();
    let tls = Tls::from_files(&file("pem"), &file("key"), &file("pem")).unwrap();
    let endpoint = Endpoint::tcp("127.0.0.1:0".parse().unwrap(), Some(tls)).unwrap();
    let address = endpoint.tcp_address().unwrap();
    let (observer, notes) = notes();
    let device = Arc::new(MemoryDevice::new(SIZE).unwrap());
    let limits = Limits::default();
    let server = Server::start(exports(device), vec![endpoint], limits, observer).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.read_exact(&mut [0; GREETING]).unwrap();
    let want = scarce();
    stream.write_all(&3_u32.to_be_bytes()).unwrap();
    stream.write_all(&option(START_TLS, &[])).unwrap();
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(Take(&answer).answer(START_TLS).0, ACK);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    drop(want);
    assert_eq!(server.stop(LONG), Stopped::InTime);
    let notes = notes.lock().unwrap().join("\n");
    assert!(notes.contains("Closed(1, NoMemory)"), "{notes}");
}

/// A disk whose status changes at every byte.
#[derive(Debug)]
struct Motley;

impl Device for Motley {
    fn size(&self) -> u64 {
        SIZE
    }
    fn knows(&self, _: Context) -> bool {
        true
    }
    fn read(&self, _: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        buf.fill(1);
        Ok(Content::Data)
    }
    changes_nothing!();
    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn block_status(&self, _: u64, extents: &mut Extents, _: Context) -> Result<(), Errno> {
        let states = [Extents::DATA, Extents::HOLE].into_iter().cycle();
        // The device stops when no more extents are taken.
        let _ = states.take(10_000).all(|state| extents.push(1, state));
        Ok(())
    }
}

/// A batch that is almost full gets the longest answer possible. It needs no more memory than it
/// had at the start.
#[test]
fn the_longest_answers_have_room() {
    let _turn = turn();
    let exports = exports(Arc::new(Motley));
    let mut talk = Talk::new(&exports);
    talk.ask(EXTENDED, &[]);
    let contexts = ["base:allocation", "x-zs:stored-size"];
    talk.ask(SET_CONTEXT, &queries("disk", &contexts));
    talk.ask(GO, &go("disk", &[]));
    let short = (64 << 10) - 100;
    let asked = [
        extended(READ, 0, 1, 0, short),
        extended(STATUS, 0, 2, 0, 100_000),
    ];
    let mut replies = Take(talk.say(&asked.concat()));
    assert_eq!(replies.extended().4.len() as u64, 8 + short);
    for _ in contexts {
        assert_eq!(replies.extended().4.len(), 8 + 16 * 4096);
    }
    assert!(replies.0.is_empty());
}
