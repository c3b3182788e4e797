//! Readers and mappings that are held from one step to another.

use crate::driver::{Driver, HeldMap, HeldReader};
use crate::model::Object;
use crate::op::MapKind;
use crate::pattern;
use crate::words::Words;
use zs_mm::Backing;

impl<B: Backing, W: Words> Driver<'_, '_, B, W> {
    pub(crate) fn open_reader(&mut self, nth: u16) -> Result<(), String> {
        let Some(at) = self.model.nth_live(nth) else {
            return Ok(());
        };
        let object = &self.model.objects[at];
        let (key, id, expected) = (object.key, object.id, object.entry());
        let got = self.pools[object.pool].read(key);
        if let Some(guard) = self.agree("read", got, expected)? {
            self.model.objects[at].readers += 1;
            self.readers.push(HeldReader { object: id, guard });
        }
        Ok(())
    }

    pub(crate) fn close_reader(&mut self, nth: u16) -> Result<(), String> {
        let Some(nth) = (nth as usize).checked_rem(self.readers.len()) else {
            return Ok(());
        };
        let reader = self.readers.swap_remove(nth);
        let at = self.held(reader.object)?;
        self.compare(&self.model.objects[at], reader.guard.spans())?;
        drop(reader);
        let gone = self.model.leave(at);
        self.check_gone(gone.as_ref())
    }

    pub(crate) fn hold_map(&mut self, nth: u16, kind: MapKind, seed: u8) -> Result<(), String> {
        let Some(at) = self.model.nth_live(nth) else {
            return Ok(());
        };
        let object = &self.model.objects[at];
        let expected = self.model.map(at, kind.mode(), usize::MAX, false);
        let (pool, key, id) = (&self.pools[object.pool], object.key, object.id);
        if expected.is_err() {
            let mut scratch = vec![0; object.bytes.len()];
            let got = pool.map(key, kind.mode(), &mut scratch).map(|_| ());
            return self.agree("map", got, expected).map(|_| ());
        }
        let Some(buffer) = self.buffers.pop() else {
            return Ok(());
        };
        let got = pool.map(key, kind.mode(), buffer);
        let Some(mut mapping) = self.agree("map", got, expected)? else {
            return Ok(());
        };
        let object = &mut self.model.objects[at];
        if let Some(bytes) = mapping.bytes_mut() {
            object.bytes = pattern(u64::from(seed), bytes.len());
            bytes.copy_from_slice(&object.bytes);
        }
        match kind {
            MapKind::ReadOnly => object.readers += 1,
            MapKind::ReadWrite | MapKind::WriteOnly => object.mapped = true,
        }
        let object = id;
        self.maps.push(HeldMap {
            object,
            kind,
            mapping,
        });
        self.report.mapped += 1;
        Ok(())
    }

    pub(crate) fn end_map(&mut self, nth: u16) -> Result<(), String> {
        let Some(nth) = (nth as usize).checked_rem(self.maps.len()) else {
            return Ok(());
        };
        // It would wait for what this thread has isolated.
        self.tokens.clear();
        let map = self.maps.swap_remove(nth);
        let at = self.held(map.object)?;
        if *map.mapping != self.model.objects[at].bytes[..] {
            return Err("a mapping shows other bytes".into());
        }
        drop(map.mapping);
        if map.kind != MapKind::ReadOnly {
            self.model.objects[at].mapped = false;
            return self.read_back(at);
        }
        let gone = self.model.leave(at);
        self.check_gone(gone.as_ref())
    }

    fn held(&self, id: u64) -> Result<usize, String> {
        let at = self.model.held(id);
        at.ok_or_else(|| "the model lost an object that is held".into())
    }

    /// Checks that a word that is empty for good is as its client wants it.
    pub(crate) fn check_gone(&self, gone: Option<&Object<W>>) -> Result<(), String> {
        match gone {
            Some(object)
                if !W::is_empty_after(&self.pools[object.pool], object.key, &object.ask) =>
            {
                Err("a freed word is not what its client wants".into())
            }
            _ => Ok(()),
        }
    }
}
