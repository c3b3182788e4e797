//! Views and maps that stay open from one operation to another.

use crate::calls::{Mapped, Pool, View};
use crate::driver::{Driver, differs, expect};
use crate::objects::all_answer;
use zs_capi::{zs_mapmode, zs_result};
use zs_model::{MapKind, pattern};

/// Maps that one run has open at a time.
const MOST_MAPS: usize = 12;

/// A view of an object, by its number in the run.
pub(crate) struct OpenView {
    object: u64,
    view: View,
}

/// A map of an object.
pub(crate) struct OpenMap {
    object: u64,
    pool: Pool,
    handle: u64,
    kind: MapKind,
    mapped: Mapped,
}

fn mode(kind: MapKind) -> u32 {
    let mode = match kind {
        MapKind::ReadOnly => zs_mapmode::ZS_MM_RO,
        MapKind::ReadWrite => zs_mapmode::ZS_MM_RW,
        MapKind::WriteOnly => zs_mapmode::ZS_MM_WO,
    };
    mode as u32
}

impl Driver {
    pub(crate) fn open_view(&mut self, at: usize) -> Result<(), String> {
        let object = &self.model.objects[at];
        let (id, due) = (object.id, object.entry());
        match self.pools[object.pool].view(object.key.to_bits()) {
            Ok(view) => {
                self.agree("view", Ok(()), due)?;
                self.model.objects[at].readers += 1;
                self.views.push(OpenView { object: id, view });
                Ok(())
            }
            Err(error) => self.agree("view", Err::<(), _>(error), due).map(drop),
        }
    }

    pub(crate) fn close_view(&mut self, nth: u16) -> Result<(), String> {
        let Some(nth) = (nth as usize).checked_rem(self.views.len()) else {
            return Ok(());
        };
        let open = self.views.swap_remove(nth);
        let at = self.held(open.object)?;
        if open.view.bytes() != self.model.objects[at].bytes {
            return Err("a view shows other bytes".to_owned());
        }
        open.view.end().map_err(|error| format!("{error:?}"))?;
        self.model.leave(at);
        Ok(())
    }

    /// Maps an object, if the model says so; a refusal must be the one that was due.
    fn open_map(&mut self, at: usize, kind: MapKind) -> Result<Option<OpenMap>, String> {
        let object = &self.model.objects[at];
        let (pool, handle, id) = (self.pools[object.pool], object.key.to_bits(), object.id);
        let due = self.model.map(at, kind.mode(), usize::MAX, false);
        match pool.map(handle, mode(kind), object.bytes.len()) {
            Ok(mapped) => {
                self.agree("map", Ok(()), due)?;
                self.report.mapped += 1;
                Ok(Some(OpenMap {
                    object: id,
                    pool,
                    handle,
                    kind,
                    mapped,
                }))
            }
            Err(Some(libc::EBUSY)) => {
                self.agree("map", Err::<(), _>(zs_result::ZS_BUSY), due)?;
                Ok(None)
            }
            Err(errno) => Err(differs("map", errno, due)),
        }
    }

    /// Maps, writes half of it so that a write-only map's zeros count, and unmaps.
    pub(crate) fn map(&mut self, at: usize, kind: MapKind, seed: u8) -> Result<(), String> {
        let Some(mut map) = self.open_map(at, kind)? else {
            return Ok(());
        };
        let before = self.model.objects[at].bytes.clone();
        let shown = match kind {
            MapKind::WriteOnly => vec![0; before.len()],
            MapKind::ReadOnly | MapKind::ReadWrite => before,
        };
        if map.mapped.bytes() != shown {
            return Err(format!("{kind:?} shows other bytes"));
        }
        if kind != MapKind::ReadOnly {
            let bytes = map.mapped.bytes_mut();
            let half = bytes.len().div_ceil(2);
            bytes[..half].copy_from_slice(&pattern(u64::from(seed), half));
            self.model.objects[at].bytes = bytes.to_vec();
            all_answer(map.pool, map.handle, zs_result::ZS_BUSY, libc::EBUSY)?;
        }
        expect("unmap", map.pool.unmap(map.handle), None)?;
        self.read_back(at)
    }

    pub(crate) fn hold_map(&mut self, at: usize, kind: MapKind, seed: u8) -> Result<(), String> {
        if self.maps.len() == MOST_MAPS {
            return Ok(());
        }
        let Some(mut map) = self.open_map(at, kind)? else {
            return Ok(());
        };
        let object = &mut self.model.objects[at];
        if kind == MapKind::ReadOnly {
            object.readers += 1;
        } else {
            object.mapped = true;
            object.bytes = pattern(u64::from(seed), object.bytes.len());
            map.mapped.bytes_mut().copy_from_slice(&object.bytes);
        }
        self.maps.push(map);
        Ok(())
    }

    pub(crate) fn end_map(&mut self, nth: u16) -> Result<(), String> {
        let Some(nth) = (nth as usize).checked_rem(self.maps.len()) else {
            return Ok(());
        };
        // Of several maps of one object, the latest ends first.
        let object = self.maps[nth].object;
        let latest = self.maps.iter().rposition(|map| map.object == object);
        let map = self.maps.remove(latest.unwrap_or(nth));
        let at = self.held(map.object)?;
        if map.mapped.bytes() != self.model.objects[at].bytes {
            return Err("a map shows other bytes".to_owned());
        }
        expect("unmap", map.pool.unmap(map.handle), None)?;
        if map.kind == MapKind::ReadOnly {
            self.model.leave(at);
            return Ok(());
        }
        self.model.objects[at].mapped = false;
        self.read_back(at)
    }

    fn held(&self, id: u64) -> Result<usize, String> {
        let at = self.model.held(id);
        at.ok_or_else(|| "the model lost an object that is open".to_owned())
    }
}
