//! Simple, structured and extended replies.

use super::Mode;
use crate::device::{Content, Errno, Extent};
use crate::lengths::{to_u32, to_usize};
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

/// The size of the pages in which zeroes are looked for.
const PAGE: usize = 4096;

/// The request that a reply answers.
#[derive(Clone, Copy, Debug)]
struct RequestId {
    cookie: u64,
    offset: u64,
}

/// A buffer of replies that are sent together.
///
/// The device reads a payload directly into the buffer that is sent. The buffer is reused without
/// being zeroed. All its memory is reserved at the start, so that a lack of memory shows there, and
/// not in the middle of a reply.
#[derive(Debug)]
pub(crate) struct Replies {
    buffer: Vec<u8>,
    len: usize,
    mode: Mode,
    request: RequestId,
}

impl Replies {
    /// Makes a buffer for `room` bytes, if there is memory for them. The system provides the memory
    /// as it is used.
    pub(crate) fn new(mode: Mode, room: usize) -> Result<Self, TryReserveError> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(room)?;
        Ok(Self {
            buffer,
            len: 0,
            mode,
            request: RequestId {
                cookie: 0,
                offset: 0,
            },
        })
    }

    /// Returns the bytes to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Empties the buffer.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Returns the most bytes of a reply with `len` bytes of data.
    pub(crate) const fn data_len(len: usize) -> usize {
        // The head of an extended chunk, and the offset.
        len + 32 + 8
    }

    /// Begins the reply to the request with this cookie and offset.
    pub(crate) fn answer(&mut self, cookie: u64, offset: u64) {
        self.request = RequestId { cookie, offset };
    }

    /// Appends the reply to a read of 0 bytes. It must be structured where structured replies were
    /// agreed upon.
    pub(crate) fn no_data(&mut self) {
        match self.mode {
            Mode::Simple => self.simple(0),
            Mode::Structured | Mode::Extended => self.chunk(NONE, DONE, 0),
        }
    }

    /// Appends a success without data.
    pub(crate) fn done(&mut self) {
        match self.mode {
            Mode::Simple | Mode::Structured => self.simple(0),
            Mode::Extended => self.chunk(NONE, DONE, 0),
        }
    }

    /// Appends a failure. `text` is for people.
    pub(crate) fn error(&mut self, errno: Errno, text: &str) {
        if self.mode == Mode::Simple {
            return self.simple(errno.code());
        }
        let text = &text.as_bytes()[..text.len().min(512)];
        // At most 512.
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.chunk(ERROR, DONE, 6 + text.len());
        self.put(&errno.code().to_be_bytes());
        self.put(&len.to_be_bytes());
        self.put(text);
    }

    /// Appends `len` bytes of data from `read`, as chunks of data and holes, or as one chunk if
    /// `unbroken`.
    ///
    /// # Errors
    /// The error of `read`; then nothing was appended.
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
        self.chunks(self.request.offset, len, DONE, read)
    }

    /// Appends a part of the data of a reply. [`end`](Self::end) or an error ends the reply. Not
    /// for simple replies.
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

    /// Ends a reply that was appended in parts.
    pub(crate) fn end(&mut self) {
        self.chunk(NONE, DONE, 0);
    }

    /// Begins a reply of `len` bytes in one chunk, or a simple reply. One or more calls of
    /// [`rest`](Self::rest) append the data.
    pub(crate) fn unbroken(&mut self, len: usize) {
        if self.mode == Mode::Simple {
            return self.simple(0);
        }
        self.chunk(OFFSET_DATA, DONE, 8 + len);
        self.put(&self.request.offset.to_be_bytes());
    }

    /// Appends the next `len` bytes of an unbroken reply.
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

    /// Appends chunks of data and holes, the last one with `flags`.
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

    /// Replaces long runs of zeroes in the last `len` bytes by holes. These bytes are the data from
    /// `offset` on, and their reply begins at `begin`. The chunk of a hole and the head of the next
    /// chunk are shorter than the hole, so data only moves towards the front.
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
        self.put(&to_u32(len).to_be_bytes());
    }

    /// Appends the extents of one context. With `last`, they end the reply.
    pub(crate) fn status(&mut self, context: u32, extents: &[Extent], last: bool) {
        let flags = if last { DONE } else { 0 };
        if self.mode == Mode::Extended {
            self.chunk(BLOCK_STATUS_EXT, flags, 8 + 16 * extents.len());
            self.put(&context.to_be_bytes());
            self.put(&to_u32(extents.len()).to_be_bytes());
            for extent in extents {
                self.put(&extent.len.to_be_bytes());
                self.put(&extent.status.to_be_bytes());
            }
            return;
        }
        self.chunk(BLOCK_STATUS, flags, 4 + 8 * extents.len());
        self.put(&context.to_be_bytes());
        for extent in extents {
            // The length of a request has 32 bits in this mode, and no extent is longer than the
            // request.
            self.put(&u32::try_from(extent.len).unwrap_or(u32::MAX).to_be_bytes());
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
        self.put(&self.request.cookie.to_be_bytes());
    }

    fn chunk(&mut self, kind: u16, flags: u16, len: usize) {
        let magic = match self.mode {
            Mode::Extended => EXTENDED_MAGIC,
            Mode::Simple | Mode::Structured => STRUCTURED_MAGIC,
        };
        self.put(&magic.to_be_bytes());
        self.put(&flags.to_be_bytes());
        self.put(&kind.to_be_bytes());
        self.put(&self.request.cookie.to_be_bytes());
        if self.mode == Mode::Extended {
            self.put(&self.request.offset.to_be_bytes());
            self.put(&(len as u64).to_be_bytes());
        } else {
            self.put(&to_u32(len).to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.grow(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `len` bytes of unspecified contents, and returns them.
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

/// Returns the first run of zeroes in `bytes` that is worth a chunk of its own: at least a whole
/// page, from page boundary to page boundary. `offset` is the offset of `bytes` on the device. For
/// a page of data, only its first bytes are read.
fn next_hole(bytes: &[u8], offset: u64) -> Option<Range<usize>> {
    let mut zeroes = 0..0;
    while zeroes.end < bytes.len() {
        let page = PAGE - (to_usize(offset) + zeroes.end) % PAGE;
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
