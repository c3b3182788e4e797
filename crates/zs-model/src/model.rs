//! What must be.

use crate::words::{Presence, Words};
use zs_mm::PageSize;
use zsmalloc::{Error, MAX_READERS, MapMode};

/// An object: alive, or freed with readers inside.
#[derive(Debug)]
pub(crate) struct Object<W: Words> {
    /// Its number in the run.
    pub(crate) id: u64,
    pub(crate) pool: usize,
    pub(crate) key: W::Key,
    pub(crate) bytes: Vec<u8>,
    /// Guards and read-only mappings inside.
    pub(crate) readers: u32,
    /// Mapped for writing.
    pub(crate) mapped: bool,
    pub(crate) freed: bool,
    /// What the client asked for when the object was made.
    pub(crate) ask: W::Ask,
}

impl<W: Words> Object<W> {
    /// What a read must answer.
    pub(crate) fn entry(&self) -> Result<(), Error> {
        if self.mapped || self.readers == MAX_READERS {
            return Err(Error::Busy);
        }
        Ok(())
    }

    /// What an operation that needs the object alone must answer.
    pub(crate) fn alone(&self) -> Result<(), Error> {
        if self.mapped || self.readers > 0 {
            return Err(Error::Busy);
        }
        Ok(())
    }
}

/// All objects of a run, and the keys that were freed.
#[derive(Debug)]
pub(crate) struct Model<W: Words> {
    pub(crate) page: PageSize,
    /// The most objects of one pool.
    pub(crate) most: u64,
    pub(crate) objects: Vec<Object<W>>,
    pub(crate) stale: Vec<(usize, W::Key)>,
    made: u64,
}

impl<W: Words> Model<W> {
    pub(crate) fn new(page: PageSize, most: u64) -> Self {
        Self {
            page,
            most,
            objects: Vec::new(),
            stale: Vec::new(),
            made: 0,
        }
    }

    /// The `nth` live object.
    pub(crate) fn nth_live(&self, nth: u16) -> Option<usize> {
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
    pub(crate) fn add(&mut self, pool: usize, key: W::Key, bytes: Vec<u8>, ask: W::Ask) {
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

    /// The object with a number, which somebody holds.
    pub(crate) fn held(&self, id: u64) -> Option<usize> {
        self.objects.iter().position(|object| object.id == id)
    }

    /// The live object of a key.
    pub(crate) fn find(&self, pool: usize, key: W::Key) -> Option<usize> {
        self.objects
            .iter()
            .position(|object| object.pool == pool && object.key == key && !object.freed)
    }

    /// What a key stands for.
    pub(crate) fn presence(&self, pool: usize, key: W::Key) -> Presence {
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
    pub(crate) fn totals(&self, pool: usize) -> (u64, u64) {
        let mine = self.objects.iter().filter(|object| object.pool == pool);
        mine.fold((0, 0), |(objects, bytes), object| {
            (objects + 1, bytes + object.bytes.len() as u64)
        })
    }

    /// What a size must be answered, whatever else.
    pub(crate) fn size(&self, len: usize) -> Result<(), Error> {
        match len {
            0 => Err(Error::ZeroSize),
            size if size > self.page.bytes() => Err(Error::TooLarge {
                size,
                max: self.page.bytes(),
            }),
            _ => Ok(()),
        }
    }

    /// What mapping must answer; `spans` says whether the object lies in two frames.
    pub(crate) fn map(
        &self,
        at: usize,
        mode: MapMode,
        buffer: usize,
        spans: bool,
    ) -> Result<(), Error> {
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
    pub(crate) fn free(&mut self, at: usize) -> Option<Object<W>> {
        let object = &mut self.objects[at];
        object.freed = true;
        self.stale.push((object.pool, object.key));
        self.bury(at)
    }

    /// A reader leaves; the object is returned if it went with it.
    pub(crate) fn leave(&mut self, at: usize) -> Option<Object<W>> {
        self.objects[at].readers -= 1;
        self.bury(at)
    }

    fn bury(&mut self, at: usize) -> Option<Object<W>> {
        let object = &self.objects[at];
        let gone = object.freed && object.readers == 0;
        gone.then(|| self.objects.swap_remove(at))
    }
}
