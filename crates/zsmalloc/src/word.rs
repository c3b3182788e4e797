//! The 64 bits of an object: packing, and every transition as a pure function.
//!
//! ```text
//!  63          g g-1       i i-1       21 20   14 13    9 8      5  4   3    0
//! +-------------+-----------+------------+-------+-------+--------+---+-------+
//! | generation  |  zspage   |   slack    | slot  | flags | readers|mov| state |
//! +-------------+-----------+------------+-------+-------+--------+---+-------+
//! ```
//!
//! *slack* is the class size less the object's length (5, 7 or 9 bits at 4, 16 or 64 KiB frames),
//! *zspage* has as many bits as the arena needs (at most 28, 26, 24), the generation has the rest:
//! at least 10. `docs/words.md` has the table, the states, and who may change what.

use crate::client_bits::ClientBits;
use crate::ids::{SlotIndex, WordIndex, ZspageId};
use zs_mm::{MAX_ARENA_BYTES, PageSize};

/// The state of a word: its lowest four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No object, and nothing the pool looks at: the free words of a handle table.
    Free,
    /// An insert is copying in: no object yet.
    Filling,
    /// An object that may be read.
    Live,
    /// An in-place write is copying: bounded; everybody waits for it.
    Exclusive,
    /// Mapped read-write or write-only: everything else is answered Busy.
    Mapped,
    /// Freed with readers or a mover inside: the last of them finishes it.
    Freeing,
    /// One of the client's own states, 8 to 15: no object; the other 60 bits are the client's.
    Client(u8),
}

impl State {
    const fn from_bits(bits: u64) -> Self {
        match bits & STATE_MASK {
            1 => Self::Filling,
            2 => Self::Live,
            3 => Self::Exclusive,
            4 => Self::Mapped,
            5 => Self::Freeing,
            client @ 8..=15 => Self::Client(client as u8),
            _ => Self::Free,
        }
    }

    const fn bits(self) -> u64 {
        match self {
            Self::Free => 0,
            Self::Filling => 1,
            Self::Live => 2,
            Self::Exclusive => 3,
            Self::Mapped => 4,
            Self::Freeing => 5,
            Self::Client(state) => 8 | state as u64 & 7,
        }
    }
}

const STATE_MASK: u64 = 0xf;
const MOVER: u64 = 1 << 4;
const READERS_SHIFT: u32 = 5;
const READERS_MASK: u64 = 0xf << READERS_SHIFT;
const FLAGS_SHIFT: u32 = 9;
const FLAGS_MASK: u64 = 0x1f << FLAGS_SHIFT;
const SLOT_SHIFT: u32 = 14;
const SLOT_MASK: u64 = 0x7f << SLOT_SHIFT;
const SLACK_SHIFT: u32 = 21;
/// Bits of slack and zspage together at the largest arena.
#[cfg(not(zs_loom))]
const PLACE_BITS: u32 = 33;

/// The most readers that one object can have at a time; one more is answered Busy.
pub const MAX_READERS: u32 = (READERS_MASK >> READERS_SHIFT) as u32;

/// One reader, for a fetch-and-subtract.
pub(crate) const ONE_READER: u64 = 1 << READERS_SHIFT;
/// The mover's pin, for a fetch-and-and.
pub(crate) const MOVER_PIN: u64 = MOVER;

/// The places of the fields in a pool's words; fixed when the pool is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    zspage_shift: u32,
    generation_shift: u32,
}

const fn slack_bits(page: PageSize) -> u32 {
    page.shift() - crate::ids::CLASSES.trailing_zeros()
}

/// Bits of the largest zspage id at the largest arena of a page size.
const fn max_zspage_bits(page: PageSize) -> u32 {
    MAX_ARENA_BYTES.trailing_zeros() - page.shift()
}

#[cfg(not(zs_loom))]
const _: () = {
    let mut index = 0;
    while index < PageSize::ALL.len() {
        let page = PageSize::ALL[index];
        assert!(slack_bits(page) + max_zspage_bits(page) == PLACE_BITS);
        index += 1;
    }
    assert!(
        64 - SLACK_SHIFT - PLACE_BITS == 10,
        "a generation of 10 bits at 1 TiB"
    );
    assert!(super::geometry::MAX_SLOTS <= (SLOT_MASK >> SLOT_SHIFT) as usize + 1);
};

impl Layout {
    /// Returns the layout for ids below `zspages`, a power of two.
    pub(crate) fn new(page: PageSize, zspages: usize) -> Self {
        debug_assert!(zspages.is_power_of_two());
        let zspage_shift = SLACK_SHIFT + slack_bits(page);
        let bits = zspages.trailing_zeros().min(max_zspage_bits(page));
        Self {
            zspage_shift,
            generation_shift: zspage_shift + bits,
        }
    }

    /// Returns the largest number of zspage ids that any arena of this page size can have.
    pub(crate) const fn max_zspages(page: PageSize) -> usize {
        1 << max_zspage_bits(page)
    }

    /// Bits of a generation: a word must be reused `2^bits` times before a stale handle could be
    /// taken for a live one.
    pub fn generation_bits(&self) -> u32 {
        64 - self.generation_shift
    }

    pub(crate) fn generation_mask(&self) -> u64 {
        u64::MAX << self.generation_shift
    }

    /// Returns a generation, moved to its place in a word; higher bits of it are dropped.
    pub fn place_generation(&self, generation: u32) -> u64 {
        u64::from(generation) << self.generation_shift
    }

    /// Returns the generation of a word that holds an object.
    pub fn generation_of(&self, word: Word) -> u32 {
        (word.0 >> self.generation_shift) as u32
    }

    fn zspage_mask(&self) -> u64 {
        !self.generation_mask() & (u64::MAX << self.zspage_shift)
    }

    fn slack_mask(&self) -> u64 {
        !(u64::MAX << self.zspage_shift) & (u64::MAX << SLACK_SHIFT)
    }
}

/// The place of an object's bytes: a zspage, a slot of it, and the part of the slot not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) zspage: ZspageId,
    pub(crate) slot: SlotIndex,
    /// The class size less the object's length.
    pub(crate) slack: u32,
}

/// The form of a word that names the caller's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub(crate) index: WordIndex,
    pub(crate) mask: u64,
    pub(crate) bits: u64,
}

impl Target {
    /// Names word `index`, whatever its generation bits: for a client without stale handles.
    pub fn word(index: WordIndex) -> Self {
        Self {
            index,
            mask: 0,
            bits: 0,
        }
    }

    /// Names word `index`, if it has this generation.
    pub fn generation(layout: &Layout, index: WordIndex, generation: u32) -> Self {
        Self {
            index,
            mask: layout.generation_mask(),
            bits: layout.place_generation(generation),
        }
    }
}

/// Why a word refuses a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The word holds no object, or not the caller's.
    Stale,
    /// In use for as long as a user likes.
    Busy,
    /// In use for a bounded copy: look again.
    Wait,
}

/// An object's word, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word(pub(crate) u64);

impl Word {
    /// Returns the word as a client reads it.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the word's bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Makes a word in one of the client's own states: 0 to 7, with 60 bits of the client's choice.
    pub fn client(state: u8, payload: u64) -> Self {
        Self(State::Client(state).bits() | payload << 4)
    }

    /// Returns the 60 bits beside a client's state.
    pub fn client_payload(self) -> u64 {
        self.0 >> 4
    }

    /// Returns the state.
    #[inline]
    pub fn state(self) -> State {
        State::from_bits(self.0)
    }

    /// Returns the client's five flags; movers keep them.
    pub fn flags(self) -> u8 {
        ((self.0 & FLAGS_MASK) >> FLAGS_SHIFT) as u8
    }

    pub(crate) fn flag_bits(flags: u8) -> u64 {
        u64::from(flags) << FLAGS_SHIFT & FLAGS_MASK
    }

    /// Says whether the word leads to a place in a zspage.
    pub(crate) fn has_place(self) -> bool {
        !matches!(self.state(), State::Free | State::Client(_))
    }

    pub(crate) fn readers(self) -> u32 {
        ((self.0 & READERS_MASK) >> READERS_SHIFT) as u32
    }

    pub(crate) fn has_mover(self) -> bool {
        self.0 & MOVER != 0
    }

    #[inline]
    pub(crate) fn place(self, layout: &Layout) -> Place {
        Place {
            zspage: ZspageId::new(((self.0 & layout.zspage_mask()) >> layout.zspage_shift) as u32),
            slot: SlotIndex::new(((self.0 & SLOT_MASK) >> SLOT_SHIFT) as u8),
            slack: ((self.0 & layout.slack_mask()) >> SLACK_SHIFT) as u32,
        }
    }

    fn with_place(self, layout: &Layout, place: Place) -> Self {
        let kept = self.0 & !(layout.zspage_mask() | layout.slack_mask() | SLOT_MASK);
        let zspage = u64::from(place.zspage.number()) << layout.zspage_shift;
        let slack = u64::from(place.slack) << SLACK_SHIFT;
        debug_assert_eq!(zspage & !layout.zspage_mask(), 0);
        debug_assert_eq!(slack & !layout.slack_mask(), 0);
        Self(kept | zspage | slack | u64::from(place.slot.number()) << SLOT_SHIFT)
    }

    fn with_state(self, state: State) -> Self {
        Self(self.0 & !STATE_MASK | state.bits())
    }

    #[inline]
    fn check(self, target: Target) -> Result<State, Refusal> {
        if self.0 & target.mask != target.bits {
            return Err(Refusal::Stale);
        }
        match self.state() {
            State::Free | State::Client(_) | State::Filling | State::Freeing => Err(Refusal::Stale),
            State::Mapped => Err(Refusal::Busy),
            State::Exclusive => Err(Refusal::Wait),
            State::Live => Ok(State::Live),
        }
    }

    /// Returns the client's bits of a word that holds an object.
    pub fn client_bits(self, layout: &Layout) -> ClientBits {
        ClientBits {
            flags: self.flags(),
            generation: layout.generation_of(self),
        }
    }

    /// Changes the client's bits, and nothing else.
    pub(crate) fn with_client_bits(self, layout: &Layout, bits: ClientBits) -> Self {
        let kept = self.0 & !(layout.generation_mask() | FLAGS_MASK);
        Self(kept | layout.place_generation(bits.generation) | Self::flag_bits(bits.flags))
    }

    /// Says whether the word holds the caller's object, and nobody is writing to it.
    pub(crate) fn checked(self, target: Target) -> Result<(), Refusal> {
        self.check(target).map(|_| ())
    }

    /// Makes a new object's word: its bytes are not there yet.
    pub(crate) fn filling(layout: &Layout, place: Place, client_bits: u64) -> Self {
        Self(client_bits & (layout.generation_mask() | FLAGS_MASK))
            .with_place(layout, place)
            .with_state(State::Filling)
    }

    /// Adds a reader.
    #[inline]
    pub(crate) fn pinned(self, target: Target) -> Result<Self, Refusal> {
        self.check(target)?;
        if self.readers() == MAX_READERS {
            return Err(Refusal::Busy);
        }
        Ok(Self(self.0 + ONE_READER))
    }

    /// Frees the object: at once, or once nobody is inside.
    pub(crate) fn freed(self, target: Target) -> Result<Self, Refusal> {
        self.check(target)?;
        Ok(self.with_state(State::Freeing))
    }

    /// Returns the word without anybody inside.
    pub(crate) fn abandoned(self) -> Self {
        Self(self.0 & !(READERS_MASK | MOVER))
    }

    /// Says whether a freeing word has nobody inside any more: whoever sees this finishes the free.
    pub(crate) fn is_abandoned(self) -> bool {
        self.state() == State::Freeing && self.readers() == 0 && !self.has_mover()
    }

    /// Returns the word as somebody who needs it without readers takes it: Busy with a reader
    /// inside, Wait with a mover.
    fn taken_alone(self, target: Target) -> Result<Self, Refusal> {
        self.check(target)?;
        if self.readers() > 0 {
            Err(Refusal::Busy)
        } else if self.has_mover() {
            Err(Refusal::Wait)
        } else {
            Ok(self)
        }
    }

    /// Takes the word for an in-place write.
    pub(crate) fn exclusive(self, target: Target) -> Result<Self, Refusal> {
        Ok(self.taken_alone(target)?.with_state(State::Exclusive))
    }

    /// Returns an exclusive word that is mapped for writing.
    pub(crate) fn mapped(self) -> Self {
        debug_assert_eq!(self.state(), State::Exclusive);
        self.with_state(State::Mapped)
    }

    /// Pins the word for a mover.
    pub(crate) fn moving(self, target: Target) -> Result<Self, Refusal> {
        Ok(Self(self.taken_alone(target)?.0 | MOVER))
    }

    /// Returns a moved object: the same word at another place, without the mover's pin. `self` is
    /// the word with that pin and no reader: what the commit must find.
    pub(crate) fn moved(self, layout: &Layout, place: Place) -> Self {
        debug_assert!(self.has_mover() && self.readers() == 0);
        Self(self.with_place(layout, place).0 & !MOVER)
    }

    /// Returns a mapped word that is being written back.
    pub(crate) fn writing_back(self) -> Self {
        debug_assert_eq!(self.state(), State::Mapped);
        self.with_state(State::Exclusive)
    }

    /// Returns an object that may be read again, or for the first time.
    pub(crate) fn live(self) -> Self {
        debug_assert!(matches!(self.state(), State::Filling | State::Exclusive));
        self.with_state(State::Live)
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests;
