//! Arenas: made, destroyed, made to give memory back.

use crate::border::{Out, answer};
use crate::registry::Registry;
use crate::result::zs_result::{ZS_BUSY, ZS_FORKED};
use crate::result::{invalid, system, zs_result};
use crate::versioned::{self, Versioned};
use std::sync::Arc;
use zs_mm::{Arena, ArenaOptions, PageSize};
use zs_os::{AnonBacking, DecayThread, HOST};

/// Memory under one hard limit, for one pool or many. Made by `zs_arena_create()`; may be used by
/// all threads at once.
#[derive(Debug)]
pub struct zs_arena(());

/// Map full pageblocks of 2 MiB by huge pages.
pub const ZS_ARENA_HUGE_PAGES: u64 = 1;
/// Have a thread of the library give free memory back while the program is idle.
pub const ZS_ARENA_DECAY_THREAD: u64 = 2;

/// The options of an arena. Set all of it to zero first: a field of 0 is the default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_arena_options {
    /// The most bytes that may be held, metadata included: 2 MiB to 1 TiB. Must be given. Reserves
    /// as many addresses and no memory.
    pub limit: u64,
    /// Bytes of a page frame, and of the largest object: 4096 (the default), 16384 or 65536.
    pub page_size: u64,
    /// Free memory that nobody needed for so many milliseconds goes back to the system. Default:
    /// 1000.
    pub decay_ms: u64,
    /// `ZS_ARENA_...`, added up. Default: none.
    pub flags: u64,
}

// SAFETY: four numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_arena_options {
    const FIRST_SIZE: usize = 32;
    const NAME: &str = "zs_arena_options";
}

pub(crate) type SharedArena = Arc<Arena<AnonBacking>>;

/// The object that a `zs_arena *` names.
pub(crate) struct ArenaEntry {
    pub(crate) arena: SharedArena,
    decay: Option<DecayThread>,
}

/// The process's arenas.
pub(crate) static ARENAS: Registry<ArenaEntry, 1024> = Registry::new();

impl zs_arena_options {
    fn checked(&self) -> Result<ArenaOptions, zs_result> {
        let page_size = match self.page_size {
            0 => PageSize::default(),
            bytes => PageSize::ALL
                .into_iter()
                .find(|page| page.bytes() as u64 == bytes)
                .ok_or_else(|| {
                    invalid(format!(
                        "page_size {bytes}: 4096, 16384 or 65536 is allowed, or 0 for 4096"
                    ))
                })?,
        };
        known_flags(self.flags, ZS_ARENA_HUGE_PAGES | ZS_ARENA_DECAY_THREAD)?;
        let defaults = ArenaOptions::new(self.limit);
        Ok(ArenaOptions {
            page_size,
            decay_ns: match self.decay_ms {
                0 => defaults.decay_ns,
                ms => ms.saturating_mul(1_000_000),
            },
            huge_blocks: self.flags & ZS_ARENA_HUGE_PAGES != 0,
            ..defaults
        })
    }
}

/// Refuses flags that this version does not know.
pub(crate) fn known_flags(flags: u64, known: u64) -> Result<(), zs_result> {
    match flags & !known {
        0 => Ok(()),
        unknown => Err(invalid(format!(
            "flags {flags:#x}: {unknown:#x} is unknown; {known:#x} is allowed"
        ))),
    }
}

impl ArenaEntry {
    fn new(options: &zs_arena_options) -> Result<Self, zs_result> {
        let arena = Arc::new(Arena::new(AnonBacking::new(), &HOST, options.checked()?)?);
        let wanted = options.flags & ZS_ARENA_DECAY_THREAD != 0;
        let decay = wanted.then(|| DecayThread::spawn(Arc::clone(&arena)));
        let decay = decay.transpose().map_err(system)?;
        Ok(Self { arena, decay })
    }

    /// Pools lie in the arena.
    fn has_pools(&self) -> bool {
        Arc::strong_count(&self.arena) > 1 + usize::from(self.decay.is_some())
    }

    /// Ends it. A forked child has no thread to wait for: what belongs to it is left alone.
    fn end(self) {
        if self.arena.is_forked() {
            core::mem::forget(self.decay);
        }
    }
}

/// Refuses what only the process that made the arena may do.
pub(crate) fn own(arena: &Arena<AnonBacking>) -> Result<(), zs_result> {
    if arena.is_forked() {
        return Err(ZS_FORKED);
    }
    Ok(())
}

/// Makes an arena: `size` is `sizeof *options`.
///
/// Answers `ZS_NULL`, `ZS_INVALID`, `ZS_NO_MEMORY` (no addresses to reserve: see `ulimit -v` and
/// `vm.overcommit_memory`), `ZS_TOO_MANY` (1024 arenas), `ZS_SYSTEM` (no thread).
///
/// # Safety
/// As for all functions: see `docs/c.md`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_arena_create(
    options: *const zs_arena_options,
    size: usize,
    arena: *mut *mut zs_arena,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(arena) }?;
        // SAFETY: by this function's contract.
        let options = unsafe { versioned::options(options, size) }?;
        place.set(ARENAS.insert(ArenaEntry::new(&options)?)?);
        Ok(())
    })
}

/// Destroys an arena that carries no pool.
///
/// Answers `ZS_NULL`, `ZS_GONE`, or `ZS_BUSY` if it carries a pool.
///
/// # Safety
/// As for all functions; no other call is using the arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_arena_destroy(arena: *mut zs_arena) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        if unsafe { ARENAS.get(arena) }?.has_pools() {
            return Err(ZS_BUSY);
        }
        // SAFETY: by this function's contract no other call has a reference.
        unsafe { ARENAS.take(arena) }?.end();
        Ok(())
    })
}

/// Gives every free page frame back to the system; `bytes`, if not NULL, becomes how many bytes
/// went. May take tens of milliseconds for each GiB.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_arena_trim(arena: *mut zs_arena, bytes: *mut u64) -> zs_result {
    // SAFETY: the contract is the same.
    unsafe { give_back(arena, bytes, Arena::trim) }
}

/// As `zs_arena_trim()`, for memory that nobody needed for `decay_ms`. Cheap when there is none.
/// Programs that fall idle call it, or ask for `ZS_ARENA_DECAY_THREAD`.
///
/// Answers `ZS_NULL`, `ZS_GONE`, `ZS_FORKED`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_arena_decay(arena: *mut zs_arena, bytes: *mut u64) -> zs_result {
    // SAFETY: the contract is the same.
    unsafe { give_back(arena, bytes, Arena::decay) }
}

/// # Safety
/// As for all functions.
unsafe fn give_back(
    arena: *mut zs_arena,
    bytes: *mut u64,
    how: impl FnOnce(&Arena<AnonBacking>) -> u64,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract nobody destroys it meanwhile.
        let entry = unsafe { ARENAS.get(arena) }?;
        own(&entry.arena)?;
        let given = how(&entry.arena);
        // SAFETY: by this function's contract.
        if let Some(place) = unsafe { Out::optional(bytes) } {
            place.set(given);
        }
        Ok(())
    })
}
