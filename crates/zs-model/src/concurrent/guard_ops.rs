//! Readers and mappings that a worker holds from one operation to another.

use super::client::Meeting;
use super::guards::{HeldMap, HeldReader};
use super::stamp::{contents, stamp_of, stamp_of_spans};
use super::worker::Worker;
use crate::{MapKind, What};
use std::collections::BTreeSet;
use zsmalloc::MapMode;

/// Readers that a thread holds at most.
const HELD_READERS: usize = 4;

impl<'s, C: Meeting> Worker<'s, C> {
    /// Pins an object and reads it.
    fn enter(&self, at: (usize, C::Key)) -> Result<Option<HeldReader<'s, C>>, String> {
        let scene = self.scene;
        let start = scene.now();
        let guard = match scene.pools[at.0].read(at.1) {
            Ok(guard) => guard,
            Err(error) => {
                self.noted::<()>("read", at, start, Err(error), |()| What::Inside)?;
                return Ok(None);
            }
        };
        let end = scene.now();
        let stamp = stamp_of_spans(guard.spans())?;
        scene.note(self.me, at, start..end, What::Read(stamp));
        let spanning = !guard.spans().second.is_empty();
        let outcome = if spanning { "spanning" } else { "done" };
        scene.ledger().tally.count("read", outcome);
        Ok(Some(HeldReader {
            at,
            start,
            stamp,
            guard,
        }))
    }

    /// Looks whether an object is as it was, and leaves it.
    fn leave(&self, reader: HeldReader<'s, C>) -> Result<(), String> {
        let stamp = stamp_of_spans(reader.guard.spans())?;
        if stamp != reader.stamp {
            let was = reader.stamp;
            return Err(format!("{was:#x} became {stamp:#x} under its reader"));
        }
        drop(reader.guard);
        let span = reader.start..self.scene.now();
        self.scene.note(self.me, reader.at, span, What::Inside);
        Ok(())
    }

    pub(super) fn read(&mut self, at: (usize, C::Key)) -> Result<(), String> {
        match self.enter(at)? {
            Some(reader) => self.leave(reader),
            None => Ok(()),
        }
    }

    pub(super) fn open_reader(&mut self, at: (usize, C::Key)) -> Result<(), String> {
        if self.readers.len() < HELD_READERS {
            let reader = self.enter(at)?;
            self.readers.extend(reader);
        }
        Ok(())
    }

    pub(super) fn close_reader(&mut self, nth: u16) -> Result<(), String> {
        match (nth as usize).checked_rem(self.readers.len()) {
            Some(nth) => {
                let reader = self.readers.swap_remove(nth);
                self.leave(reader)
            }
            None => Ok(()),
        }
    }

    pub(super) fn hold_map(&mut self, at: (usize, C::Key), kind: MapKind) -> Result<(), String> {
        let Some(buffer) = self.buffers.pop() else {
            return Ok(());
        };
        let (scene, mode) = (self.scene, kind.mode());
        let start = scene.now();
        let mut mapping = match scene.pools[at.0].map(at.1, mode, buffer) {
            Ok(mapping) => mapping,
            Err(error) => {
                let refused = self.noted::<()>("map", at, start, Err(error), |()| What::Inside);
                return refused.map(|_| ());
            }
        };
        let end = scene.now();
        let mut stamp = stamp_of(&mapping)?;
        match mode {
            MapMode::WriteOnly if stamp != 0 => return Err("a fresh view is not zero".into()),
            MapMode::WriteOnly => {}
            _ => scene.note(self.me, at, start..end, What::Read(stamp)),
        }
        let len = mapping.len();
        let view = mapping.bytes_mut();
        let writes = view.is_some();
        if let Some(view) = view {
            stamp = self.make(len).0;
            view.copy_from_slice(&contents(stamp));
        }
        scene
            .ledger()
            .tally
            .count("map", if writes { "for writing" } else { "done" });
        self.maps.push(HeldMap {
            at,
            start,
            stamp,
            writes,
            mapping,
        });
        Ok(())
    }

    fn unmap(&mut self, map: HeldMap<'s, C>) -> Result<(), String> {
        self.tokens.clear();
        let (scene, stamp) = (self.scene, map.stamp);
        if stamp_of(&map.mapping)? != stamp {
            return Err(format!("a view of {stamp:#x} changed"));
        }
        let start = scene.now();
        drop(map.mapping);
        let end = scene.now();
        if map.writes {
            scene.note(self.me, map.at, start..end, What::Wrote(stamp));
        }
        scene.note(self.me, map.at, map.start..end, What::Inside);
        Ok(())
    }

    pub(super) fn end_map(&mut self, nth: u16) -> Result<(), String> {
        match (nth as usize).checked_rem(self.maps.len()) {
            Some(nth) => {
                let map = self.maps.swap_remove(nth);
                self.unmap(map)
            }
            None => Ok(()),
        }
    }

    /// Ends all mappings but the first `kept`.
    pub(super) fn end_maps_from(&mut self, kept: usize) -> Result<(), String> {
        while self.maps.len() > kept {
            if let Some(map) = self.maps.pop() {
                self.unmap(map)?;
            }
        }
        Ok(())
    }

    /// Ends everything that is held: whoever waits for others' readers must be none.
    pub(super) fn leave_all(&mut self) -> Result<(), String> {
        self.tokens.clear();
        while let Some(reader) = self.readers.pop() {
            self.leave(reader)?;
        }
        self.end_maps_from(0)
    }

    /// Visits every object of a pool. One that was not visited was not there all the time.
    pub(super) fn visit(&mut self, pool: usize) -> Result<(), String> {
        let (scene, me) = (self.scene, self.me);
        let start = scene.now();
        let mut since = start;
        let mut seen = BTreeSet::new();
        let mut wrong = None;
        let skipped = C::visit(&scene.pools[pool], &mut |key, guard| {
            let end = scene.now();
            match stamp_of_spans(guard.spans()) {
                Ok(stamp) => scene.note(me, (pool, key), since..end, What::Read(stamp)),
                Err(what) => wrong = Some(what),
            }
            drop(guard);
            let left = scene.now();
            scene.note(me, (pool, key), since..left, What::Inside);
            since = left;
            if !seen.insert(key) {
                wrong = Some(format!("{key:?} is visited twice"));
            }
        });
        if let Some(what) = wrong {
            return Err(what);
        }
        let end = scene.now();
        scene.ledger().tally.count("visit", "done");
        if skipped == 0 {
            let of_pool = |(place, key): &(usize, C::Key)| *place == pool && !seen.contains(key);
            let missed: Vec<_> = {
                let ledger = scene.ledger();
                ledger.histories.keys().copied().filter(of_pool).collect()
            };
            for at in missed {
                scene.note(me, at, start..end, What::Stale);
            }
        }
        Ok(())
    }
}
