//! A client of a unix socket that speaks one dialect of the protocol.

use super::{
    ABORT, DISCONNECT, EXPORT_NAME, EXTENDED, GO, GREETING, READ, STRUCTURED, Take, WRITE,
    extended, go, option, request,
};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A dialect of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Fixed newstyle and `NBD_OPT_GO`, simple replies.
    Simple,
    /// Newstyle without the fixed flag: `NBD_OPT_EXPORT_NAME`, zeroes after the answer.
    Bare,
    /// Structured replies.
    Structured,
    /// Extended headers, with payloads announced, as libnbd does.
    Extended,
    /// Extended headers without announced payloads, as QEMU from 8.2 on.
    Unannounced,
}

impl Dialect {
    pub(crate) const ALL: [Self; 5] = [
        Self::Simple,
        Self::Bare,
        Self::Structured,
        Self::Extended,
        Self::Unannounced,
    ];

    fn is_extended(self) -> bool {
        matches!(self, Self::Extended | Self::Unannounced)
    }

    pub(crate) fn request(
        self,
        command: u16,
        flags: u16,
        cookie: u64,
        at: u64,
        len: u64,
    ) -> Vec<u8> {
        match self.is_extended() {
            true => extended(command, flags, cookie, at, len),
            false => request(command, flags, cookie, at, u32::try_from(len).unwrap()),
        }
    }

    pub(crate) fn write(self, flags: u16, cookie: u64, at: u64, payload: &[u8]) -> Vec<u8> {
        let announced = u16::from(self == Self::Extended) * 32;
        let head = self.request(WRITE, flags | announced, cookie, at, payload.len() as u64);
        [&head, payload].concat()
    }
}

/// A connection in one dialect. Errors are the protocol's numbers.
#[derive(Debug)]
pub(crate) struct Speaker {
    dialect: Dialect,
    stream: UnixStream,
    cookie: u64,
    pub(crate) size: u64,
}

impl Speaker {
    /// Connects, and sends the client flags only.
    pub(crate) fn greeted(path: &Path, dialect: Dialect) -> Self {
        let mut speaker = Self {
            dialect,
            stream: UnixStream::connect(path).unwrap(),
            cookie: 0,
            size: 0,
        };
        let greeting = speaker.receive(GREETING);
        assert_eq!(greeting, b"NBDMAGICIHAVEOPT\0\x03");
        let flags = if dialect == Dialect::Bare { 0 } else { 3_u32 };
        speaker.stream.write_all(&flags.to_be_bytes()).unwrap();
        speaker
    }

    pub(crate) fn connect(path: &Path, dialect: Dialect, export: &str) -> Self {
        let mut speaker = Self::greeted(path, dialect);
        match dialect {
            Dialect::Bare => {
                let asked = option(EXPORT_NAME, export.as_bytes());
                speaker.stream.write_all(&asked).unwrap();
                let answer = speaker.receive(8 + 2 + 124);
                speaker.size = Take(&answer).u64();
                assert!(answer[10..].iter().all(|byte| *byte == 0));
                return speaker;
            }
            Dialect::Simple => {}
            Dialect::Structured => speaker.option(STRUCTURED, b"").unwrap(),
            Dialect::Extended | Dialect::Unannounced => speaker.option(EXTENDED, b"").unwrap(),
        }
        speaker.option(GO, &go(export, &[3])).unwrap();
        speaker
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends an option, and returns all answers to it.
    pub(crate) fn option(&mut self, code: u32, data: &[u8]) -> Result<(), u32> {
        self.stream.write_all(&option(code, data)).unwrap();
        loop {
            let head = self.receive(20);
            let mut head = Take(&head);
            assert_eq!((head.u64(), head.u32()), (0x0003_e889_0455_65a9, code));
            let kind = head.u32();
            let data = self.receive(head.u32() as usize);
            match kind {
                1 => return Ok(()),
                3 if data[..2] == [0, 0] => self.size = Take(&data[2..]).u64(),
                2..=4 => {}
                error => return Err(error & 0x7fff_ffff),
            }
        }
    }

    /// Sends a request without payload.
    pub(crate) fn ask(&mut self, command: u16, flags: u16, at: u64, len: u64) -> Result<(), u32> {
        self.cookie += 1;
        let head = self.dialect.request(command, flags, self.cookie, at, len);
        self.stream.write_all(&head).unwrap();
        self.answer(at, 0).map(drop)
    }

    pub(crate) fn read(&mut self, flags: u16, at: u64, len: usize) -> Result<Vec<u8>, u32> {
        self.cookie += 1;
        let head = self
            .dialect
            .request(READ, flags, self.cookie, at, len as u64);
        self.stream.write_all(&head).unwrap();
        self.answer(at, len)
    }

    /// Sends a write as the dialect does.
    pub(crate) fn write(&mut self, flags: u16, at: u64, payload: &[u8]) -> Result<(), u32> {
        self.cookie += 1;
        let bytes = self.dialect.write(flags, self.cookie, at, payload);
        self.stream.write_all(&bytes).unwrap();
        self.answer(at, 0).map(drop)
    }

    /// Sends a write with exactly these flags.
    pub(crate) fn send_write(&mut self, flags: u16, at: u64, payload: &[u8]) -> Result<(), u32> {
        self.cookie += 1;
        let len = payload.len() as u64;
        let head = self.dialect.request(WRITE, flags, self.cookie, at, len);
        self.stream.write_all(&[&head, payload].concat()).unwrap();
        self.answer(at, 0).map(drop)
    }

    /// Returns the answer to the last request, and checks it as a strict client does.
    fn answer(&mut self, at: u64, len: usize) -> Result<Vec<u8>, u32> {
        let mut data = vec![0xee; len];
        let (mut missing, mut failed) = (len, None);
        loop {
            let magic = Take(&self.receive(4)).u32();
            if magic == 0x6744_6698 {
                return self.simple(len);
            }
            let (done, kind, payload) = self.chunk(magic, at);
            let mut chunk = Take(&payload);
            match kind {
                0 => assert!(done && payload.is_empty()),
                1 | 2 => {
                    let begin = (chunk.u64() - at) as usize;
                    let zeroes = (kind == 2).then(|| vec![0; chunk.u32() as usize]);
                    let bytes = zeroes.as_deref().unwrap_or(chunk.0);
                    assert!(!bytes.is_empty(), "a chunk of nothing");
                    data[begin..begin + bytes.len()].copy_from_slice(bytes);
                    missing -= bytes.len();
                }
                0x8001 => failed = Some(chunk.u32()),
                other => panic!("a chunk of type {other}"),
            }
            if done {
                let whole = (missing == 0).then_some(data);
                return failed.map_or_else(|| Ok(whole.unwrap()), Err);
            }
        }
    }

    fn simple(&mut self, len: usize) -> Result<Vec<u8>, u32> {
        assert!(!self.dialect.is_extended());
        let head = self.receive(12);
        let mut head = Take(&head);
        let (errno, cookie) = (head.u32(), head.u64());
        assert_eq!(cookie, self.cookie);
        if errno != 0 {
            return Err(errno);
        }
        assert!(self.dialect != Dialect::Structured || len == 0);
        Ok(self.receive(len))
    }

    /// Reads a chunk: whether it is the last one, its type, and its payload.
    fn chunk(&mut self, magic: u32, at: u64) -> (bool, u16, Vec<u8>) {
        let wide = self.dialect.is_extended();
        let structured = self.dialect == Dialect::Structured;
        assert!(match magic {
            0x6e8a_278c => wide,
            0x668e_33ef => structured,
            _ => false,
        });
        let head = self.receive(if wide { 28 } else { 16 });
        let mut head = Take(&head);
        let (flags, kind, cookie) = (head.u16(), head.u16(), head.u64());
        assert_eq!(cookie, self.cookie);
        let len = match wide {
            true => {
                assert_eq!(head.u64(), at);
                head.u64() as usize
            }
            false => head.u32() as usize,
        };
        (flags == 1, kind, self.receive(len))
    }

    /// Says goodbye, and waits until the server has closed the connection.
    pub(crate) fn leave(mut self) {
        let head = self.dialect.request(DISCONNECT, 0, 0, 0, 0);
        self.stream.write_all(&head).unwrap();
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0);
    }

    /// Does the same during the handshake.
    pub(crate) fn quit(mut self) {
        assert_eq!(self.option(ABORT, b""), Ok(()));
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0);
    }
}
