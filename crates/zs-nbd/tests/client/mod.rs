//! A client of the protocol, for tests only. It can send a wrong value in every field of every
//! message.
#![allow(dead_code, unused_macros, reason = "each test program uses a part")]
#![allow(clippy::allow_attributes, reason = "which part differs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests")]

#[macro_use]
mod quiet;
pub(crate) mod dialect;
pub(crate) mod probe;
pub(crate) mod talk;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use zs_nbd::{Device, Event, Export, Exports, Observer};

pub(crate) const EXPORT_NAME: u32 = 1;
pub(crate) const ABORT: u32 = 2;
pub(crate) const LIST: u32 = 3;
pub(crate) const START_TLS: u32 = 5;
pub(crate) const INFO: u32 = 6;
pub(crate) const GO: u32 = 7;
pub(crate) const STRUCTURED: u32 = 8;
pub(crate) const LIST_CONTEXT: u32 = 9;
pub(crate) const SET_CONTEXT: u32 = 10;
pub(crate) const EXTENDED: u32 = 11;

pub(crate) const ACK: u32 = 1;
pub(crate) const ERR: u32 = 0x8000_0000;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISCONNECT: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const CACHE: u16 = 5;
pub(crate) const ZEROES: u16 = 6;
pub(crate) const STATUS: u16 = 7;

/// `NBDMAGIC`, `IHAVEOPT`, flags.
pub(crate) const GREETING: usize = 18;

pub(crate) fn exports(device: Arc<dyn Device>) -> Exports {
    Exports::new(vec![Export::new("disk", "of a test", device).unwrap()]).unwrap()
}

/// An observer that keeps the events, as text.
pub(crate) fn notes() -> (Observer, Arc<Mutex<Vec<String>>>) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notes);
    let observer = move |event: &Event| kept.lock().unwrap().push(format!("{event:?}"));
    (Arc::new(observer), notes)
}

pub(crate) fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"IHAVEOPT".to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn go(name: &str, items: &[u16]) -> Vec<u8> {
    let mut data = text(name);
    data.extend((items.len() as u16).to_be_bytes());
    data.extend(items.iter().flat_map(|item| item.to_be_bytes()));
    data
}

pub(crate) fn queries(name: &str, list: &[&str]) -> Vec<u8> {
    let mut data = text(name);
    data.extend((list.len() as u32).to_be_bytes());
    data.extend(list.iter().flat_map(|query| text(query)));
    data
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn request(command: u16, flags: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

pub(crate) fn extended(command: u16, flags: u16, cookie: u64, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = 0x21e4_1c71_u32.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

pub(crate) fn write(cookie: u64, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = request(WRITE, 0, cookie, offset, payload.len() as u32);
    bytes.extend(payload);
    bytes
}

/// Takes numbers from the front of bytes.
#[derive(Debug)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes(2).try_into().unwrap())
    }
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes(4).try_into().unwrap())
    }
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes(8).try_into().unwrap())
    }
    /// An answer to an option: its type and data.
    pub(crate) fn answer(&mut self, code: u32) -> (u32, &'a [u8]) {
        assert_eq!(self.u64(), 0x0003_e889_0455_65a9);
        assert_eq!(self.u32(), code);
        let kind = self.u32();
        let len = self.u32() as usize;
        (kind, self.bytes(len))
    }
    /// A simple reply: error and cookie.
    pub(crate) fn simple(&mut self) -> (u32, u64) {
        assert_eq!(self.u32(), 0x6744_6698);
        (self.u32(), self.u64())
    }
    /// A structured chunk: flags, type, cookie, payload.
    pub(crate) fn chunk(&mut self) -> (u16, u16, u64, &'a [u8]) {
        assert_eq!(self.u32(), 0x668e_33ef);
        let (flags, kind, cookie) = (self.u16(), self.u16(), self.u64());
        let len = self.u32() as usize;
        (flags, kind, cookie, self.bytes(len))
    }
    /// An extended chunk: flags, type, cookie, offset, payload.
    pub(crate) fn extended(&mut self) -> (u16, u16, u64, u64, &'a [u8]) {
        assert_eq!(self.u32(), 0x6e8a_278c);
        let (flags, kind, cookie) = (self.u16(), self.u16(), self.u64());
        let offset = self.u64();
        let len = self.u64() as usize;
        (flags, kind, cookie, offset, self.bytes(len))
    }
}

/// Returns a connection with simple replies, after its handshake.
#[derive(Debug)]
pub(crate) struct Client<S> {
    pub(crate) stream: S,
}

impl Client<UnixStream> {
    pub(crate) fn connect(path: &Path) -> Self {
        let mut client = Self {
            stream: UnixStream::connect(path).unwrap(),
        };
        client.shake_hands();
        client
    }
}

impl Client<TcpStream> {
    pub(crate) fn connect_tcp(address: SocketAddr) -> Self {
        let mut client = Self {
            stream: TcpStream::connect(address).unwrap(),
        };
        client.shake_hands();
        client
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn shake_hands(&mut self) {
        self.receive(GREETING);
        self.stream.write_all(&3_u32.to_be_bytes()).unwrap();
        self.enter();
    }

    /// Returns the client flags, then these options.
    pub(crate) fn enter(&mut self) {
        self.stream.write_all(&option(EXPORT_NAME, b"")).unwrap();
        self.receive(10);
    }

    pub(crate) fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Checks that nothing more comes, with or without a goodbye.
    pub(crate) fn is_over(&mut self) -> bool {
        self.stream.read(&mut [0; 1]).unwrap_or(0) == 0
    }

    /// Returns the error of a reply without data.
    pub(crate) fn reply(&mut self) -> (u32, u64) {
        Take(&self.receive(16)).simple()
    }

    pub(crate) fn write(&mut self, offset: u64, payload: &[u8]) {
        self.send(&write(1, offset, payload));
        assert_eq!(self.reply(), (0, 1));
    }

    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Vec<u8> {
        self.send(&request(READ, 0, 2, offset, len));
        assert_eq!(self.reply(), (0, 2));
        self.receive(len as usize)
    }
}
