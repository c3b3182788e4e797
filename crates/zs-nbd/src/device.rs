//! What a block device has to do to be served.

use std::error::Error;
use std::fmt;

/// A block device: bytes `0..size()`.
///
/// The server calls it from several threads at once, and checks each range against
/// [`size`](Self::size), [`block_sizes`](Self::block_sizes) and [`read_only`](Self::read_only)
/// before. A device that shrinks meanwhile answers [`Errno::Inval`] itself. Whatever is called may
/// block; other requests of the connection go on beside it.
pub trait Device: Send + Sync {
    /// Returns the number of bytes that there are. A client learns of a change when it connects
    /// again.
    fn size(&self) -> u64;

    /// Runs a client's session, from the end of its handshake to the end of its connection. What
    /// this does around it, the device does for each client; several sessions run at once.
    ///
    /// # Errors
    /// Whatever keeps the client out: it is told so, and `session` was not called.
    fn attached(&self, session: &mut dyn FnMut()) -> Result<(), Errno> {
        session();
        Ok(())
    }

    /// Returns what requests have to look like.
    fn block_sizes(&self) -> BlockSizes {
        BlockSizes::default()
    }

    /// Says whether writes, discards and write-zeroes are refused.
    fn read_only(&self) -> bool {
        false
    }

    /// Says whether [`write_zeroes`](Self::write_zeroes) is faster than writing zeroes, whatever
    /// the range and [`Space`] are. Only then clients are offered to ask for nothing slower
    /// (`NBD_CMD_FLAG_FAST_ZERO`).
    fn zeroes_fast(&self) -> bool {
        false
    }

    /// Reads `buf.len()` bytes from `offset`. After [`Content::Data`] every byte of `buf` must be
    /// written: it comes with bytes of earlier requests in it; zeroes among them are found
    /// there, and sent as holes. After [`Content::Zeroes`] the whole range reads as zeroes, and
    /// what is in `buf` counts for nothing.
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

    /// Returns when every write that has returned is as safe as this device can make it. A request
    /// with FUA is the operation, then this.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn flush(&self) -> Result<(), Errno>;

    /// Takes a hint that the range will be read soon.
    ///
    /// # Errors
    /// Whatever the client shall be told.
    fn prefetch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let _ = (offset, len);
        Ok(())
    }

    /// Says whether [`block_status`](Self::block_status) knows of `context`.
    /// [`Context::Allocation`] every device must know.
    fn knows(&self, context: Context) -> bool {
        context == Context::Allocation
    }

    /// Pushes the state of the range from `offset` on, in order, until `extents` takes no more.
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
    /// Bytes, all of them in the buffer.
    Data,
    /// Nothing but zeroes; the buffer was left as it was, or not.
    Zeroes,
}

/// The space under zeroes that are written: kept, or given up.
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
    /// Offsets and lengths are multiples of it: a power of two, at most 64 KiB.
    pub minimum: u32,
    /// Requests do best in multiples of it: a power of two, at least 512.
    pub preferred: u32,
    /// Most bytes that one read or write carries.
    pub maximum: u32,
}

impl Default for BlockSizes {
    /// Any byte, 4 KiB, 32 MiB: what every client takes.
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
    /// `x-zs:stored-size`: bytes that the extent takes as it is stored.
    StoredSize,
}

impl Context {
    pub(crate) const ALL: [Self; 2] = [Self::Allocation, Self::StoredSize];

    /// Its name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
            Self::StoredSize => "x-zs:stored-size",
        }
    }

    /// Its identifier in replies.
    pub(crate) const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::StoredSize => 2,
        }
    }
}

/// A piece of a device and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes; never 0.
    pub len: u64,
    /// What the context says of them. Clients without extended headers are told [`u32::MAX`] in
    /// place of more.
    pub status: u64,
}

/// The states of consecutive pieces, as many as a reply takes.
#[derive(Debug)]
pub struct Extents {
    list: Vec<Extent>,
    left: u64,
    most: usize,
    merge: bool,
}

impl Extents {
    /// Bytes that somebody wrote.
    pub const DATA: u64 = 0;
    /// Allocated, and known to read as zeroes.
    pub const ZERO: u64 = 2;
    /// Not allocated; reads as zeroes.
    pub const HOLE: u64 = 3;

    /// For `len` bytes and at most `most` pieces.
    #[must_use]
    pub fn new(len: u64, most: usize, context: Context) -> Self {
        Self {
            list: Vec::new(),
            left: len,
            most,
            merge: context == Context::Allocation,
        }
    }

    /// Adds the next `len` bytes, cut at the end of the range. Neighbours of one allocation state
    /// become one piece. Returns whether more is wanted: not beyond what the reply takes, nor
    /// what there is memory for.
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

    /// Returns the number of bytes of the range that nobody has said anything about.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Returns what there is so far.
    #[must_use]
    pub fn list(&self) -> &[Extent] {
        &self.list
    }
}

/// An error as the protocol knows it.
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
    /// Returns the same in words.
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
