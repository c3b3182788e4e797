//! The trait that a block device implements to be served.

use std::error::Error;
use std::fmt;

/// A block device: bytes `0..size()`.
///
/// The server calls it from several threads at once. It checks each range against
/// [`size`](Self::size), [`block_sizes`](Self::block_sizes) and [`read_only`](Self::read_only)
/// first. A device that shrinks in between returns [`Errno::Inval`] itself. Every method may block;
/// other requests of the connection go on meanwhile.
pub trait Device: Send + Sync {
    /// Returns the size in bytes. A client learns of a change only when it connects again.
    fn size(&self) -> u64;

    /// Runs a client's session, from the end of its handshake to the end of its connection. A
    /// device may do work for each client before and after it. Several sessions run at once.
    ///
    /// # Errors
    /// The reason for refusing the client, which is told to it. Then `session` must not have been
    /// called.
    fn attached(&self, session: &mut dyn FnMut()) -> Result<(), Errno> {
        session();
        Ok(())
    }

    /// Returns the block sizes that requests must keep to.
    fn block_sizes(&self) -> BlockSizes {
        BlockSizes::default()
    }

    /// Says whether writes, discards and write-zeroes are refused.
    fn read_only(&self) -> bool {
        false
    }

    /// Says whether [`write_zeroes`](Self::write_zeroes) is always faster than writing zeroes,
    /// whatever the range and [`Space`]. Only then is `NBD_CMD_FLAG_FAST_ZERO` offered to clients.
    fn zeroes_fast(&self) -> bool {
        false
    }

    /// Reads `buf.len()` bytes from `offset`. A device that returns [`Content::Data`] must have
    /// written every byte of `buf`, which holds bytes of earlier requests at first. The server
    /// looks for zeroes in it and sends them as holes. A device that returns [`Content::Zeroes`]
    /// need not touch `buf`: the whole range reads as zeroes.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<Content, Errno>;

    /// Writes `bytes` at `offset`. All bytes have arrived.
    ///
    /// # Errors
    /// Whatever the client shall be told; [`Errno::NoSpc`] at a limit.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;

    /// Makes `len` bytes from `offset` read as zeroes.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn write_zeroes(&self, offset: u64, len: u64, space: Space) -> Result<(), Errno>;

    /// Discards `len` bytes from `offset`: a hint.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn trim(&self, offset: u64, len: u64) -> Result<(), Errno>;

    /// Makes every write that has returned as safe as this device can. A request with the FUA flag
    /// is the operation, then a flush.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn flush(&self) -> Result<(), Errno>;

    /// Takes the hint that the range will be read soon.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn prefetch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let _ = (offset, len);
        Ok(())
    }

    /// Says whether [`block_status`](Self::block_status) supports `context`. Every device must
    /// support [`Context::Allocation`].
    fn knows(&self, context: Context) -> bool {
        context == Context::Allocation
    }

    /// Pushes the extents of the range from `offset` on, in order, until `extents` takes no more.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn block_status(
        &self,
        offset: u64,
        extents: &mut Extents,
        context: Context,
    ) -> Result<(), Errno>;
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The buffer holds the bytes.
    Data,
    /// The range reads as zeroes. The contents of the buffer do not count.
    Zeroes,
}

/// The storage of a range of zeroes: kept, or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The range may become a hole.
    MayFree,
    /// It stays allocated (`NBD_CMD_FLAG_NO_HOLE`).
    Keep,
}

/// Sizes of blocks, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Offsets and lengths must be multiples of this: a power of two, at most 64 KiB.
    pub minimum: u32,
    /// Requests are fastest in multiples of this: a power of two, at least 512.
    pub preferred: u32,
    /// The most bytes of one read or write.
    pub maximum: u32,
}

impl Default for BlockSizes {
    /// Returns 1 byte, 4 KiB and 32 MiB, which every client supports.
    fn default() -> Self {
        Self {
            minimum: 1,
            preferred: 4096,
            maximum: 32 << 20,
        }
    }
}

/// The context of a block status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `base:allocation`: [`Extents::DATA`], [`Extents::ZERO`] or [`Extents::HOLE`].
    Allocation,
    /// `x-zs:stored-size`: the bytes that the extent takes in storage.
    StoredSize,
}

impl Context {
    pub(crate) const ALL: [Self; 2] = [Self::Allocation, Self::StoredSize];

    /// Returns its name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
            Self::StoredSize => "x-zs:stored-size",
        }
    }

    /// Returns its identifier in replies.
    pub(crate) const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::StoredSize => 2,
        }
    }
}

/// A range of a device, and its status in one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The length in bytes; never 0.
    pub len: u64,
    /// The status in the context. Clients without extended headers get [`u32::MAX`] in place of a
    /// larger one.
    pub status: u64,
}

/// Consecutive extents, as many as a reply holds.
#[derive(Debug)]
pub struct Extents {
    list: Vec<Extent>,
    left: u64,
    most: usize,
    merge: bool,
}

impl Extents {
    /// Allocated bytes.
    pub const DATA: u64 = 0;
    /// Allocated bytes that are known to be zeroes.
    pub const ZERO: u64 = 2;
    /// Bytes that are not allocated, and read as zeroes.
    pub const HOLE: u64 = 3;

    /// Makes an empty list for `len` bytes and at most `most` extents.
    #[must_use]
    pub fn new(len: u64, most: usize, context: Context) -> Self {
        Self {
            list: Vec::new(),
            left: len,
            most,
            merge: context == Context::Allocation,
        }
    }

    /// Adds an extent of the next `len` bytes, cut at the end of the range. Neighbours with the
    /// same allocation status become one extent. Returns whether more extents are wanted: not after
    /// the end of the range, nor when the reply is full or there is no memory for it.
    pub fn push(&mut self, len: u64, status: u64) -> bool {
        let len = len.min(self.left);
        let full = self.list.len() == self.most || self.list.try_reserve(1).is_err();
        match self.list.last_mut() {
            Some(last) if self.merge && last.status == status => last.len += len,
            _ if full => return false,
            _ if len == 0 => {}
            _ => self.list.push(Extent { len, status }),
        }
        self.left -= len;
        self.left > 0
    }

    /// Returns the bytes of the range for which no extent was pushed yet.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Returns the extents so far.
    #[must_use]
    pub fn list(&self) -> &[Extent] {
        &self.list
    }
}

/// An error of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// Not permitted.
    Perm,
    /// Input or output failed.
    Io,
    /// No memory.
    NoMem,
    /// The request is wrong.
    Inval,
    /// No space is left, or the write is past the end.
    NoSpc,
    /// Too large for one reply.
    Overflow,
    /// Not supported.
    NotSup,
    /// The server ends.
    Shutdown,
}

impl Errno {
    /// Returns the protocol's number.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Perm => 1,
            Self::Io => 5,
            Self::NoMem => 12,
            Self::Inval => 22,
            Self::NoSpc => 28,
            Self::Overflow => 75,
            Self::NotSup => 95,
            Self::Shutdown => 108,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Errno {
    /// Returns its text.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Perm => "not permitted",
            Self::Io => "input or output failed",
            Self::NoMem => "no memory",
            Self::Inval => "the request is wrong",
            Self::NoSpc => "no space left",
            Self::Overflow => "too large for one reply",
            Self::NotSup => "not supported",
            Self::Shutdown => "the server ends",
        }
    }
}

impl Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_merge_and_end() {
        let mut extents = Extents::new(10_000, 2, Context::Allocation);
        assert!(extents.push(4096, Extents::HOLE));
        assert!(extents.push(100, Extents::HOLE));
        assert!(extents.push(100, Extents::DATA));
        assert!(!extents.push(1, Extents::HOLE), "two is most");
        let hole = Extent {
            len: 4196,
            status: Extents::HOLE,
        };
        assert_eq!(extents.list()[0], hole);
        assert!(!extents.push(u64::MAX, Extents::DATA), "cut at the end");
        assert_eq!(extents.list()[1].len, 10_000 - 4196);
    }

    #[test]
    fn stored_sizes_stay_apart() {
        let mut extents = Extents::new(8192, 9, Context::StoredSize);
        assert!(extents.push(4096, 7));
        assert!(!extents.push(4096, 7));
        assert_eq!(extents.list().len(), 2);
    }
}
