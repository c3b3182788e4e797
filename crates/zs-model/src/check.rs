//! What holds after every step.

use crate::driver::Driver;
use crate::migrate::underway;
use crate::model::Object;
use crate::words::Words;
use zs_mm::{Arena, ArenaRef, Backing, FrameId, FrameType};
use zsmalloc::{Client, Error, Pool, Spans};

/// Says whether an arena and its pools, all of them, add up, and keep to the limit.
///
/// # Errors
/// What does not hold.
pub fn sound<A: ArenaRef, C: Client>(
    arena: &Arena<A::Backing>,
    pools: &[Pool<A, C>],
) -> Result<(), String> {
    sound_beside(arena, pools, 0)
}

/// Works as [`sound`], where so many bytes are charged elsewhere.
pub(crate) fn sound_beside<A: ArenaRef, C: Client>(
    arena: &Arena<A::Backing>,
    pools: &[Pool<A, C>],
    elsewhere: u64,
) -> Result<(), String> {
    let (mut metadata, mut frames) = (elsewhere, 0);
    for pool in pools {
        pool.validate()
            .map_err(|error| format!("validate: {error}"))?;
        let stats = pool.stats();
        metadata += stats.metadata.total();
        frames += stats.frame_bytes;
        if stats.slots < stats.objects || stats.frame_bytes < stats.payload_bytes {
            return Err(format!("more than there is: {stats:?}"));
        }
    }
    let valid = arena.validate(metadata);
    valid.map_err(|error| format!("the arena: {error}"))?;
    let stats = arena.stats();
    let (_, draining) = underway(arena);
    if stats.in_use != frames + draining * arena.options().page_size.bytes() as u64 {
        return Err(format!("{frames} bytes of frames attached: {stats:?}"));
    }
    if stats.held > stats.limit || stats.peak > stats.limit || stats.cached > stats.held {
        return Err(format!("beyond the limit: {stats:?}"));
    }
    Ok(())
}

impl<B: Backing, W: Words> Driver<'_, '_, B, W> {
    /// Everything recounted, and the counters against the model's.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (number, pool) in self.pools.iter().enumerate() {
            let stats = pool.stats();
            let (objects, bytes) = self.model.totals(number);
            if (stats.objects, stats.payload_bytes) != (objects, bytes) {
                return Err(format!(
                    "{objects} objects of {bytes} bytes, but the pool says {stats:?}"
                ));
            }
        }
        sound_beside(self.arena, self.pools, self.elsewhere)
    }

    /// Ends everything that is held, frees everything, and looks that nothing is left.
    pub(crate) fn empty(&mut self) -> Result<(), String> {
        self.tokens.clear();
        while !self.readers.is_empty() {
            self.close_reader(0)?;
        }
        while !self.maps.is_empty() {
            self.end_map(0)?;
        }
        while let Some(last) = self.model.objects.len().checked_sub(1) {
            self.read_back(last)?;
            let object = &self.model.objects[last];
            let freed = self.pools[object.pool].free(object.key);
            freed.map_err(|error| format!("the last free: {error}"))?;
            let gone = self.model.free(last);
            self.check_gone(gone.as_ref())?;
        }
        for pool in self.pools {
            pool.trim();
        }
        self.check()?;
        let stats = self.arena.stats();
        let mut metadata = stats.metadata + self.elsewhere;
        for pool in self.pools {
            let left = pool.stats();
            metadata += left.metadata.total();
            if (left.frames, left.zspages, left.slots) != (0, 0, 0) {
                return Err(format!("left in an empty pool: {left:?}"));
            }
        }
        if stats.held != metadata || stats.cached != 0 {
            return Err(format!("held beside {metadata} of metadata: {stats:?}"));
        }
        Ok(())
    }

    /// Reads an object and compares it with the model's, word and all.
    pub(crate) fn read_back(&self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        let pool = &self.pools[object.pool];
        match pool.read(object.key) {
            Ok(guard) => self.compare(object, guard.spans())?,
            Err(error) => return Err(format!("read back: {error}")),
        }
        if !W::keeps(pool, object.key, &object.ask) {
            return Err("a word does not carry its client's bits".into());
        }
        Ok(())
    }

    /// Compares bytes, and that they lie in two spans only if they must.
    pub(crate) fn compare(&self, object: &Object<W>, spans: Spans<'_>) -> Result<(), String> {
        let bytes = &object.bytes;
        if spans.first.len() + spans.second.len() != bytes.len() {
            return Err(format!(
                "{} bytes have another length: {spans:?}",
                bytes.len()
            ));
        }
        let (first, second) = bytes.split_at(spans.first.len());
        if (spans.first, spans.second) != (first, second) {
            return Err(format!("{} bytes read differently", bytes.len()));
        }
        let page = self.model.page.bytes();
        let fits = self.offset_of(spans.first) % page + bytes.len() <= page;
        if fits != spans.second.is_empty() {
            return Err("two spans where one is enough, or one across two frames".into());
        }
        Ok(())
    }

    /// Returns where bytes lie in the payload.
    fn offset_of(&self, bytes: &[u8]) -> usize {
        // SAFETY: no byte is borrowed, only the place where the payload starts.
        let base = unsafe { self.arena.payload().bytes(0, 0) };
        bytes.as_ptr().addr() - base.as_ptr().addr()
    }

    /// Overwrites every byte of every attached frame that belongs to no object. Not while
    /// something is mapped: nobody sees then where it lies.
    pub(crate) fn scribble(&mut self, seed: u8) -> Result<(), String> {
        if !self.maps.is_empty() {
            return Ok(());
        }
        let mut taken = Vec::new();
        let mut add = |spans: Spans<'_>| {
            for span in [spans.first, spans.second] {
                if !span.is_empty() {
                    taken.push((self.offset_of(span), span.len()));
                }
            }
        };
        for reader in &self.readers {
            add(reader.guard.spans());
        }
        for object in self.model.objects.iter().filter(|object| !object.freed) {
            match self.pools[object.pool].read(object.key) {
                Ok(guard) => add(guard.spans()),
                Err(Error::Busy) => {}
                Err(error) => return Err(format!("read to scribble: {error}")),
            }
        }
        taken.sort_unstable();
        self.scribble_but(&taken, seed);
        self.report.scribbled += 1;
        Ok(())
    }

    /// Overwrites all attached frames but for the sorted ranges `taken`.
    fn scribble_but(&self, taken: &[(usize, usize)], seed: u8) {
        let page = self.model.page.bytes();
        let rubbish = vec![seed | 0x80; page];
        let mut next = 0;
        let mut frame = 0;
        while let Some(descriptor) = self.arena.frame_descriptor(FrameId(frame)) {
            let end = (frame as usize + 1) * page;
            let mut start = end - page;
            let attached = descriptor.frame_type() == FrameType::Zspage;
            while attached && start < end {
                while next < taken.len() && taken[next].0 + taken[next].1 <= start {
                    next += 1;
                }
                let (from, len) = taken.get(next).copied().unwrap_or((usize::MAX, 0));
                let gap = from.min(end).saturating_sub(start);
                // SAFETY: an attached frame is committed; the gap lies between the objects, which
                // are all listed, and the run has one thread.
                unsafe { self.arena.payload().write(start, &rubbish[..gap]) };
                start = if from < end { from + len } else { end };
            }
            frame += 1;
        }
    }
}
