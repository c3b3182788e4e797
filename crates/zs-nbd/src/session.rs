//! One request after the other, against the device.

use crate::device::{Context, Device, Errno, Extents, Space};
use crate::proto::{Agreement, Command, Head, Mode, Replies, flag};

/// Most pieces of one block status in one context: 64 KiB of them.
const MAX_EXTENTS: usize = 4096;
/// Bytes from which on a command without payload may take long.
const LONG: u64 = 1 << 20;

/// What a connection's requests are about.
#[derive(Debug)]
pub(crate) struct Session {
    agreement: Agreement,
}

/// Why a request fails, in the protocol's words and in people's.
struct Refusal {
    errno: Errno,
    text: String,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            text: errno.to_string(),
        }
    }
}

fn refuse<T>(errno: Errno, text: impl Into<String>) -> Result<T, Refusal> {
    let text = text.into();
    Err(Refusal { errno, text })
}

impl Session {
    pub(crate) fn new(agreement: Agreement) -> Self {
        Self { agreement }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.agreement.mode
    }

    pub(crate) fn device(&self) -> &dyn Device {
        &**self.agreement.export.device()
    }

    /// Bytes of payload, in or out, that a request takes.
    pub(crate) fn weight(&self, head: &Head) -> u64 {
        match head.command {
            Command::Read | Command::Write => {
                let most = u64::from(self.device().block_sizes().maximum);
                head.length.min(most)
            }
            _ => 0,
        }
    }

    /// Whether a request may take long, however fast those were that only move their payload.
    pub(crate) fn may_take_long(&self, head: &Head) -> bool {
        let flushes = head.flags & flag::FUA != 0;
        match head.command {
            Command::Flush => true,
            Command::Write => flushes,
            Command::Trim | Command::WriteZeroes | Command::Cache | Command::BlockStatus => {
                flushes || head.length >= LONG
            }
            Command::Read | Command::Disconnect | Command::Unknown(_) => false,
        }
    }

    /// Most bytes of the answer to a request without payload, if they are many.
    pub(crate) fn answer_len(&self, head: &Head) -> usize {
        let most = u64::from(self.device().block_sizes().maximum);
        if head.command == Command::Read && head.length <= most {
            return Replies::data_len(head.length as usize);
        }
        0
    }

    /// Answers a request whose payload is here.
    pub(crate) fn execute(&self, head: &Head, payload: &[u8], replies: &mut Replies) {
        replies.answer(head.cookie, head.offset);
        if let Err(refusal) = self.attempt(head, payload, replies) {
            replies.error(refusal.errno, &refusal.text);
        }
    }

    /// Answers a request that is not done.
    pub(crate) fn refuse(&self, head: &Head, errno: Errno, replies: &mut Replies) {
        replies.answer(head.cookie, head.offset);
        replies.error(errno, &errno.to_string());
    }

    fn attempt(&self, head: &Head, payload: &[u8], out: &mut Replies) -> Result<(), Refusal> {
        self.check_flags(head)?;
        let device = self.device();
        if head.command == Command::Flush {
            device.flush()?;
            out.done();
            return Ok(());
        }
        self.check_range(head)?;
        let (offset, len) = (head.offset, head.length);
        match head.command {
            Command::Read => {
                // At most the largest block, which has 32 bits.
                let unbroken = head.flags & flag::DF != 0;
                out.data(len as usize, unbroken, |buf| device.read(offset, buf));
                return Ok(());
            }
            Command::BlockStatus => return self.block_status(head, out),
            Command::Write => device.write(offset, payload)?,
            Command::Trim => device.trim(offset, len)?,
            Command::Cache => device.prefetch(offset, len)?,
            Command::WriteZeroes => {
                if head.flags & flag::FAST_ZERO != 0 && !device.zeroes_fast() {
                    return refuse(Errno::NotSup, "not faster than a write");
                }
                let keep = head.flags & flag::NO_HOLE != 0;
                let space = if keep { Space::Keep } else { Space::MayFree };
                device.write_zeroes(offset, len, space)?;
            }
            Command::Flush | Command::Disconnect | Command::Unknown(_) => {}
        }
        if head.flags & flag::FUA != 0 {
            device.flush()?;
        }
        out.done();
        Ok(())
    }

    fn check_flags(&self, head: &Head) -> Result<(), Refusal> {
        let structured = self.agreement.mode != Mode::Simple;
        let known = flag::FUA
            | match head.command {
                Command::Read if structured => flag::DF,
                Command::Write if self.agreement.mode == Mode::Extended => flag::PAYLOAD_LEN,
                Command::WriteZeroes => flag::NO_HOLE | flag::FAST_ZERO,
                Command::BlockStatus => flag::REQ_ONE,
                Command::Unknown(code) => {
                    return refuse(Errno::Inval, format!("there is no command {code}"));
                }
                _ => 0,
            };
        if head.flags & !known != 0 {
            let text = format!("flags {:#x}; allowed here are {known:#x}", head.flags);
            return refuse(Errno::Inval, text);
        }
        if head.command == Command::Write
            && self.agreement.mode == Mode::Extended
            && head.flags & flag::PAYLOAD_LEN == 0
        {
            return refuse(Errno::Inval, "a write without NBD_CMD_FLAG_PAYLOAD_LEN");
        }
        Ok(())
    }

    /// Of a command that has a range.
    fn check_range(&self, head: &Head) -> Result<(), Refusal> {
        let device = self.device();
        let (offset, len) = (head.offset, head.length);
        let writes = matches!(
            head.command,
            Command::Write | Command::WriteZeroes | Command::Trim
        );
        if writes && device.read_only() {
            return refuse(Errno::Perm, "the export is read-only");
        }
        if len == 0 {
            return refuse(Errno::Inval, "a length of 0");
        }
        let sizes = device.block_sizes();
        let grain = u64::from(sizes.minimum);
        if offset % grain != 0 || len % grain != 0 {
            let text = format!("offset {offset}, length {len}: not multiples of {grain}");
            return refuse(Errno::Inval, text);
        }
        let size = device.size();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            let grows = matches!(head.command, Command::Write | Command::WriteZeroes);
            let errno = if grows { Errno::NoSpc } else { Errno::Inval };
            let text = format!("offset {offset}, length {len}: past the end, {size}");
            return refuse(errno, text);
        }
        if head.command == Command::Read && len > u64::from(sizes.maximum) {
            let text = format!("length {len}: the most is {}", sizes.maximum);
            return refuse(Errno::Inval, text);
        }
        Ok(())
    }

    fn block_status(&self, head: &Head, out: &mut Replies) -> Result<(), Refusal> {
        let one = head.flags & flag::REQ_ONE != 0;
        let most = if one { 1 } else { MAX_EXTENTS };
        let contexts = &self.agreement.contexts;
        if contexts.is_empty() {
            return refuse(Errno::Inval, "no context was agreed upon");
        }
        // All are asked before the first is told: an error is the whole answer.
        let mut found: Vec<(Context, Extents)> = Vec::new();
        for context in contexts {
            let mut extents = Extents::new(head.length, most, *context);
            let device = self.device();
            device.block_status(head.offset, &mut extents, *context)?;
            if extents.list().is_empty() {
                return refuse(Errno::Io, "the device knows nothing of this range");
            }
            found.push((*context, extents));
        }
        for (index, (context, extents)) in found.iter().enumerate() {
            out.status(context.id(), extents.list(), index + 1 == found.len());
        }
        Ok(())
    }
}
