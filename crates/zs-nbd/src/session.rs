//! Executes requests on the device, one after the other.

use crate::device::{Context, Device, Errno, Extents, Space};
use crate::lengths::to_usize;
use crate::proto::{Agreement, Command, Head, Mode, Replies, flag};
use crate::refusals::Refusals;
use std::sync::Arc;

/// The most extents of a block status reply in one context: 64 KiB of them.
const MAX_EXTENTS: usize = 4096;
/// The length in bytes from which a command without payload may take long.
const LONG: u64 = 1 << 20;

/// The export of a connection, and the agreed format of its requests and replies.
#[derive(Debug)]
pub(crate) struct Session {
    agreement: Agreement,
    refusals: Arc<Refusals>,
}

/// The reason why a request fails: the protocol's error, and a text for people.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    errno: Errno,
    /// The kind of mistake, from a fixed list. Each kind is reported once for a client.
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

/// Returns a refusal whose text is its kind.
fn refuse<T>(errno: Errno, kind: &'static str) -> Result<T, Refusal> {
    refuse_with(errno, kind, kind.to_owned())
}

fn refuse_with<T>(errno: Errno, kind: &'static str, text: String) -> Result<T, Refusal> {
    Err(Refusal { errno, kind, text })
}

impl Session {
    /// Makes a session from the result of a handshake. Each error that is answered is noted in
    /// `refusals`.
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

    /// Returns the bytes of payload, in or out, of a request.
    pub(crate) fn weight(&self, head: &Head) -> u64 {
        match head.command {
            Command::Read | Command::Write => {
                let most = u64::from(self.device().block_sizes().maximum);
                head.length.min(most)
            }
            _ => 0,
        }
    }

    /// Says whether a request may take long, whatever the usual service time of reads and writes.
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

    /// Returns the most bytes of the answer to a read, and 0 for other requests, whose answers are
    /// short.
    pub(crate) fn answer_len(&self, head: &Head) -> usize {
        match self.weight(head) {
            len if head.command == Command::Read && len == head.length => {
                Replies::data_len(to_usize(len))
            }
            _ => 0,
        }
    }

    /// Says whether the reply to a read must be in one piece.
    pub(crate) fn is_unbroken(&self, head: &Head) -> bool {
        self.agreement.mode == Mode::Simple || head.flags & flag::DF != 0
    }

    /// Checks a request that is executed in pieces: its flags and its range. Commands other than
    /// reads and writes are refused.
    pub(crate) fn check(&self, head: &Head) -> Result<(), Refusal> {
        self.check_flags(head)?;
        match head.command {
            Command::Read | Command::Write => self.check_range(head),
            _ => refuse(Errno::Inval, "a payload with a command that has none"),
        }
    }

    /// Answers a request after its last piece.
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

    /// Executes a request whose payload is whole, and answers it.
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
                // At most `BlockSizes::maximum`, which has 32 bits.
                let unbroken = head.flags & flag::DF != 0;
                out.data(to_usize(len), unbroken, |buf| device.read(offset, buf))?;
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
        // With simple replies every reply to a read is in one piece, and with compact headers every
        // write has a payload of its length. So these flags change nothing there, and are allowed.
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

    /// Checks the range of a command that has one.
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
        // All contexts are asked before the first is answered, because an error must be the whole
        // answer.
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
