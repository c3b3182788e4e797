//! A client of the NBD protocol that keeps a window of requests open: the load.
//!
//! Data model: `requests -> free slots of the window -> one send of all that can go -> replies,
//! many with one receive -> slots`.
//!
//! One thread, blocking calls, payloads sent from where they lie. What it costs is the same for
//! every server, and is measured apart. The simplest dialect: `NBD_OPT_EXPORT_NAME`, simple
//! replies, which every server speaks.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{IoSlice, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const NBD_MAGIC: &[u8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8] = b"IHAVEOPT";
const EXPORT_NAME: u32 = 1;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const REPLY_HEAD: usize = 16;
const REQUEST_HEAD: usize = 28;

/// Bytes that are received at once.
const ROOM: usize = 256 << 10;
/// A reply of so many bytes is received by itself, so that nothing of the next one is moved
/// afterwards.
const LARGE: usize = 32 << 10;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read = 0,
    Write = 1,
    Disconnect = 2,
    Flush = 3,
}

/// One request: bytes at a place of the disk; what a write writes there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) payload: &'a [u8],
}

/// A request that has been sent.
#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: u64,
    len: u32,
    sent: Instant,
}

/// What came of a pass.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Bytes read or written.
    pub(crate) bytes: u64,
    /// How long each request took, in nanoseconds.
    pub(crate) latencies: Vec<u64>,
}

/// A connection that has agreed with its server.
#[derive(Debug)]
pub(crate) struct Client {
    socket: UnixStream,
    size: u64,
    room: Vec<u8>,
}

impl Client {
    /// Connects, and asks for the export without a name.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let mut socket = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        let mut hello = [0; 18];
        socket.read_exact(&mut hello)?;
        ensure!(
            hello.starts_with(NBD_MAGIC) && hello[8..16] == *OPTION_MAGIC,
            "no NBD server of the newstyle"
        );
        // Fixed newstyle, and no zeroes at the end of the handshake.
        let mut answer = 3_u32.to_be_bytes().to_vec();
        answer.extend_from_slice(OPTION_MAGIC);
        answer.extend_from_slice(&EXPORT_NAME.to_be_bytes());
        answer.extend_from_slice(&0_u32.to_be_bytes());
        socket.write_all(&answer)?;
        let mut agreed = [0; 10];
        socket
            .read_exact(&mut agreed)
            .context("the server does not give its export away")?;
        let (size, _) = agreed
            .split_first_chunk()
            .context("10 bytes begin with 8")?;
        Ok(Self {
            socket,
            size: u64::from_be_bytes(*size),
            room: vec![0; ROOM],
        })
    }

    /// Bytes of the disk.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Sends requests until there are no more, or `until` has come, with at most `depth` open at
    /// once; waits for all replies. What is read is shown to `check`.
    pub(crate) fn pass<'a>(
        &mut self,
        kind: Kind,
        depth: usize,
        until: Instant,
        mut requests: impl Iterator<Item = Request<'a>>,
        mut check: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<Passed> {
        let mut slots: Vec<Option<Slot>> = vec![None; depth];
        let mut free: Vec<usize> = (0..depth).rev().collect();
        let mut passed = Passed::default();
        let (mut begin, mut end) = (0, 0);
        loop {
            let now = Instant::now();
            let more = now < until;
            self.send(kind, now, &mut slots, &mut free, &mut requests, more)?;
            let open = slots.iter().flatten().next();
            let Some(open) = open else {
                return Ok(passed);
            };
            let whole = REPLY_HEAD + payload(kind, open.len);
            // All requests of a pass are equally long, but for the last one perhaps.
            let most = if whole >= LARGE {
                whole
            } else {
                self.room.len()
            };
            if self.room.len() < whole {
                self.room.resize(whole, 0);
            }
            self.room.copy_within(begin..end, 0);
            end -= begin;
            begin = 0;
            let len = self.socket.read(&mut self.room[end..most.max(end + 1)])?;
            ensure!(len > 0, "the server hung up");
            end += len;
            let now = Instant::now();
            while let Some(used) = reply(&self.room[begin..end], kind, &slots)? {
                let (number, data) = used;
                let slot = slots[number].take().context("a reply to nothing")?;
                check(slot.offset, &self.room[begin + REPLY_HEAD..][..data])?;
                begin += REPLY_HEAD + data;
                free.push(number);
                passed.bytes += u64::from(slot.len);
                let took = now.saturating_duration_since(slot.sent);
                passed.latencies.push(took.as_nanos() as u64);
            }
        }
    }

    /// Sends as many requests as there are free slots, with one call.
    fn send<'a>(
        &self,
        kind: Kind,
        now: Instant,
        slots: &mut [Option<Slot>],
        free: &mut Vec<usize>,
        requests: &mut impl Iterator<Item = Request<'a>>,
        more: bool,
    ) -> Result<()> {
        let mut heads = Vec::with_capacity(free.len());
        let mut payloads = Vec::with_capacity(free.len());
        while more && let Some(&number) = free.last() {
            let Some(request) = requests.next() else {
                break;
            };
            free.pop();
            slots[number] = Some(Slot {
                offset: request.offset,
                len: request.len,
                sent: now,
            });
            heads.push(head(kind, number as u64, request.offset, request.len));
            payloads.push(request.payload);
        }
        let parts = heads.iter().zip(&payloads);
        let mut parts: Vec<IoSlice<'_>> = parts
            .flat_map(|(head, payload)| [IoSlice::new(head), IoSlice::new(payload)])
            .collect();
        let mut left = &mut parts[..];
        // Empty payloads at the front would never be sent.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let sent = (&self.socket).write_vectored(left)?;
            IoSlice::advance_slices(&mut left, sent);
        }
        Ok(())
    }

    /// One request by itself.
    pub(crate) fn ask(&mut self, kind: Kind, offset: u64, len: u32) -> Result<()> {
        let request = Request {
            offset,
            len,
            payload: &[],
        };
        let far = Instant::now() + Duration::from_secs(3600);
        self.pass(kind, 1, far, std::iter::once(request), |_, _| Ok(()))?;
        Ok(())
    }

    /// The socket alone, for what no good client does.
    pub(crate) fn into_socket(self) -> UnixStream {
        self.socket
    }

    /// Says goodbye.
    pub(crate) fn end(self) -> Result<()> {
        let goodbye = head(Kind::Disconnect, 0, 0, 0);
        (&self.socket).write_all(&goodbye).context("the goodbye")
    }
}

/// The head of a request.
pub(crate) fn head(kind: Kind, cookie: u64, offset: u64, len: u32) -> [u8; REQUEST_HEAD] {
    let mut head = [0; REQUEST_HEAD];
    head[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    head[6..8].copy_from_slice(&(kind as u16).to_be_bytes());
    head[8..16].copy_from_slice(&cookie.to_be_bytes());
    head[16..24].copy_from_slice(&offset.to_be_bytes());
    head[24..].copy_from_slice(&len.to_be_bytes());
    head
}

/// Bytes that follow the head of a reply.
fn payload(kind: Kind, len: u32) -> usize {
    if kind == Kind::Read { len as usize } else { 0 }
}

/// The slot of the reply that `bytes` begin with, and the length of its data; `None` if a part of
/// it is missing.
fn reply(bytes: &[u8], kind: Kind, slots: &[Option<Slot>]) -> Result<Option<(usize, usize)>> {
    let Some(head) = bytes.get(..REPLY_HEAD) else {
        return Ok(None);
    };
    let number = |at: usize| {
        let word = head[at..].first_chunk().copied().unwrap_or_default();
        u32::from_be_bytes(word)
    };
    if number(0) != REPLY_MAGIC {
        bail!("a reply began with {:#010x}", number(0));
    }
    ensure!(number(4) == 0, "a request failed with error {}", number(4));
    let cookie = number(12) as usize;
    let Some(Some(slot)) = slots.get(cookie) else {
        bail!("a reply to request {cookie}, which is not open");
    };
    let data = payload(kind, slot.len);
    Ok((bytes.len() >= REPLY_HEAD + data).then_some((cookie, data)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use zs_nbd::{Endpoint, Export, Exports, Limits, MemoryDevice, Server};

    const SIZE: usize = 4 << 20;

    /// A client of a disk of plain memory.
    fn with_client(test: impl FnOnce(Client)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nbd");
        let disk = Arc::new(MemoryDevice::new(SIZE as u64).unwrap());
        let exports = Exports::new(vec![Export::new("", "", disk).unwrap()]).unwrap();
        let sockets = vec![Endpoint::unix(&path).unwrap()];
        let server = Server::start(exports, sockets, Limits::default(), Arc::new(|_| ())).unwrap();
        test(Client::connect(&path).unwrap());
        drop(server);
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    #[test]
    fn what_is_written_is_read_back_in_pieces_of_any_size() {
        let bytes: Vec<u8> = (0..SIZE as u32).map(|at| (at / 4) as u8).collect();
        let asked = |len: usize| {
            let chunks = bytes.chunks(len).zip((0..).step_by(len));
            chunks.map(|(payload, offset)| Request {
                offset,
                len: payload.len() as u32,
                payload,
            })
        };
        with_client(|mut client| {
            assert_eq!(client.size(), SIZE as u64);
            let none = |_, _: &[u8]| Ok(());
            let written = client
                .pass(Kind::Write, 64, far(), asked(4096), none)
                .unwrap();
            assert_eq!(
                (written.bytes, written.latencies.len()),
                (SIZE as u64, SIZE / 4096)
            );
            for (len, depth) in [(4096, 64), (128 << 10, 16), (512 << 10, 3), (12 << 10, 1)] {
                let mut seen = 0;
                let read = asked(len).map(|request| Request {
                    payload: &[],
                    ..request
                });
                let passed = client.pass(Kind::Read, depth, far(), read, |offset, found| {
                    seen += found.len();
                    assert_eq!(found, &bytes[offset as usize..][..found.len()]);
                    Ok(())
                });
                assert_eq!((passed.unwrap().bytes as usize, seen), (SIZE, SIZE));
            }
            client.ask(Kind::Flush, 0, 0).unwrap();
            client.end().unwrap();
        });
    }

    #[test]
    fn a_pass_ends_in_time_and_failures_are_told() {
        with_client(|mut client| {
            let asked = std::iter::repeat_n(
                Request {
                    offset: SIZE as u64,
                    len: 4096,
                    payload: &[],
                },
                5,
            );
            let none = |_, _: &[u8]| Ok(());
            let over = client.pass(Kind::Read, 2, Instant::now(), asked.clone(), none);
            assert_eq!(over.unwrap().bytes, 0);
            let error = client.pass(Kind::Read, 2, far(), asked, none).unwrap_err();
            assert!(error.to_string().contains("error 22"), "{error}");
        });
    }
}
