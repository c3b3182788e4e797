//! How a pool holds its arena.

use crate::arena::Arena;
use crate::backing::Backing;

/// A pool's hold of its arena: its own, by reference, or (with `alloc`) by `Arc`.
///
/// Sealed: a pool relies on it that every call gives the same arena.
pub trait ArenaRef: sealed::Sealed {
    /// The arena's backing.
    type Backing: Backing;

    /// Bytes of the arena's structure that lie in this value, and that the arena counts itself.
    const EMBEDDED: usize;

    /// Returns the arena.
    fn arena(&self) -> &Arena<Self::Backing>;
}

mod sealed {
    pub trait Sealed {}
    impl<B: super::Backing> Sealed for super::Arena<B> {}
    impl<B: super::Backing> Sealed for &super::Arena<B> {}
    #[cfg(feature = "alloc")]
    impl<B: super::Backing> Sealed for alloc::sync::Arc<super::Arena<B>> {}
}

impl<B: Backing> ArenaRef for Arena<B> {
    type Backing = B;
    const EMBEDDED: usize = size_of::<Self>();

    #[inline]
    fn arena(&self) -> &Self {
        self
    }
}

impl<B: Backing> ArenaRef for &Arena<B> {
    type Backing = B;
    const EMBEDDED: usize = 0;

    #[inline]
    fn arena(&self) -> &Arena<B> {
        self
    }
}

#[cfg(feature = "alloc")]
impl<B: Backing> ArenaRef for alloc::sync::Arc<Arena<B>> {
    type Backing = B;
    const EMBEDDED: usize = 0;

    #[inline]
    fn arena(&self) -> &Arena<B> {
        self
    }
}
