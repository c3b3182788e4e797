//! The heads of requests.

use super::wire::Reader;
use super::{Mode, Violation};

const MAGIC: u32 = 0x2560_9513;
const EXTENDED_MAGIC: u32 = 0x21e4_1c71;

/// Flags of requests.
pub(crate) mod flag {
    pub(crate) const FUA: u16 = 1;
    pub(crate) const NO_HOLE: u16 = 1 << 1;
    pub(crate) const DF: u16 = 1 << 2;
    pub(crate) const REQ_ONE: u16 = 1 << 3;
    pub(crate) const FAST_ZERO: u16 = 1 << 4;
    pub(crate) const PAYLOAD_LEN: u16 = 1 << 5;
}

/// The command of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    Cache,
    WriteZeroes,
    BlockStatus,
    Unknown(u16),
}

impl From<u16> for Command {
    fn from(code: u16) -> Self {
        match code {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::Disconnect,
            3 => Self::Flush,
            4 => Self::Trim,
            5 => Self::Cache,
            6 => Self::WriteZeroes,
            7 => Self::BlockStatus,
            other => Self::Unknown(other),
        }
    }
}

impl Command {
    /// Returns its name in the protocol.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "NBD_CMD_READ",
            Self::Write => "NBD_CMD_WRITE",
            Self::Disconnect => "NBD_CMD_DISC",
            Self::Flush => "NBD_CMD_FLUSH",
            Self::Trim => "NBD_CMD_TRIM",
            Self::Cache => "NBD_CMD_CACHE",
            Self::WriteZeroes => "NBD_CMD_WRITE_ZEROES",
            Self::BlockStatus => "NBD_CMD_BLOCK_STATUS",
            Self::Unknown(_) => "another command",
        }
    }
}

/// A request without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) command: Command,
    pub(crate) flags: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Head {
    /// Returns the number of bytes of a head.
    pub(crate) const fn len(mode: Mode) -> usize {
        match mode {
            Mode::Simple | Mode::Structured => 28,
            Mode::Extended => 32,
        }
    }

    /// Returns the head at the start of `bytes`, or `None` if there are too few bytes.
    pub(crate) fn parse(mode: Mode, bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let mut bytes = Reader(bytes);
        let Some(magic) = bytes.u32() else {
            return Ok(None);
        };
        let expected = match mode {
            Mode::Simple | Mode::Structured => MAGIC,
            Mode::Extended => EXTENDED_MAGIC,
        };
        if magic != expected {
            return Err(Violation::RequestMagic(magic));
        }
        Ok(Self::fields(mode, &mut bytes))
    }

    fn fields(mode: Mode, bytes: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            flags: bytes.u16()?,
            command: bytes.u16()?.into(),
            cookie: bytes.u64()?,
            offset: bytes.u64()?,
            length: match mode {
                Mode::Simple | Mode::Structured => u64::from(bytes.u32()?),
                Mode::Extended => bytes.u64()?,
            },
        })
    }

    /// Returns the bytes of payload that follow the head, whether the request is valid or not. A
    /// write always has a payload: QEMU (8.2 to 10.0 at least) does not announce it in extended
    /// headers, though the protocol asks for that.
    ///
    /// # Errors
    /// [`Violation::Payload`] if there are more than `most`.
    pub(crate) fn payload(&self, mode: Mode, most: u32) -> Result<usize, Violation> {
        let announced = mode == Mode::Extended && self.flags & flag::PAYLOAD_LEN != 0;
        if self.command != Command::Write && !announced {
            return Ok(0);
        }
        let len = usize::try_from(self.length).ok();
        len.filter(|len| *len as u64 <= u64::from(most))
            .ok_or(Violation::Payload {
                len: self.length,
                most: u64::from(most),
            })
    }
}
