//! Operations that show bytes: read, map, visit.

use crate::driver::Driver;
use crate::op::MapKind;
use crate::pattern;
use crate::step::differs;
use crate::words::Words;
use zs_mm::Backing;
use zsmalloc::{Error, MapMode, ReadGuard};

impl<B: Backing, W: Words> Driver<'_, '_, B, W> {
    pub(crate) fn read(&mut self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        let expected = object.entry();
        let pool = &self.pools[object.pool];
        let got = pool.read(object.key);
        let Some(guard) = self.agree("read", got, expected)? else {
            return Ok(());
        };
        let object = &self.model.objects[at];
        self.compare(object, guard.spans())?;
        copies(&guard, &object.bytes)?;
        self.report.spanning += u64::from(!guard.spans().second.is_empty());
        self.report.read += 1;
        drop(guard);
        let mut buffer = vec![0; self.model.page.bytes()];
        if pool.read_into(object.key, &mut buffer) != Ok(object.bytes.len()) {
            return Err("read_into answers otherwise than read".into());
        }
        self.read_back(at)
    }

    pub(crate) fn map(
        &mut self,
        at: usize,
        kind: MapKind,
        short: bool,
        seed: u8,
    ) -> Result<(), String> {
        // Its end would wait for what this thread has isolated.
        self.tokens.clear();
        let object = &self.model.objects[at];
        let (pool, key, mode) = (&self.pools[object.pool], object.key, kind.mode());
        let spans = pool
            .read(key)
            .is_ok_and(|guard| !guard.spans().second.is_empty());
        let mut buffer = vec![0xa5; object.bytes.len() - usize::from(short)];
        let expected = self.model.map(at, mode, buffer.len(), spans);
        let got = pool.map(key, mode, &mut buffer);
        let Some(mut mapping) = self.agree("map", got, expected)? else {
            return Ok(());
        };
        self.report.mapped += 1;
        let bytes = &self.model.objects[at].bytes;
        let right = match mode {
            MapMode::WriteOnly => mapping.len() == bytes.len() && mapping.iter().all(|&b| b == 0),
            MapMode::ReadOnly | MapMode::ReadWrite => *mapping == bytes[..],
        };
        if !right || mapping.bytes_mut().is_some() == (mode == MapMode::ReadOnly) {
            return Err(format!("{mode:?} shows other bytes"));
        }
        let Some(view) = mapping.bytes_mut() else {
            return Ok(());
        };
        // Half of it, so that a write-only mapping's zeros count.
        let half = view.len().div_ceil(2);
        view[..half].copy_from_slice(&pattern(u64::from(seed), half));
        let bytes = view.to_vec();
        self.excluded(at)?;
        drop(mapping);
        self.model.objects[at].bytes = bytes;
        self.read_back(at)
    }

    /// While mapped for writing, everything else is answered Busy.
    fn excluded(&mut self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        let (pool, key) = (&self.pools[object.pool], object.key);
        self.all_answer(Error::Busy, pool, key)
    }

    pub(crate) fn for_each(&mut self, pool: u8) -> Result<(), String> {
        let number = self.pool_number(pool);
        let mut wrong = None;
        let mut visited = Vec::new();
        let skipped = W::visit(&self.pools[number], &mut |key, spans| {
            let compared = match self.model.find(number, key) {
                Some(at) => self.compare(&self.model.objects[at], spans),
                None => Err(format!("{key:?} is visited but names nothing")),
            };
            if let Err(what) = compared {
                wrong.get_or_insert(what);
            }
            if visited.contains(&key) {
                wrong.get_or_insert(format!("{key:?} is visited twice"));
            }
            visited.push(key);
        });
        let mine = self
            .model
            .objects
            .iter()
            .filter(|object| object.pool == number && !object.freed);
        let (open, closed): (Vec<_>, Vec<_>) = mine.partition(|object| object.entry().is_ok());
        if visited.len() != open.len() || skipped != closed.len() as u64 {
            wrong.get_or_insert(format!("{} visited, {skipped} skipped", visited.len()));
        }
        wrong.map_or(Ok(()), Err)
    }
}

/// Checks that the ways to copy out of a guard agree, and refuse a buffer that is too short.
fn copies<A: zs_mm::ArenaRef, W: Words>(
    guard: &ReadGuard<'_, A, W>,
    bytes: &[u8],
) -> Result<(), String> {
    let mut buffer = vec![0; bytes.len() + 3];
    let needed = bytes.len();
    if guard.len() != needed {
        return Err(format!("{} bytes say they are {}", needed, guard.len()));
    }
    if guard.copy_to(&mut buffer[..needed - 1]) != Err(Error::BufferTooSmall { needed }) {
        return Err("a short buffer is taken".into());
    }
    if guard.copy_to(&mut buffer) != Ok(needed) || buffer[..needed] != *bytes {
        return Err("a copy differs".into());
    }
    if buffer[needed..] != [0, 0, 0] {
        return Err("a copy is too long".into());
    }
    if guard.contiguous(&mut buffer) != Ok(bytes) {
        return Err("the contiguous view differs".into());
    }
    let spans = !guard.spans().second.is_empty();
    let short = guard.contiguous(&mut buffer[..needed - 1]).map(<[u8]>::len);
    let expected = if spans {
        Err(Error::BufferTooSmall { needed })
    } else {
        Ok(needed)
    };
    if short != expected {
        return Err(differs("contiguous", short, expected.map(|_| ())));
    }
    Ok(())
}
