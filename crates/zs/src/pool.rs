//! The pool that the tool measures with.

use zs_mm::Arena;
use zs_os::AnonBacking;
use zsmalloc::HandlePool;

/// The pool of one arena.
pub(crate) type Pool = HandlePool<Arena<AnonBacking>>;
