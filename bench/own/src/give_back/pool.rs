//! The pool that is measured.

use zs_mm::{Arena, PageSize};
use zs_os::AnonBacking;
use zsmalloc::HandlePool;

/// The size of pages and of frames.
pub(super) const PAGE: PageSize = PageSize::K4;

/// The pool of one arena.
pub(super) type Pool = HandlePool<Arena<AnonBacking>>;
