//! One request after the other, against the device.

use crate::device::{Context, Device, Errno, Extents, Space};
use crate::proto::{Agreement, Command, Head, Mode, Replies, flag};
use crate::refusals::Refusals;
use std::sync::Arc;

/// Most pieces of one block status in one context: 64 KiB of them.
const MAX_EXTENTS: usize = 4096;
/// Bytes from which on a command without payload may take long.
const LONG: u64 = 1 << 20;

/// The export of a connection, and the way to speak about it.
#[derive(Debug)]
pub(crate) struct Session {
    agreement: Agreement,
    refusals: Arc<Refusals>,
}

/// Why a request fails, in the protocol's words and in people's.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    errno: Errno,
    /// Which of the mistakes that there are it is.
    kind: &'static str,
    text: String,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            kind: errno.text(),
            text: errno.text().to_owned(),
        }
    }
}

/// Refuses for a reason that needs no figures.
fn refuse<T>(errno: Errno, kind: &'static str) -> Result<T, Refusal> {
    refuse_with(errno, kind, kind.to_owned())
}

fn refuse_with<T>(errno: Errno, kind: &'static str, text: String) -> Result<T, Refusal> {
    Err(Refusal { errno, kind, text })
}

impl Session {
    /// Begins one with what was agreed upon. What is answered with an error, `refusals` tells.
    pub(crate) fn new(agreement: Agreement, refusals: Arc<Refusals>) -> Self {
        Self {
            agreement,
            refusals,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.agreement.mode
    }

    pub(crate) fn device(&self) -> &dyn Device {
        &**self.agreement.export.device()
    }

    /// Returns the number of bytes of payload, in or out, that a request takes.
    pub(crate) fn weight(&self, head: &Head) -> u64 {
        match head.command {
            Command::Read | Command::Write => {
                let most = u64::from(self.device().block_sizes().maximum);
                head.length.min(most)
            }
            _ => 0,
        }
    }

    /// Says whether a request may take long, however fast those were that only move their payload.
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

    /// Most bytes of the answer to a request, if they are many.
    pub(crate) fn answer_len(&self, head: &Head) -> usize {
        match self.weight(head) {
            len if head.command == Command::Read && len == head.length => {
                Replies::data_len(len as usize)
            }
            _ => 0,
        }
    }

    /// Says whether the reply to a read must be in one piece.
    pub(crate) fn is_unbroken(&self, head: &Head) -> bool {
        self.agreement.mode == Mode::Simple || head.flags & flag::DF != 0
    }

    /// Returns what is wrong with a request that is done in pieces; of others than reads and
    /// writes, that they are no such request.
    pub(crate) fn check(&self, head: &Head) -> Result<(), Refusal> {
        self.check_flags(head)?;
        match head.command {
            Command::Read | Command::Write => self.check_range(head),
            _ => refuse(Errno::Inval, "a payload with a command that has none"),
        }
    }

    /// Answers a request that came in pieces, all of which are done.
    pub(crate) fn finish(&self, head: &Head, done: Result<(), Refusal>, replies: &mut Replies) {
        replies.answer(head.cookie, head.offset);
        let writes = head.command == Command::Write;
        let flushed = done.and_then(|()| match writes && head.flags & flag::FUA != 0 {
            true => Ok(self.device().flush()?),
            false => Ok(()),
        });
        match flushed {
            Err(refusal) => self.decline(head, &refusal, replies),
            Ok(()) if writes => replies.done(),
            Ok(()) => replies.end(),
        }
    }

    /// Answers a request whose payload is here.
    pub(crate) fn execute(&self, head: &Head, payload: &[u8], replies: &mut Replies) {
        replies.answer(head.cookie, head.offset);
        if let Err(refusal) = self.attempt(head, payload, replies) {
            self.decline(head, &refusal, replies);
        }
    }

    fn decline(&self, head: &Head, refusal: &Refusal, replies: &mut Replies) {
        let asked = head.command.name();
        self.refusals.note(asked, refusal.kind, &refusal.text);
        replies.error(refusal.errno, &refusal.text);
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
            Command::Read if len == 0 => {
                out.no_data();
                return Ok(());
            }
            Command::Read => {
                // At most the largest block, which has 32 bits.
                let unbroken = head.flags & flag::DF != 0;
                out.data(len as usize, unbroken, |buf| device.read(offset, buf))?;
                return Ok(());
            }
            Command::BlockStatus => return self.block_status(head, out),
            _ if len == 0 => {}
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
        // In simple replies every read comes unbroken, and in compact headers every write says its
        // payload's length: there these flags have one meaning, too.
        let known = flag::FUA
            | match head.command {
                Command::Read => flag::DF,
                Command::Write => flag::PAYLOAD_LEN,
                Command::WriteZeroes => flag::NO_HOLE | flag::FAST_ZERO,
                Command::BlockStatus => flag::REQ_ONE,
                Command::Unknown(code) => {
                    let text = format!("there is no command {code}");
                    return refuse_with(Errno::Inval, "unknown", text);
                }
                _ => 0,
            };
        if head.flags & !known != 0 {
            let text = format!("flags {:#x}; allowed here are {known:#x}", head.flags);
            return refuse_with(Errno::Inval, "flags", text);
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
        if len == 0 && head.command == Command::BlockStatus {
            return refuse(
                Errno::Inval,
                "a length of 0, of which there is nothing to tell",
            );
        }
        let sizes = device.block_sizes();
        let grain = u64::from(sizes.minimum);
        if offset % grain != 0 || len % grain != 0 {
            let text = format!("offset {offset}, length {len}: not multiples of {grain}");
            return refuse_with(Errno::Inval, "not multiples", text);
        }
        let size = device.size();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            let grows = matches!(head.command, Command::Write | Command::WriteZeroes);
            let errno = if grows { Errno::NoSpc } else { Errno::Inval };
            let text = format!("offset {offset}, length {len}: past the end, {size}");
            return refuse_with(errno, "past the end", text);
        }
        if head.command == Command::Read && len > u64::from(sizes.maximum) {
            let text = format!("length {len}: the most is {}", sizes.maximum);
            return refuse_with(Errno::Inval, "too long", text);
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
