//! The protocol: several requests at once, replies in any order, in three modes.
//!
//! A thread sends while the caller receives: neither side waits for the other to take what it has
//! sent.

use crate::nbd::{
    ACK, EXTENDED, GO, SET_CONTEXT, STRUCTURED, TRIM, Take, extended, go, option, queries, request,
};
use std::collections::HashMap;
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

pub(crate) const FUA: u16 = 1;
pub(crate) const NO_HOLE: u16 = 2;
pub(crate) const UNBROKEN: u16 = 4;
pub(crate) const FAST_ZERO: u16 = 16;
const PAYLOAD_LEN: u16 = 32;

const DONE: u16 = 1;

/// Most bytes of one request: what every server takes.
const MOST: u64 = 32 << 20;

/// Who waits longer for an answer waits for ever, on any machine.
const HUNG: Duration = Duration::from_secs(120);

/// How requests and replies look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Simple,
    Structured,
    Extended,
}

/// A request; a write has a payload as long as its range.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) command: u16,
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) payload: Vec<u8>,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) error: u32,
    /// Of a read.
    pub(crate) data: Vec<u8>,
    /// Of a block status: lengths and states.
    pub(crate) extents: Vec<(u64, u64)>,
}

pub(crate) struct Connection {
    received: BufReader<UnixStream>,
    sender: Sender<Vec<u8>>,
    mode: Mode,
    size: u64,
    cookie: u64,
}

impl Connection {
    /// Connects, and agrees upon a mode; beyond simple replies, also upon `base:allocation`.
    pub(crate) fn open(socket: &Path, mode: Mode) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(HUNG)).unwrap();
        let mut greeting = [0; crate::nbd::GREETING];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(&3_u32.to_be_bytes()).unwrap();
        if mode != Mode::Simple {
            let shape = if mode == Mode::Extended {
                EXTENDED
            } else {
                STRUCTURED
            };
            negotiate(&mut stream, shape, &[]);
            negotiate(&mut stream, SET_CONTEXT, &queries("", &["base:allocation"]));
        }
        let told = negotiate(&mut stream, GO, &go("", &[]));
        // The kind of information, the size, flags.
        let export = told.iter().find(|data| data[..2] == [0, 0]).unwrap();
        let size = u64::from_be_bytes(export[2..10].try_into().unwrap());
        let (sender, waiting) = channel::<Vec<u8>>();
        let mut out = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            // A connection that is gone is noticed by whoever waits for replies.
            while let Ok(bytes) = waiting.recv()
                && out.write_all(&bytes).is_ok()
            {}
        });
        Self {
            received: BufReader::new(stream),
            sender,
            mode,
            size,
            cookie: 0,
        }
    }

    /// The disk's size when the connection began.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Sends all requests, and returns their replies in the order of the requests, and how many
    /// came before one that was asked for earlier.
    pub(crate) fn exchange(&mut self, requests: &[Request]) -> io::Result<(Vec<Reply>, u64)> {
        let first = self.cookie;
        let mut bytes = Vec::new();
        for request in requests {
            bytes.extend(self.head(request));
            bytes.extend(&request.payload);
            self.cookie += 1;
        }
        // As above.
        let _ = self.sender.send(bytes);
        let mut open: HashMap<u64, Reply> = HashMap::new();
        let mut done: Vec<Option<Reply>> = requests.iter().map(|_| None).collect();
        let mut overtaken = 0;
        while done.contains(&None) {
            let (cookie, last) = self.receive(first, requests, &mut open)?;
            if last {
                let index = (cookie - first) as usize;
                overtaken += u64::from(done[..index].contains(&None));
                done[index] = open.remove(&cookie);
            }
        }
        Ok((done.into_iter().flatten().collect(), overtaken))
    }

    fn head(&self, asked: &Request) -> Vec<u8> {
        let Request {
            command,
            flags,
            offset,
            len,
            ..
        } = *asked;
        if self.mode == Mode::Extended {
            let with_payload = if asked.payload.is_empty() {
                0
            } else {
                PAYLOAD_LEN
            };
            return extended(command, flags | with_payload, self.cookie, offset, len);
        }
        request(command, flags, self.cookie, offset, len as u32)
    }

    /// A reply or a part of one: its cookie, and whether it was the last part.
    fn receive(
        &mut self,
        first: u64,
        requests: &[Request],
        open: &mut HashMap<u64, Reply>,
    ) -> io::Result<(u64, bool)> {
        let of = |cookie: u64| {
            let index = cookie.checked_sub(first).map(|index| index as usize);
            let request = index.and_then(|index| requests.get(index));
            request.ok_or_else(|| {
                io::Error::other(format!("a reply to {cookie}, which was not asked"))
            })
        };
        let magic = u32::from_be_bytes(self.take()?);
        if magic == 0x6744_6698 {
            let error = u32::from_be_bytes(self.take()?);
            let cookie = u64::from_be_bytes(self.take()?);
            let asked = of(cookie)?;
            let mut reply = Reply {
                error,
                ..Reply::default()
            };
            if error == 0 && asked.command == crate::nbd::READ {
                reply.data = self.bytes(asked.len as usize)?;
            }
            open.insert(cookie, reply);
            return Ok((cookie, true));
        }
        let flags = u16::from_be_bytes(self.take()?);
        let kind = u16::from_be_bytes(self.take()?);
        let cookie = u64::from_be_bytes(self.take()?);
        let asked = of(cookie)?;
        let len = match magic {
            0x668e_33ef => u64::from(u32::from_be_bytes(self.take()?)),
            0x6e8a_278c => {
                self.take::<8>()?;
                u64::from_be_bytes(self.take()?)
            }
            _ => return Err(io::Error::other(format!("a reply began with {magic:#x}"))),
        };
        let payload = self.bytes(len as usize)?;
        let reply = open.entry(cookie).or_default();
        read_chunk(kind, &payload, asked, reply);
        Ok((cookie, flags & DONE != 0))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.received.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.received.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Discards the whole disk.
    pub(crate) fn trim_all(&mut self) {
        for offset in (0..self.size).step_by(MOST as usize) {
            let trim = Request {
                command: TRIM,
                flags: 0,
                offset,
                len: MOST.min(self.size - offset),
                payload: Vec::new(),
            };
            assert_eq!(self.exchange(&[trim]).unwrap().0[0].error, 0);
        }
    }
}

impl PartialEq for Reply {
    /// Of no use but to look for those that are missing.
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

fn read_chunk(kind: u16, payload: &[u8], asked: &Request, reply: &mut Reply) {
    let mut take = Take(payload);
    match kind {
        0 => {}
        1 | 2 => {
            reply.data.resize(asked.len as usize, 0xee);
            let at = (take.u64() - asked.offset) as usize;
            if kind == 1 {
                let bytes = take.0;
                reply.data[at..at + bytes.len()].copy_from_slice(bytes);
            } else {
                let len = take.u32() as usize;
                reply.data[at..at + len].fill(0);
            }
        }
        5 => {
            take.u32();
            while !take.0.is_empty() {
                reply.extents.push((take.u32().into(), take.u32().into()));
            }
        }
        6 => {
            take.u32();
            for _ in 0..take.u32() {
                reply.extents.push((take.u64(), take.u64()));
            }
        }
        _ => reply.error = take.u32(),
    }
}

/// Sends an option, and returns the data of all answers to it.
fn negotiate(stream: &mut UnixStream, code: u32, data: &[u8]) -> Vec<Vec<u8>> {
    stream.write_all(&option(code, data)).unwrap();
    let mut told = Vec::new();
    loop {
        let mut head = [0; 20];
        stream.read_exact(&mut head).unwrap();
        let len = u32::from_be_bytes(head[16..].try_into().unwrap());
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data).unwrap();
        let (kind, _) = Take(&[&head[..], &data].concat()).answer(code);
        match kind {
            ACK => return told,
            _ if kind & crate::nbd::ERR != 0 => panic!("option {code}: {kind:#x}"),
            _ => told.push(data),
        }
    }
}
