//! What the bytes of one connection must be, and which state its blocks must be in.

use crate::connection::{NO_HOLE, Request};
use crate::layout::{BLOCK, blocks, share, within};
use crate::nbd::{WRITE, ZEROES};
use crate::tally::Tally;
use std::collections::HashMap;
use std::ops::Range;
use zs_nbd::Extents;

/// Blocks as they were before a request; `None` if nothing was known of one.
pub(crate) type Before = Vec<(u64, Option<Kept>)>;

/// Blocks of which a connection has written something.
pub(crate) struct Expected {
    connection: u64,
    /// Whether zeros that were to be allocated may be a hole, for want of room.
    is_tight: bool,
    kept: HashMap<u64, Kept>,
}

/// A block, of which the connection's share counts.
#[derive(Clone)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// What became of the whole block last, if that says which state it is in.
    state: Option<u64>,
}

impl Kept {
    fn nothing() -> Self {
        Self {
            bytes: vec![0; BLOCK],
            state: None,
        }
    }
}

impl Expected {
    pub(crate) fn new(connection: u64, is_tight: bool) -> Self {
        Self {
            connection,
            is_tight,
            kept: HashMap::new(),
        }
    }

    /// All that something is known of.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = u64> {
        self.kept.keys().copied()
    }

    /// The connection's bytes become what a request makes of them. Returns what they were.
    pub(crate) fn keep(&mut self, request: &Request) -> Before {
        let range = request.offset..request.offset + request.len;
        let before = blocks(&range).map(|block| (block, self.kept.get(&block).cloned()));
        let before = before.collect();
        for block in blocks(&range) {
            let (in_range, in_block) = within(&range, block);
            let kept = self.kept.entry(block).or_insert_with(Kept::nothing);
            let whole = in_block.len() == BLOCK;
            match request.command {
                WRITE => kept.bytes[in_block].copy_from_slice(&request.payload[in_range]),
                _ => kept.bytes[in_block].fill(0),
            }
            kept.state = match request.command {
                WRITE => None,
                _ if !whole => None,
                ZEROES if request.flags & NO_HOLE != 0 => Some(Extents::ZERO),
                _ => Some(Extents::HOLE),
            };
        }
        before
    }

    /// Takes what was read of a block, which a request may have changed or not: what is expected,
    /// or else what was there before. Whether it was the latter.
    pub(crate) fn settle(
        &mut self,
        (block, before): (u64, Option<Kept>),
        range: &Range<u64>,
        data: &[u8],
    ) -> Result<bool, String> {
        let changed = self.check_data(block, range, data);
        if changed.is_err() {
            match before {
                Some(kept) => self.kept.insert(block, kept),
                None => self.kept.insert(block, Kept::nothing()),
            };
            self.check_data(block, range, data)?;
        }
        if let Some(kept) = self.kept.get_mut(&block) {
            kept.state = None;
        }
        Ok(changed.is_err())
    }

    /// What a read found of a block's bytes that are this connection's.
    pub(crate) fn check_data(
        &self,
        block: u64,
        range: &Range<u64>,
        data: &[u8],
    ) -> Result<(), String> {
        let (in_range, in_block) = within(range, block);
        let mine = share(block, self.connection);
        let both = mine.start.max(in_block.start)..mine.end.min(in_block.end);
        if both.is_empty() {
            return Ok(());
        }
        let at = in_range.start + both.start - in_block.start;
        let found = &data[at..at + both.len()];
        let kept = self.kept.get(&block);
        let nothing = [0; BLOCK];
        let expected = kept.map_or(&nothing[..], |kept| &kept.bytes)[both.clone()].iter();
        match expected
            .zip(found)
            .position(|(expected, found)| expected != found)
        {
            None => Ok(()),
            Some(byte) => Err(format!(
                "block {block} differs from byte {} on",
                both.start + byte
            )),
        }
    }

    /// Of whole blocks.
    pub(crate) fn check_states(
        &self,
        range: &Range<u64>,
        extents: &[(u64, u64)],
        tally: &Tally,
    ) -> Result<(), String> {
        let mut at = range.start;
        for (len, state) in extents {
            let what = match *state {
                Extents::DATA => "block status: data",
                Extents::ZERO => "block status: zeroes",
                Extents::HOLE => "block status: hole",
                other => return Err(format!("state {other}")),
            };
            tally.add(what, 1);
            let end = (at + len).min(range.end);
            for block in blocks(&(at..end)) {
                self.check_state(block, *state)?;
            }
            at = end;
        }
        if at != range.end {
            return Err(format!("states up to {at} only"));
        }
        Ok(())
    }

    fn check_state(&self, block: u64, state: u64) -> Result<(), String> {
        let mine = share(block, self.connection);
        let kept = self.kept.get(&block);
        let empty = kept.is_none_or(|kept| kept.bytes[mine.clone()].iter().all(|byte| *byte == 0));
        let right = match kept.and_then(|kept| kept.state) {
            // Others have a part in it, and may have written there.
            _ if mine.len() < BLOCK => empty || state == Extents::DATA,
            Some(Extents::ZERO) if self.is_tight => state != Extents::DATA,
            Some(known) => state == known,
            None if kept.is_none() => state == Extents::HOLE,
            None => empty == (state != Extents::DATA),
        };
        if right {
            Ok(())
        } else {
            Err(format!("block {block} is in state {state}"))
        }
    }
}
