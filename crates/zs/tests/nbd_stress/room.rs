//! Requests for which there is no room: what may be refused, and what is there then.

use crate::connection::Request;
use crate::layout::BLOCK;
use crate::nbd::{READ, TRIM, WRITE, ZEROES};
use crate::worker::{Asked, Worker};

/// What a server answers that has no room (`NBD_ENOSPC`).
pub(crate) const NO_ROOM: u32 = 28;

fn is_whole(request: &Request) -> bool {
    let block = BLOCK as u64;
    request.offset.is_multiple_of(block) && request.len.is_multiple_of(block)
}

impl Worker<'_> {
    /// Whether there may be no room for a request: for what was written, and for what is left of
    /// blocks that are zeroed in part; never for a discard, nor for whole blocks of zeroes.
    pub(crate) fn may_be_refused(&self, request: &Request) -> bool {
        let may = match request.command {
            WRITE => true,
            ZEROES => !is_whole(request),
            _ => false,
        };
        self.stage.regime.is_tight && may
    }

    /// Whether parts of blocks may stay as they were, though a request was answered with success.
    pub(crate) fn may_round(&self, request: &Request) -> bool {
        self.stage.regime.is_tight && request.command == TRIM && !is_whole(request)
    }

    pub(crate) fn count_refusal(&mut self, command: u16, is_refused: bool) {
        let what = match (command, is_refused) {
            (WRITE, true) => "write refused for want of room",
            (_, true) => "zeroes of a part refused for want of room",
            (WRITE, false) if self.is_refused => "write taken after one that was refused",
            _ => return,
        };
        self.stage.tally.add(what, 1);
        self.is_refused = command == WRITE && is_refused;
    }

    /// Reads what a request may have changed or not: each block is as before, or as asked for.
    pub(crate) fn settle(&mut self, asked: &Asked, is_refused: bool) -> Result<(), String> {
        let request = &asked.request;
        let range = request.offset..request.offset + request.len;
        let read = Request {
            command: READ,
            flags: 0,
            payload: Vec::new(),
            ..*request
        };
        let exchanged = self.connection.exchange(&[read]);
        let (replies, _) = exchanged.map_err(|error| error.to_string())?;
        if replies[0].error != 0 {
            return Err(format!("read again: error {}", replies[0].error));
        }
        for (block, before) in &asked.before {
            let kept = (*block, before.clone());
            let stayed = self.expected.settle(kept, &range, &replies[0].data)?;
            let what = match is_refused {
                true => "blocks that a refused write left as they were",
                false => "parts that a discard left as they were",
            };
            self.stage.tally.add(what, stayed.into());
        }
        Ok(())
    }
}
