//! The numbers by which a store's things are named, each a type of its own.

use std::fmt;
use std::ops::Range;
use zsmalloc::WordIndex;

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
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(u32);

        impl $name {
            /// Makes the type of a plain number.
            #[inline]
            pub(crate) const fn new(number: u32) -> Self {
                Self(number)
            }

            /// Returns the plain number.
            #[inline]
            pub(crate) const fn number(self) -> u32 {
                self.0
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
    /// A block of a store. Displayed as `B<number>`.
    BlockIndex, "B"
}

number! {
    /// An object that blocks share. Displayed as `O<number>`.
    SharedIndex, "O"
}

impl BlockIndex {
    /// Returns the word that is the block's: the words of blocks come first.
    #[inline]
    pub(crate) const fn word(self) -> WordIndex {
        WordIndex::new(self.0)
    }

    /// Returns the block in which a byte of the store lies, in blocks of so many bytes. A store has
    /// fewer than 2^31.
    #[inline]
    pub(crate) const fn of_byte(byte: u64, block_size: u64) -> Self {
        Self((byte / block_size) as u32)
    }

    /// Returns the first block that begins at a byte of the store, or behind it.
    #[inline]
    pub(crate) const fn behind(byte: u64, block_size: u64) -> Self {
        Self(byte.div_ceil(block_size) as u32)
    }

    /// Returns where the block begins in the store, in bytes.
    #[inline]
    pub(crate) const fn start(self, block_size: u64) -> u64 {
        self.0 as u64 * block_size
    }

    /// Returns the block so many further.
    #[inline]
    pub(crate) const fn plus(self, blocks: u32) -> Self {
        Self(self.0 + blocks)
    }

    /// Returns the blocks of a range, ascending.
    #[inline]
    pub(crate) fn each(
        range: Range<Self>,
    ) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (range.start.0..range.end.0).map(Self)
    }
}
