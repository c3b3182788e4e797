//! One connection's requests, and what it expects of their replies.
//!
//! Data model: `choice -> request -> what it will have done -> reply -> checked`. Requests of one
//! connection that are under way together meet nowhere.

use crate::connection::{Connection, FAST_ZERO, FUA, Mode, NO_HOLE, Reply, Request, UNBROKEN};
use crate::contents::{fill, number, stamp, stamp_of, stamped, writer};
use crate::disk::Disk;
use crate::expected::{Before, Expected};
use crate::history::Found;
use crate::layout::{BLOCK, COMMON, blocks, territory, within};
use crate::nbd::{CACHE, FLUSH, READ, STATUS, TRIM, WRITE, ZEROES};
use crate::room::NO_ROOM;
use crate::tally::{VERBS, name, size};
use crate::{Fault, Stage, bytes};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Most requests at once.
const MOST: usize = 8;

/// Most blocks of a read across all owners.
const ACROSS: u64 = 48;

/// How often a worker at fault is at fault: once in so many of its writes.
const FAULTS: u32 = 16;

/// How often a worker connects again: once in so many exchanges.
const AGAIN: u32 = 500;

/// A request, and what is known when it is sent.
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// Common blocks that it reads or writes, and when that began.
    pub(crate) common: Vec<(u64, u64)>,
    /// The connection's own blocks before it, if it changes some.
    pub(crate) before: Before,
}

pub(crate) struct Worker<'a> {
    pub(crate) stage: &'a Stage,
    disk: &'a Disk,
    number: u64,
    random: fastrand::Rng,
    pub(crate) connection: Connection,
    pub(crate) expected: Expected,
    fault: Fault,
    /// The first that was written to common blocks, which a worker at fault will send again.
    old: HashMap<u64, Vec<u8>>,
    writes: u32,
    /// Whether a write was refused, and none taken since.
    pub(crate) is_refused: bool,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        disk: &'a Disk,
        number: u64,
        seed: u64,
        fault: Fault,
    ) -> Self {
        let mode = [Mode::Simple, Mode::Structured, Mode::Extended][number as usize % 3];
        Self {
            stage,
            disk,
            number,
            random: fastrand::Rng::with_seed(seed << 8 | number),
            connection: Connection::open(&disk.socket(), mode),
            expected: Expected::new(number, stage.regime.is_tight),
            fault,
            old: HashMap::new(),
            writes: 0,
            is_refused: false,
        }
    }

    pub(crate) fn run(mut self) -> Result<(), String> {
        while self.stage.goes_on() {
            if self.random.u32(..AGAIN) == 0 {
                self.connect_again()?;
            }
            let mut batch: Vec<Asked> = Vec::new();
            for _ in 0..self.random.usize(1..=MOST) {
                let taken = |range: &Range<u64>| {
                    let met = |asked: &Asked| {
                        let other = asked.request.offset..asked.request.offset + asked.request.len;
                        let (one, other) = (blocks(range), blocks(&other));
                        one.start < other.end && other.start < one.end
                    };
                    batch.iter().any(met)
                };
                let range = self.range();
                if !taken(&range.1) {
                    let asked = self.ask(range.0, range.1);
                    batch.push(asked);
                }
            }
            self.exchange(&batch)?;
        }
        self.check_all()
    }

    fn connect_again(&mut self) -> Result<(), String> {
        // Relaxed: whoever made it larger has had the answer, which is what orders it.
        let least = self.stage.size.load(Ordering::Relaxed);
        self.connection = Connection::open(&self.disk.socket(), self.connection.mode());
        self.stage.tally.add("connected again", 1);
        let size = self.connection.size();
        if size < least {
            return Err(format!("a disk of {size} bytes, which had {least}"));
        }
        Ok(())
    }

    /// A command, and the bytes it is about.
    fn range(&mut self) -> (u16, Range<u64>) {
        let command = [
            WRITE, WRITE, WRITE, READ, READ, READ, TRIM, ZEROES, CACHE, STATUS, FLUSH,
        ];
        let mut command = command[self.random.usize(..command.len())];
        if command == STATUS && self.connection.mode() == Mode::Simple {
            command = READ;
        }
        let many = self.random.u64(1..=ACROSS);
        let size = self.connection.size();
        let whole = size / BLOCK as u64;
        match (command, self.random.u8(..8)) {
            (FLUSH, _) => (FLUSH, 0..0),
            (READ, 0) => {
                let start = self.random.u64(..whole);
                (READ, bytes(start)..bytes(whole.min(start + many)))
            }
            (READ | WRITE | TRIM, 1..=2) => {
                let start = self.random.u64(COMMON);
                (
                    command,
                    bytes(start)..bytes(COMMON.end.min(start + many % 4 + 1)),
                )
            }
            _ => {
                let mine = territory(self.number, size, &mut self.random);
                let mut range = self.part(mine);
                if command == STATUS {
                    let around = blocks(&range);
                    range = bytes(around.start)..bytes(around.end);
                }
                (command, range)
            }
        }
    }

    /// All of a range, sectors of it, or any bytes.
    fn part(&mut self, range: Range<u64>) -> Range<u64> {
        let unit = match self.random.u8(..4) {
            0 | 1 => return range,
            2 => 512,
            _ => 1,
        };
        let start = range.start + self.random.u64(..(range.end - range.start) / unit) * unit;
        let units = self.random.u64(1..=(range.end - start) / unit);
        start..start + units * unit
    }

    /// The request, of which is counted what it is, and kept what it will have done.
    fn ask(&mut self, command: u16, range: Range<u64>) -> Asked {
        let len = range.end - range.start;
        let mut asked = Asked {
            request: Request {
                command,
                flags: 0,
                offset: range.start,
                len,
                payload: Vec::new(),
            },
            common: Vec::new(),
            before: Vec::new(),
        };
        let common: Vec<u64> = blocks(&range)
            .filter(|block| COMMON.contains(block))
            .collect();
        let modifies = [WRITE, TRIM, ZEROES].contains(&command);
        let count = |what: &'static str| self.stage.tally.add(what, 1);
        count(name(command, &range, !common.is_empty()));
        size(command, &range).map(count);
        if modifies && self.random.u8(..4) == 0 {
            count("FUA");
            asked.request.flags |= FUA;
        }
        if bytes(COMMON.end) <= range.start && modifies {
            count("requests in what the disk grew by");
        }
        if command == READ && self.connection.mode() != Mode::Simple && self.random.bool() {
            count("reads unbroken");
            asked.request.flags |= UNBROKEN;
        }
        match command {
            WRITE if common.is_empty() => {
                asked.request.payload = fill(
                    number(&mut self.random, self.stage.regime.is_tight),
                    len as usize,
                );
            }
            ZEROES => {
                if self.random.bool() {
                    count("zeroes that keep their place");
                    asked.request.flags |= NO_HOLE;
                }
                if self.random.bool() {
                    count("zeroes that must be fast");
                    asked.request.flags |= FAST_ZERO;
                }
            }
            _ => {}
        }
        for block in common {
            asked
                .common
                .push((block, self.begin(command, block, &mut asked.request)));
        }
        if modifies && asked.common.is_empty() {
            asked.before = self.expected.keep(&asked.request);
        }
        if command == WRITE {
            self.be_at_fault(&mut asked.request);
        }
        asked
    }

    /// A request is about to read or write a block of everybody's.
    fn begin(&mut self, command: u16, block: u64, request: &mut Request) -> u64 {
        let histories = &self.stage.histories;
        match command {
            WRITE => {
                let stamp = stamp(self.number, &mut self.random);
                request.payload.extend(stamped(stamp));
                histories.begin_write(block, stamp)
            }
            TRIM => histories.begin_write(block, 0),
            _ => histories.begin_read(block),
        }
    }

    /// Does what is wrong, if this worker is to, and it is time.
    fn be_at_fault(&mut self, request: &mut Request) {
        let in_common = COMMON.contains(&(request.offset / BLOCK as u64));
        self.writes +=
            u32::from(in_common == matches!(self.fault, Fault::TornBlock | Fault::LateWrite));
        if self.fault == Fault::None || !self.writes.is_multiple_of(FAULTS) {
            return;
        }
        match self.fault {
            Fault::WrongByte if !in_common => request.payload[0] ^= 1,
            Fault::LostWrite if !in_common => {
                request.command = FLUSH;
                (request.offset, request.len) = (0, 0);
                request.payload.clear();
            }
            Fault::TornBlock if in_common => request.payload[BLOCK - 64..BLOCK].fill(0xbd),
            Fault::LateWrite if in_common => {
                let block = &mut request.payload[..BLOCK];
                let old = self.old.entry(request.offset);
                block.copy_from_slice(old.or_insert_with(|| block.to_vec()));
            }
            _ => {}
        }
    }

    fn exchange(&mut self, batch: &[Asked]) -> Result<(), String> {
        let requests: Vec<Request> = batch.iter().map(|asked| asked.request.clone()).collect();
        let before = self.stage.underway.now();
        let exchanged = self.connection.exchange(&requests);
        let (replies, overtaken) =
            exchanged.map_err(|error| format!("connection {}: {error}", self.number))?;
        let after = self.stage.underway.now();
        for (index, (_, beside)) in VERBS.iter().enumerate() {
            if before[index] || after[index] {
                self.stage.tally.add(beside, batch.len() as u64);
            }
        }
        self.stage.tally.add("replies in another order", overtaken);
        for (asked, reply) in batch.iter().zip(&replies) {
            self.check(asked, reply).map_err(|wrong| {
                let Request { command, flags, offset, len, .. } = asked.request;
                format!("connection {}: command {command}, flags {flags}, {len} bytes at {offset}: {wrong}", self.number)
            })?;
        }
        Ok(())
    }

    fn check(&mut self, asked: &Asked, reply: &Reply) -> Result<(), String> {
        let request = &asked.request;
        let range = request.offset..request.offset + request.len;
        let is_refused = reply.error == NO_ROOM && self.may_be_refused(request);
        if reply.error != 0 && !is_refused {
            return Err(format!("error {}", reply.error));
        }
        match request.command {
            READ => {
                for block in blocks(&range) {
                    self.expected.check_data(block, &range, &reply.data)?;
                }
                for (block, begun) in &asked.common {
                    let (in_range, _) = within(&range, *block);
                    self.check_common(*block, *begun, &reply.data[in_range])?;
                }
                Ok(())
            }
            STATUS => self
                .expected
                .check_states(&range, &reply.extents, &self.stage.tally),
            // Those at fault were not sent as such.
            command => {
                for (block, begun) in &asked.common {
                    self.stage.histories.end_write(*block, *begun, is_refused);
                }
                self.count_refusal(command, is_refused);
                if is_refused || self.may_round(request) {
                    self.settle(asked, is_refused)?;
                }
                Ok(())
            }
        }
    }

    fn check_common(&self, block: u64, begun: u64, data: &[u8]) -> Result<(), String> {
        let stamp = stamp_of(data).ok_or_else(|| format!("block {block} is torn"))?;
        match self.stage.histories.end_read(block, begun, stamp) {
            Found::Impossible => {
                return Err(format!("block {block}: version {stamp:#x} cannot be there"));
            }
            Found::BeingWritten => self
                .stage
                .tally
                .add("a version read that was being written", 1),
            Found::Written => {}
        }
        if stamp != 0 && writer(stamp) != self.number {
            self.stage.tally.add("another's version read", 1);
        }
        Ok(())
    }

    /// Everything of its own, at the end.
    fn check_all(mut self) -> Result<(), String> {
        let all: Vec<u64> = self.expected.blocks().collect();
        for some in all.chunks(MOST) {
            let batch: Vec<Asked> = some
                .iter()
                .map(|block| self.ask(READ, bytes(*block)..bytes(block + 1)))
                .collect();
            self.exchange(&batch)?;
        }
        Ok(())
    }
}
