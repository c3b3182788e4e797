//! What must be.

use crate::words::{Presence, Words};
use zs_mm::PageSize;
use zsmalloc::{Error, MAX_READERS, MapMode};

/// An object: alive, or freed with readers inside.
#[derive(Debug)]
pub struct Object<W: Words> {
    /// Its number in the run.
    pub id: u64,
    /// The number of its pool.
    pub pool: usize,
    /// What it is named by.
    pub key: W::Key,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Guards and read-only mappings inside.
    pub readers: u32,
    /// Mapped for writing.
    pub mapped: bool,
    /// Freed, with somebody inside still.
    pub freed: bool,
    /// What the client asked for when the object was made.
    pub ask: W::Ask,
}

impl<W: Words> Object<W> {
    /// Returns what a read must answer.
    ///
    /// # Errors
    /// That.
    pub fn entry(&self) -> Result<(), Error> {
        if self.mapped || self.readers == MAX_READERS {
            return Err(Error::Busy);
        }
        Ok(())
    }

    /// Returns what an operation that needs the object alone must answer.
    ///
    /// # Errors
    /// That.
    pub fn alone(&self) -> Result<(), Error> {
        if self.mapped || self.readers > 0 {
            return Err(Error::Busy);
        }
        Ok(())
    }
}

/// All objects of a run, and the keys that were freed.
#[derive(Debug)]
pub struct Model<W: Words> {
    /// The pools' page size.
    pub page: PageSize,
    /// The most objects of one pool.
    pub most: u64,
    /// The objects, in no order.
    pub objects: Vec<Object<W>>,
    /// The keys that were freed, each with the number of its pool.
    pub stale: Vec<(usize, W::Key)>,
    made: u64,
}

impl<W: Words> Model<W> {
    /// Makes a model without objects, for pools of at most `most` objects each.
    pub fn new(page: PageSize, most: u64) -> Self {
        Self {
            page,
            most,
            objects: Vec::new(),
            stale: Vec::new(),
            made: 0,
        }
    }

    /// Returns the `nth` live object.
    pub fn nth_live(&self, nth: u16) -> Option<usize> {
        let live = |object: &&Object<W>| !object.freed;
        let count = self.objects.iter().filter(live).count();
        let nth = (nth as usize).checked_rem(count)?;
        let mut live = self
            .objects
            .iter()
            .enumerate()
            .filter(|(_, object)| !object.freed);
        live.nth(nth).map(|(at, _)| at)
    }

    /// A new object.
    pub fn add(&mut self, pool: usize, key: W::Key, bytes: Vec<u8>, ask: W::Ask) {
        self.made += 1;
        self.objects.push(Object {
            id: self.made,
            pool,
            key,
            bytes,
            readers: 0,
            mapped: false,
            freed: false,
            ask,
        });
    }

    /// Returns the object with a number, which somebody holds.
    pub fn held(&self, id: u64) -> Option<usize> {
        self.objects.iter().position(|object| object.id == id)
    }

    /// Returns the live object of a key.
    pub fn find(&self, pool: usize, key: W::Key) -> Option<usize> {
        self.objects
            .iter()
            .position(|object| object.pool == pool && object.key == key && !object.freed)
    }

    /// Returns what a key stands for.
    pub fn presence(&self, pool: usize, key: W::Key) -> Presence {
        let mut all = self
            .objects
            .iter()
            .filter(|object| object.pool == pool && object.key == key);
        match all.next() {
            None => Presence::Absent,
            Some(object) if object.freed => Presence::Freeing,
            Some(_) => Presence::Live,
        }
    }

    /// Objects of a pool and their bytes, those with readers inside a freed one too.
    pub fn totals(&self, pool: usize) -> (u64, u64) {
        let mine = self.objects.iter().filter(|object| object.pool == pool);
        mine.fold((0, 0), |(objects, bytes), object| {
            (objects + 1, bytes + object.bytes.len() as u64)
        })
    }

    /// Returns what a size must be answered, whatever else.
    ///
    /// # Errors
    /// That.
    pub fn size(&self, len: usize) -> Result<(), Error> {
        match len {
            0 => Err(Error::ZeroSize),
            size if size > self.page.bytes() => Err(Error::TooLarge {
                size,
                max: self.page.bytes(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns what mapping must answer; `spans` says whether the object lies in two frames.
    ///
    /// # Errors
    /// That.
    pub fn map(&self, at: usize, mode: MapMode, buffer: usize, spans: bool) -> Result<(), Error> {
        let object = &self.objects[at];
        let direct = mode == MapMode::ReadOnly && !spans;
        match mode {
            MapMode::ReadOnly => object.entry()?,
            MapMode::ReadWrite | MapMode::WriteOnly => object.alone()?,
        }
        let needed = object.bytes.len();
        if !direct && buffer < needed {
            return Err(Error::BufferTooSmall { needed });
        }
        Ok(())
    }

    /// Frees an object: it goes now, and is returned, or with its last reader.
    pub fn free(&mut self, at: usize) -> Option<Object<W>> {
        let object = &mut self.objects[at];
        object.freed = true;
        self.stale.push((object.pool, object.key));
        self.bury(at)
    }

    /// Lets a reader leave; returns the object if it went with it.
    pub fn leave(&mut self, at: usize) -> Option<Object<W>> {
        self.objects[at].readers -= 1;
        self.bury(at)
    }

    fn bury(&mut self, at: usize) -> Option<Object<W>> {
        let object = &self.objects[at];
        let gone = object.freed && object.readers == 0;
        gone.then(|| self.objects.swap_remove(at))
    }
}
