//! What a block's word says: the pool's states, and the store's own in the rest.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | hole: never written, or discarded |
//! | client state 0 | hole, locked |
//! | client state 1 | its object has just gone, and something else comes at once; always locked |
//! | client state 2 | same-filled: a pattern below 2^56; or, with bit 56, one of 32 bits, twice |
//! | client state 3 | written back: an extent of the backing |
//! | client state 4 | shared: the number of a shared object |
//! | live | an object: compressed, raw, a wide pattern of 8 bytes, or compressed and padded |
//!
//! The lowest bit of a client state's payload is the block's lock. A live word has five flags:
//! bit 0 locked, bit 1 idle, bits 2-4 the form (0-3 compressed by that algorithm, 4 raw, 5 a wide
//! pattern, 6 padded); and of its generation bits 0-2, the secondary algorithms that were tried
//! without gain, a bit each, bit 3, picked by a writeback: cleared by whoever reads or stores anew,
//! so that the writeback notices, and bit 4, wanted by the holder of the lock: readers wait for it.

use crate::ids::SharedIndex;
use zsmalloc::{ClientBits, Layout, State, Word};

const HOLE: u8 = 0;
const GONE: u8 = 1;
const SAME: u8 = 2;
const BACKED: u8 = 3;
const SHARED: u8 = 4;

const LOCK: u64 = 1;
const FLAG_LOCKED: u8 = 1;
const FLAG_IDLE: u8 = 2;
const FORM_SHIFT: u32 = 2;
const TRIED_MASK: u32 = 7;
const PICKED: u32 = 8;
const WANTED: u32 = 16;

/// The widest pattern that fits a word as it is, in bits.
const PATTERN_BITS: u32 = 56;
/// Both halves of a pattern that is wider than that.
const TWICE: u64 = 1 << PATTERN_BITS;

/// The number of forms.
pub(crate) const FORMS: usize = 7;

/// Secondary algorithms have numbers 1 to this.
pub(crate) const MAX_PRIORITY: u8 = 3;
/// The primary algorithm, and the secondary ones.
pub(crate) const ALGORITHMS: usize = MAX_PRIORITY as usize + 1;

/// The form of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By the algorithm of this number, 0 to 3.
    Compressed(u8),
    /// The block as it is.
    Raw,
    /// One 8-byte word, repeated.
    Wide,
    /// Compressed, in an object that is longer than that (`padding`).
    Padded,
}

impl Form {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Compressed(algorithm) => algorithm & MAX_PRIORITY,
            Self::Raw => 4,
            Self::Wide => 5,
            Self::Padded => 6,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0..=MAX_PRIORITY => Some(Self::Compressed(code)),
            4 => Some(Self::Raw),
            5 => Some(Self::Wide),
            6 => Some(Self::Padded),
            _ => None,
        }
    }
}

/// The flags of an object, beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectFlags {
    pub(crate) form: Form,
    pub(crate) locked: bool,
    pub(crate) idle: bool,
    pub(crate) picked: bool,
    /// The holder of the lock waits until nobody reads it.
    pub(crate) wanted: bool,
    /// The secondary algorithms that did not make it smaller: a bit for each, that of 1 lowest.
    pub(crate) tried: u8,
}

impl ObjectFlags {
    pub(crate) fn locked(form: Form) -> Self {
        Self {
            form,
            locked: true,
            idle: false,
            picked: false,
            wanted: false,
            tried: 0,
        }
    }

    pub(crate) fn of(bits: ClientBits) -> Self {
        let form = Form::from_code(bits.flags >> FORM_SHIFT);
        debug_assert!(form.is_some(), "only forms are stored");
        Self {
            form: form.unwrap_or(Form::Raw),
            locked: bits.flags & FLAG_LOCKED != 0,
            idle: bits.flags & FLAG_IDLE != 0,
            picked: bits.generation & PICKED != 0,
            wanted: bits.generation & WANTED != 0,
            tried: (bits.generation & TRIED_MASK) as u8,
        }
    }

    pub(crate) fn bits(self) -> ClientBits {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let mark = |set: bool, mark: u32| if set { mark } else { 0 };
        ClientBits {
            flags: self.form.code() << FORM_SHIFT
                | flag(self.locked, FLAG_LOCKED)
                | flag(self.idle, FLAG_IDLE),
            generation: u32::from(self.tried) & TRIED_MASK
                | mark(self.picked, PICKED)
                | mark(self.wanted, WANTED),
        }
    }
}

/// Bytes of a unit.
pub(crate) const UNIT: usize = 128;

/// A record's place in the backing, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u32,
    /// At most 1023.
    pub(crate) units: u16,
    /// The number of the writeback that wrote it, modulo 16384: the record has it, too.
    pub(crate) round: u16,
}

impl Extent {
    const UNITS_BITS: u32 = 10;

    pub(crate) fn bytes(self) -> usize {
        usize::from(self.units) * UNIT
    }

    /// Returns the unit behind it.
    pub(crate) fn end(self) -> u32 {
        self.start + u32::from(self.units)
    }

    fn code(self) -> u64 {
        let rest = u64::from(self.round) << Self::UNITS_BITS | u64::from(self.units);
        rest << 32 | u64::from(self.start)
    }

    fn from_code(code: u64) -> Self {
        let rest = code >> 32;
        Self {
            start: code as u32,
            units: (rest & ((1 << Self::UNITS_BITS) - 1)) as u16,
            round: (rest >> Self::UNITS_BITS) as u16,
        }
    }
}

/// The contents of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Hole,
    /// A pattern that [fits a word](fits_word), repeated.
    Same(u64),
    Object(ObjectFlags),
    Backed(Extent),
    Shared(SharedIndex),
    /// On its way from one to the other: look again soon.
    Between,
}

impl Content {
    /// Returns what a word says, and whether the block is locked.
    pub(crate) fn of(word: Word, layout: &Layout) -> (Self, bool) {
        let payload = word.client_payload();
        let (locked, value) = (payload & LOCK != 0, payload >> 1);
        let content = match word.state() {
            State::Free => return (Self::Hole, false),
            State::Live => {
                let mark = ObjectFlags::of(word.client_bits(layout));
                return (Self::Object(mark), mark.locked);
            }
            // The state as it lies in the word: 8 and the client's number.
            State::Client(state) => match state & 7 {
                HOLE => Self::Hole,
                SAME if value & TWICE != 0 => Self::Same(twice(value as u32)),
                SAME => Self::Same(value),
                BACKED => Self::Backed(Extent::from_code(value)),
                SHARED => Self::Shared(SharedIndex::new(value as u32)),
                _ => Self::Between,
            },
            _ => return (Self::Between, true),
        };
        (content, locked)
    }

    /// Returns the word of a content that is no object, locked or not.
    pub(crate) fn word(self, locked: bool) -> Option<Word> {
        let (state, value) = match self {
            Self::Hole if !locked => return Some(Word::from_bits(0)),
            Self::Hole => (HOLE, 0),
            Self::Same(pattern) if pattern >> PATTERN_BITS == 0 => (SAME, pattern),
            Self::Same(pattern) => (SAME, TWICE | u64::from(pattern as u32)),
            Self::Backed(extent) => (BACKED, extent.code()),
            Self::Shared(number) => (SHARED, number.number().into()),
            Self::Object(_) | Self::Between => return None,
        };
        Some(Word::client(state, value << 1 | u64::from(locked)))
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Hole | Self::Between => Kind::Hole,
            Self::Same(_) => Kind::Same,
            Self::Backed(_) => Kind::Backed,
            Self::Shared(_) => Kind::Shared,
            Self::Object(_) => Kind::Object,
        }
    }
}

/// Returns the word of a block whose object has gone, which only the holder of its lock has let go.
pub(crate) fn gone() -> Word {
    Word::client(GONE, LOCK)
}

/// Says whether the word's last object was a block's, and not a shared one.
pub(crate) fn was_block_object(last: Word) -> bool {
    last.flags() & FLAG_LOCKED != 0
}

/// Says whether a pattern fits a block's word.
pub(crate) fn fits_word(pattern: u64) -> bool {
    pattern >> PATTERN_BITS == 0 || pattern == twice(pattern as u32)
}

fn twice(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

/// The kinds by which blocks are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hole = 0,
    Same = 1,
    Object = 2,
    Backed = 3,
    Shared = 4,
}

/// The number of kinds.
pub(crate) const KINDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip() {
        for code in 0..FORMS as u8 {
            for bits in 0..128_u8 {
                let mark = ObjectFlags {
                    form: Form::from_code(code).expect("a form"),
                    locked: bits & 1 != 0,
                    idle: bits & 2 != 0,
                    picked: bits & 4 != 0,
                    wanted: bits & 8 != 0,
                    tried: bits >> 4,
                };
                assert_eq!(ObjectFlags::of(mark.bits()), mark);
                assert!(mark.bits().flags < 32 && mark.bits().generation < 32);
            }
        }
    }

    #[test]
    fn patterns_that_fit() {
        for fits in [
            0,
            1,
            (1 << 56) - 1,
            u64::MAX,
            twice(0xff00_0001),
            twice(1 << 24),
        ] {
            assert!(fits_word(fits));
            let word = Content::Same(fits).word(true).expect("no object");
            assert!(word.client_payload() < 1 << 60);
        }
        for wide in [1 << 56, u64::MAX - 1, twice(0xff00_0001) ^ 1 << 40] {
            assert!(!fits_word(wide));
        }
    }
}
