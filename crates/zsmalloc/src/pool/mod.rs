//! A pool: made, destroyed.

pub(crate) mod compactor;
pub(crate) mod drains;
pub(crate) mod give_back;
pub(crate) mod locate;
pub(crate) mod slot;
pub(crate) mod spans;

use crate::class::{ClassContext, ClassState, LockedClass};
use crate::client::Client;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::handle_table::HandleTable;
use crate::ids::as_index;
use crate::ids::wide;
use crate::ids::{CLASSES, ClassIndex, WordIndex};
use crate::pool::compactor::Compactor;
use crate::pool::drains::Drains;
use crate::record::units::{RecordAlloc, SET_UNITS};
use crate::record::{Records, units_of};
use crate::word::Layout;
use core::fmt;
use zs_mm::{Arena, ArenaRef, Backing, Charge, PoolKey};
use zs_sync::{AtomicU64, Host, LockName, Mutex};

/// The longest name of a pool, in bytes.
pub const MAX_NAME: usize = 31;

/// Units of the record table for each frame that the limit allows. The smallest class needs 9 units
/// a frame, so a small arena can be filled with objects of any size.
const UNITS_PER_FRAME: usize = if cfg!(zs_loom) { 1 } else { 16 };

/// Words are numbered below 2^32 - 1, so that a back reference fits 32 bits.
const MAX_WORDS: u64 = u32::MAX as u64 - 1;

/// The options of a pool. Start from [`PoolOptions::named`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions<'a> {
    /// A name for reports: up to [`MAX_NAME`] bytes.
    pub name: &'a str,
    /// The most objects of a handle table, 1 to 2^32 - 2; reserves 8 bytes of address space each.
    /// Default: as many of the smallest objects as the arena's limit holds.
    pub max_objects: Option<u32>,
    /// Overwrite the bytes of objects with zeros when they are freed or replaced. Default: no.
    pub zero_freed: bool,
}

impl<'a> PoolOptions<'a> {
    /// Makes a pool with a name, and the defaults for the rest.
    pub const fn named(name: &'a str) -> Self {
        Self {
            name,
            max_objects: None,
            zero_freed: false,
        }
    }
}

/// Objects of one client, in frames of one arena.
///
/// Shared by reference between threads; every method may be called from all of them at once, unless
/// it says otherwise. Operations on different objects never wait for each other's bytes.
///
/// Dropping a pool frees all its objects without a word; [`destroy`](Self::destroy) refuses to.
pub struct Pool<A: ArenaRef, C: Client> {
    pub(crate) client: C,
    pub(crate) geometry: &'static Geometry,
    pub(crate) layout: Layout,
    pub(crate) records: Records,
    pub(crate) classes: [Mutex<ClassState>; CLASSES],
    pub(crate) compactor: Compactor,
    pub(crate) drains: Drains,
    /// The pool's claim to its frames. `None` only while it is dropped.
    key: Option<PoolKey>,
    pub(crate) zero_freed: bool,
    pub(crate) name: Name,
    structure: Option<Charge>,
    arena: A,
}

/// A pool whose objects are named by handles.
pub type HandlePool<A> = Pool<A, HandleTable>;

impl<A: ArenaRef, C: Client> fmt::Debug for Pool<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; MAX_NAME],
    len: u8,
}

impl Name {
    fn new(name: &str) -> Result<Self, Error> {
        let mut bytes = [0; MAX_NAME];
        let place = bytes
            .get_mut(..name.len())
            .ok_or(Error::Invalid("the name is longer than 31 bytes"))?;
        place.copy_from_slice(name.as_bytes());
        Ok(Self {
            bytes,
            len: name.len() as u8,
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..as_index(self.len)]).unwrap_or_default()
    }
}

impl<A: ArenaRef> Pool<A, HandleTable> {
    /// Makes a pool with a handle table of its own, in an arena that it owns or shares.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is too long, `max_objects` is 0 or the arena has too many
    /// pools; [`Error::NoMemory`] if the pool's structure (some 20 KiB) does not fit the limit or
    /// its address space is not to be had.
    pub fn new(arena: A, options: PoolOptions<'_>) -> Result<Self, Error> {
        Self::with_client(arena, options, |arena, layout| {
            let smallest = arena.options().page_size.bytes() / CLASSES;
            let fit = arena
                .options()
                .limit
                .div_ceil(wide(smallest))
                .min(MAX_WORDS);
            match options.max_objects {
                Some(0) => Err(Error::Invalid("max_objects is 0: at least 1 is needed")),
                Some(u32::MAX) => Err(Error::Invalid("max_objects is above 2^32 - 2")),
                Some(objects) => HandleTable::new(arena, layout, objects),
                None => HandleTable::new(arena, layout, fit as u32),
            }
        })
    }
}

impl<A: ArenaRef, C: Client> Pool<A, C> {
    /// Makes a pool for words that `make_client` provides; they are laid out as the given
    /// [`Layout`] says.
    ///
    /// # Errors
    /// As for `new`, and whatever `make_client` answers.
    pub fn with_client(
        arena: A,
        options: PoolOptions<'_>,
        make_client: impl FnOnce(&Arena<A::Backing>, Layout) -> Result<C, Error>,
    ) -> Result<Self, Error> {
        let name = Name::new(options.name)?;
        let place = arena.arena();
        let page = place.options().page_size;
        let frames = place.capacity().div_ceil(wide(page.bytes())) as usize;
        let units = (frames * UNITS_PER_FRAME)
            .next_power_of_two()
            .clamp(SET_UNITS, Layout::max_zspages(page));
        let layout = Layout::new(page, units);
        let parts = Parts::new(place, units)?;
        let client = match make_client(place, layout) {
            Ok(client) => client,
            Err(error) => {
                parts.undo(place);
                return Err(error);
            }
        };
        let mut pool = Self {
            client,
            geometry: Geometry::of(page),
            layout,
            records: parts.records,
            classes: core::array::from_fn(|_| Mutex::new(LockName::Class, ClassState::default())),
            compactor: Compactor::default(),
            drains: parts.drains,
            key: Some(parts.key),
            zero_freed: options.zero_freed,
            name,
            structure: None,
            arena,
        };
        // On failure the pool's drop undoes the rest.
        pool.structure = Some(pool.arena().charge(Self::STRUCTURE)?);
        Ok(pool)
    }

    /// Bytes of the pool's structure. An arena that lies in it has counted itself.
    pub(crate) const STRUCTURE: u64 = (size_of::<Self>() - A::EMBEDDED) as u64;

    /// Returns the cell of word `index`.
    #[inline]
    pub(crate) fn cell(&self, index: WordIndex) -> Option<&AtomicU64> {
        // SAFETY: this is the client's pool, which changes words as the client's contract says.
        unsafe { self.client.word(index) }
    }

    /// Returns the arena that the pool's frames come from.
    #[inline]
    pub fn arena(&self) -> &Arena<A::Backing> {
        self.arena.arena()
    }

    /// Returns the owner of the pool's words.
    pub fn client(&self) -> &C {
        &self.client
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the pool's size classes.
    pub fn geometry(&self) -> &'static Geometry {
        self.geometry
    }

    /// Returns where the fields of the pool's words lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    #[inline]
    pub(crate) fn host(&self) -> &'static dyn Host {
        self.arena().host()
    }

    /// Returns an error in a forked child, where locks may be held by threads that do not exist.
    #[inline]
    pub(crate) fn ensure_not_forked(&self) -> Result<(), Error> {
        if self.arena().is_forked() {
            return Err(Error::Forked);
        }
        Ok(())
    }

    pub(crate) fn context(&self, class: ClassIndex) -> ClassContext<'_> {
        ClassContext {
            records: &self.records,
            class: self.geometry.class(class),
            index: class,
        }
    }

    /// Locks a class.
    #[inline]
    pub(crate) fn lock_class(&self, class: ClassIndex) -> LockedClass<'_, A::Backing> {
        let state = self.classes[class.index()].lock(self.host());
        LockedClass::new(state, self.context(class), self.arena(), self.key())
    }

    /// Returns the pool's claim to its frames.
    #[expect(clippy::expect_used, reason = "only the drop takes it, last of all")]
    pub(crate) fn key(&self) -> &PoolKey {
        self.key.as_ref().expect("a pool has its key")
    }

    /// Frees every frame and record, whatever is in them. Only for the drop: no guard can exist.
    fn free_everything(&mut self) {
        self.drain_everything();
        let arena = self.arena();
        for class in ClassIndex::all() {
            let units = units_of(self.geometry.class(class));
            loop {
                let mut locked = self.lock_class(class);
                let Some((zspage, frames)) = locked.dissolve_any() else {
                    break;
                };
                drop(locked);
                for mut frame in frames.into_iter().flatten() {
                    self.zero_frame(&mut frame);
                    arena.free_frame(frame);
                }
                self.records.units.free(self.host(), zspage, units);
            }
        }
    }
}

impl<A: ArenaRef, C: Client> Drop for Pool<A, C> {
    fn drop(&mut self) {
        if !self.arena().is_forked() {
            self.free_everything();
        }
        let arena = self.arena.arena();
        // SAFETY: the pool ends here, and `&mut self` says that nobody uses its words.
        unsafe { self.client.release(arena) };
        self.records.units.release(arena);
        self.drains.release(arena);
        if let Some(structure) = self.structure.take() {
            arena.uncharge(structure);
        }
        if let Some(key) = self.key.take() {
            arena.leave(key);
        }
    }
}

/// The parts that a pool takes from its arena before it has words.
struct Parts {
    key: PoolKey,
    records: Records,
    drains: Drains,
}

impl Parts {
    fn new<B: Backing>(arena: &Arena<B>, units: usize) -> Result<Self, Error> {
        let geometry = Geometry::of(arena.options().page_size);
        let mut units = RecordAlloc::new(arena, units)?;
        let key_and_drains = arena.join().and_then(|key| match Drains::new(arena) {
            Ok(drains) => Ok((key, drains)),
            Err(error) => {
                arena.leave(key);
                Err(error)
            }
        });
        match key_and_drains {
            Ok((key, drains)) => Ok(Self {
                key,
                records: Records { units, geometry },
                drains,
            }),
            Err(error) => {
                units.release(arena);
                Err(error.into())
            }
        }
    }

    fn undo<B: Backing>(mut self, arena: &Arena<B>) {
        self.records.units.release(arena);
        self.drains.release(arena);
        arena.leave(self.key);
    }
}
