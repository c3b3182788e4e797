//! Readers and mappings of a worker.

use super::client::{Guard, Meeting};
use crate::TestArena;
use std::sync::Arc;
use zs_mm::ArenaRef;
use zsmalloc::Mapping;

/// The backing of a [`TestArena`].
pub(super) type Faulty = <Arc<TestArena> as ArenaRef>::Backing;

/// A reader inside an object.
pub(super) struct HeldReader<'s, C: Meeting> {
    pub(super) at: (usize, C::Key),
    pub(super) start: u64,
    pub(super) stamp: u64,
    pub(super) guard: Guard<'s, C>,
}

/// A mapping of an object.
pub(super) struct HeldMap<'s, C: Meeting> {
    pub(super) at: (usize, C::Key),
    pub(super) start: u64,
    /// What it shows.
    pub(super) stamp: u64,
    pub(super) writes: bool,
    pub(super) mapping: Mapping<'s, 's, Arc<TestArena>, C>,
}
