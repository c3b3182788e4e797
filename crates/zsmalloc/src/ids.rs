//! The numbers by which a pool's things are named, each a type of its own.

use core::fmt;
use zs_mm::PageSize;

/// Classes of a geometry. Models make do with fewer: their stacks are small.
pub const CLASSES: usize = if cfg!(zs_loom) { 8 } else { 128 };

/// Returns a number as an index, which has 64 bits: `zs-mm` refuses other systems.
#[inline]
pub(crate) fn as_index(number: impl Into<u64>) -> usize {
    number.into() as usize
}

/// Returns a length as a number of 64 bits, which every length is: `zs-mm` refuses other systems.
#[inline]
pub(crate) const fn wide(len: usize) -> u64 {
    len as u64
}

/// Defines a number: its type, and the letter it is displayed with.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident: $vis:vis $raw:ty, $letter:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($raw);

        impl $name {
            /// Makes the type of a plain number.
            #[inline]
            $vis const fn new(number: $raw) -> Self {
                Self(number)
            }

            /// Returns the plain number.
            #[inline]
            pub const fn number(self) -> $raw {
                self.0
            }

            /// Returns the number as an index of tables.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
    };
}

number! {
    /// A zspage of a pool: the number of its record's first unit. Displayed as `Z<number>`.
    ZspageId: pub(crate) u32, "Z"
}

number! {
    /// A slot of a zspage: below [`MAX_SLOTS`](crate::MAX_SLOTS). Displayed as `S<number>`.
    SlotIndex: pub(crate) u8, "S"
}

number! {
    /// A frame's entry of a zspage: below [`MAX_CHAIN`](crate::MAX_CHAIN). Displayed as
    /// `E<number>`.
    EntryIndex: pub(crate) u8, "E"
}

number! {
    /// A size class: below [`CLASSES`]. Displayed as `C<number>`.
    ClassIndex: pub(crate) u8, "C"
}

number! {
    /// A word of a pool's client: below 2^32 - 1. Displayed as `W<number>`.
    WordIndex: pub u32, "W"
}

impl ClassIndex {
    /// Returns the class of this number, if there is one.
    pub fn checked(number: u64) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (usize::from(number) < CLASSES).then_some(Self(number))
    }

    /// Returns all classes, the smallest objects' first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..CLASSES as u8).map(Self)
    }
}

impl SlotIndex {
    /// Returns the slot as a set of one.
    #[inline]
    pub(crate) const fn bit(self) -> u128 {
        1 << self.0
    }

    /// Returns the slots of a zspage that has so many.
    pub(crate) fn of_class(slots: u8) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..slots).map(Self)
    }

    /// Returns the slots of a set, ascending.
    pub(crate) fn of_set(mut set: u128) -> impl Iterator<Item = Self> {
        core::iter::from_fn(move || {
            let slot = Self::lowest(set)?;
            set &= set - 1;
            Some(slot)
        })
    }

    /// Returns the lowest slot of a set.
    #[inline]
    pub(crate) const fn lowest(set: u128) -> Option<Self> {
        match set {
            0 => None,
            set => Some(Self(set.trailing_zeros() as u8)),
        }
    }

    /// Returns the highest slot of a set.
    #[inline]
    pub(crate) const fn highest(set: u128) -> Option<Self> {
        match set {
            0 => None,
            set => Some(Self(127 - set.leading_zeros() as u8)),
        }
    }
}

impl EntryIndex {
    /// Returns the entry as a set of one.
    #[inline]
    pub(crate) const fn bit(self) -> u16 {
        1 << self.0
    }

    /// Returns the entry of the frame in which a byte of a zspage lies.
    #[inline]
    pub(crate) const fn of_byte(byte: usize, page: PageSize) -> Self {
        Self((byte >> page.shift()) as u8)
    }

    /// Returns the entry that follows.
    #[inline]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the entry of a set of one, and no other set's.
    #[inline]
    pub(crate) const fn only(set: u16) -> Option<Self> {
        match set.count_ones() {
            1 => Some(Self(set.trailing_zeros() as u8)),
            _ => None,
        }
    }

    /// Returns the entries of a chain of so many frames.
    pub(crate) fn of_chain(chain: u8) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..chain).map(Self)
    }

    /// Returns the entries from one to another, both included.
    #[inline]
    pub(crate) fn range(first: Self, last: Self) -> impl Iterator<Item = Self> {
        (first.0..last.0 + 1).map(Self)
    }
}

impl ZspageId {
    /// Returns the zspage whose record begins with a unit.
    #[inline]
    pub(crate) const fn of_unit(unit: usize) -> Self {
        Self(unit as u32)
    }
}

/// The number of a zspage, or the end of a list: what the cells of lists hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link(u32);

impl Link {
    /// The end of a list.
    pub(crate) const END: Self = Self(u32::MAX);

    /// Makes the link to a zspage.
    #[inline]
    pub(crate) const fn to(zspage: ZspageId) -> Self {
        Self(zspage.0)
    }

    /// Returns the link of a cell.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the bits for a cell.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Returns the zspage, or `None` at the end.
    #[inline]
    pub(crate) fn zspage(self) -> Option<ZspageId> {
        (self != Self::END).then_some(ZspageId(self.0))
    }
}
