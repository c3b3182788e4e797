//! Simple, structured and extended replies.

use super::Mode;
use crate::device::{Content, Errno, Extent};
use std::collections::TryReserveError;
use std::ops::Range;

const SIMPLE_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_MAGIC: u32 = 0x668e_33ef;
const EXTENDED_MAGIC: u32 = 0x6e8a_278c;

const DONE: u16 = 1;

const NONE: u16 = 0;
const OFFSET_DATA: u16 = 1;
const OFFSET_HOLE: u16 = 2;
const BLOCK_STATUS: u16 = 5;
const BLOCK_STATUS_EXT: u16 = 6;
const ERROR: u16 = 0x8001;

/// Zeroes are looked for in pages of this size.
const PAGE: usize = 4096;

/// The request that a reply answers.
#[derive(Clone, Copy, Debug)]
struct To {
    cookie: u64,
    offset: u64,
}

/// Replies, one behind the other, to be sent together.
///
/// The buffer is used again without being cleared: a payload is read into it where it is sent from.
/// It has all its room from the begin, so that a want of memory is found there, and not amid a
/// reply.
#[derive(Debug)]
pub(crate) struct Replies {
    buffer: Vec<u8>,
    len: usize,
    mode: Mode,
    to: To,
}

impl Replies {
    /// Has room for so many bytes, if there is memory for them. The system gives it as it is used.
    pub(crate) fn new(mode: Mode, room: usize) -> Result<Self, TryReserveError> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(room)?;
        Ok(Self {
            buffer,
            len: 0,
            mode,
            to: To {
                cookie: 0,
                offset: 0,
            },
        })
    }

    /// Returns what there is to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Forgets what was sent.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Most bytes of a reply with `len` bytes of data.
    pub(crate) const fn data_len(len: usize) -> usize {
        // The head of an extended chunk, and the offset.
        len + 32 + 8
    }

    /// What follows answers the request of that cookie and offset.
    pub(crate) fn answer(&mut self, cookie: u64, offset: u64) {
        self.to = To { cookie, offset };
    }

    /// Answers a read of no bytes, which a simple reply may not where structured ones were agreed
    /// upon.
    pub(crate) fn no_data(&mut self) {
        match self.mode {
            Mode::Simple => self.simple(0),
            Mode::Structured | Mode::Extended => self.chunk(NONE, DONE, 0),
        }
    }

    /// Success, without data.
    pub(crate) fn done(&mut self) {
        match self.mode {
            Mode::Simple | Mode::Structured => self.simple(0),
            Mode::Extended => self.chunk(NONE, DONE, 0),
        }
    }

    /// Failure; `text` is for people.
    pub(crate) fn error(&mut self, errno: Errno, text: &str) {
        if self.mode == Mode::Simple {
            return self.simple(errno.code());
        }
        let text = &text.as_bytes()[..text.len().min(512)];
        self.chunk(ERROR, DONE, 6 + text.len());
        self.put(&errno.code().to_be_bytes());
        self.put(&(text.len() as u16).to_be_bytes());
        self.put(text);
    }

    /// `len` bytes that `read` writes; or holes and data. Unbroken, they come as one chunk.
    ///
    /// # Errors
    /// That of `read`; then nothing was appended.
    pub(crate) fn data(
        &mut self,
        len: usize,
        unbroken: bool,
        read: impl FnOnce(&mut [u8]) -> Result<Content, Errno>,
    ) -> Result<(), Errno> {
        if unbroken || self.mode == Mode::Simple {
            let begin = self.len;
            self.unbroken(len);
            let done = self.rest(len, read);
            if done.is_err() {
                self.len = begin;
            }
            return done;
        }
        self.chunks(self.to.offset, len, DONE, read)
    }

    /// Returns a part of the data of a reply that [`end`](Self::end) or an error ends; not of a
    /// simple one.
    ///
    /// # Errors
    /// That of `read`, and nothing has been added.
    pub(crate) fn part(
        &mut self,
        offset: u64,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<Content, Errno>,
    ) -> Result<(), Errno> {
        self.chunks(offset, len, 0, read)
    }

    /// Ends a reply that came in parts.
    pub(crate) fn end(&mut self) {
        self.chunk(NONE, DONE, 0);
    }

    /// Begins `len` bytes that come as one chunk, or as a simple reply: [`rest`](Self::rest), once
    /// or more often.
    pub(crate) fn unbroken(&mut self, len: usize) {
        if self.mode == Mode::Simple {
            return self.simple(0);
        }
        self.chunk(OFFSET_DATA, DONE, 8 + len);
        self.put(&self.to.offset.to_be_bytes());
    }

    /// Goes on with an unbroken reply.
    ///
    /// # Errors
    /// That of `read`, and nothing has been added.
    pub(crate) fn rest(
        &mut self,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<Content, Errno>,
    ) -> Result<(), Errno> {
        let begin = self.len;
        match read(self.grow(len)) {
            Ok(Content::Data) => {}
            Ok(Content::Zeroes) => self.buffer[begin..begin + len].fill(0),
            Err(errno) => {
                self.len = begin;
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Data and holes, the last one with `flags`.
    fn chunks(
        &mut self,
        offset: u64,
        len: usize,
        flags: u16,
        read: impl FnOnce(&mut [u8]) -> Result<Content, Errno>,
    ) -> Result<(), Errno> {
        let begin = self.len;
        self.chunk(OFFSET_DATA, flags, 8 + len);
        self.put(&offset.to_be_bytes());
        match read(self.grow(len)) {
            Ok(Content::Data) => self.punch(begin, offset, len, flags),
            Ok(Content::Zeroes) => {
                self.len = begin;
                self.hole(offset, len, flags);
            }
            Err(errno) => {
                self.len = begin;
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Makes holes of long zeroes in the last `len` bytes, of `offset`, whose reply begins at
    /// `begin`. What is written in place of a hole, its own chunk and the head of the next, is
    /// shorter than the hole: so data moves to the front, if at all.
    fn punch(&mut self, begin: usize, offset: u64, len: usize, flags: u16) {
        let data = self.len - len;
        let ends = |is_last: bool| if is_last { flags } else { 0 };
        let mut at = 0;
        while at < len {
            let here = offset + at as u64;
            let hole = next_hole(&self.buffer[data + at..data + len], here);
            let hole = hole.map_or(len..len, |hole| at + hole.start..at + hole.end);
            if at == 0 {
                if hole.is_empty() {
                    return;
                }
                self.len = begin;
            }
            if at < hole.start {
                self.chunk(OFFSET_DATA, ends(hole.start == len), 8 + hole.start - at);
                self.put(&here.to_be_bytes());
                let moved = data + at..data + hole.start;
                self.buffer.copy_within(moved, self.len);
                self.len += hole.start - at;
            }
            if !hole.is_empty() {
                let offset = offset + hole.start as u64;
                self.hole(offset, hole.len(), ends(hole.end == len));
            }
            at = hole.end;
        }
    }

    fn hole(&mut self, offset: u64, len: usize, flags: u16) {
        self.chunk(OFFSET_HOLE, flags, 12);
        self.put(&offset.to_be_bytes());
        self.put(&(len as u32).to_be_bytes());
    }

    /// States of extents in one context. With `last`, they end the reply.
    pub(crate) fn status(&mut self, context: u32, extents: &[Extent], last: bool) {
        let flags = if last { DONE } else { 0 };
        if self.mode == Mode::Extended {
            self.chunk(BLOCK_STATUS_EXT, flags, 8 + 16 * extents.len());
            self.put(&context.to_be_bytes());
            self.put(&(extents.len() as u32).to_be_bytes());
            for extent in extents {
                self.put(&extent.len.to_be_bytes());
                self.put(&extent.status.to_be_bytes());
            }
            return;
        }
        self.chunk(BLOCK_STATUS, flags, 4 + 8 * extents.len());
        self.put(&context.to_be_bytes());
        for extent in extents {
            // A request's length has 32 bits in this mode, and extents end where it ends.
            self.put(&(extent.len as u32).to_be_bytes());
            self.put(
                &u32::try_from(extent.status)
                    .unwrap_or(u32::MAX)
                    .to_be_bytes(),
            );
        }
    }

    fn simple(&mut self, code: u32) {
        self.put(&SIMPLE_MAGIC.to_be_bytes());
        self.put(&code.to_be_bytes());
        self.put(&self.to.cookie.to_be_bytes());
    }

    fn chunk(&mut self, kind: u16, flags: u16, len: usize) {
        let magic = match self.mode {
            Mode::Extended => EXTENDED_MAGIC,
            Mode::Simple | Mode::Structured => STRUCTURED_MAGIC,
        };
        self.put(&magic.to_be_bytes());
        self.put(&flags.to_be_bytes());
        self.put(&kind.to_be_bytes());
        self.put(&self.to.cookie.to_be_bytes());
        if self.mode == Mode::Extended {
            self.put(&self.to.offset.to_be_bytes());
            self.put(&(len as u64).to_be_bytes());
        } else {
            self.put(&(len as u32).to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.grow(bytes.len()).copy_from_slice(bytes);
    }

    /// `len` bytes more, with whatever is in them.
    fn grow(&mut self, len: usize) -> &mut [u8] {
        let begin = self.len;
        self.len += len;
        debug_assert!(self.len <= self.buffer.capacity(), "it has no such room");
        if self.buffer.len() < self.len {
            self.buffer.resize(self.len, 0);
        }
        &mut self.buffer[begin..self.len]
    }
}

/// Returns the first zeroes in `bytes`, which begin at `offset` of the device, that are worth a
/// chunk: a whole page of them, between pages' ends. For each page of data that is a look at its
/// first bytes.
fn next_hole(bytes: &[u8], offset: u64) -> Option<Range<usize>> {
    let mut zeroes = 0..0;
    while zeroes.end < bytes.len() {
        let page = PAGE - (offset as usize + zeroes.end) % PAGE;
        let end = bytes.len().min(zeroes.end + page);
        if is_zero(&bytes[zeroes.end..end]) {
            zeroes.end = end;
        } else if zeroes.len() >= PAGE {
            break;
        } else {
            zeroes = end..end;
        }
    }
    (zeroes.len() >= PAGE).then_some(zeroes)
}

fn is_zero(bytes: &[u8]) -> bool {
    let (lines, rest) = bytes.as_chunks::<64>();
    let is_zero = |line: &[u8]| line.iter().fold(0, |all, byte| all | byte) == 0;
    lines.iter().all(|line| is_zero(line)) && is_zero(rest)
}
