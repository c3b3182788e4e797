//! What lies in the pools before there are threads.

use super::client::Meeting;
use super::scene::Scene;
use super::worker::Worker;
use crate::{Length, Op, What};

/// Stores something in two of three places, and lays the sediment of each pool.
pub(super) fn prefill<C: Meeting>(scene: &Scene<C>) -> Result<(), String> {
    let mut worker = Worker::new(scene, scene.threads());
    let places = scene.places().filter(|place| place.slot % 3 != 2);
    for (nth, place) in places.enumerate() {
        worker.step(Op::Insert {
            pool: place.pool as u8,
            len: Length((nth as u16).wrapping_mul(0x9e37)),
            slot: 2 * place.slot as u16 + 1,
            seed: 0,
        })?;
    }
    (0..scene.pools.len()).try_for_each(|pool| worker.lay_sediment(pool))
}

impl<C: Meeting> Worker<'_, C> {
    /// Makes objects that no place names, of few classes, and frees two of three: sparse zspages.
    /// Who visits, moves or gives back everything meets them.
    fn lay_sediment(&mut self, pool: usize) -> Result<(), String> {
        let scene = self.scene;
        let mut laid = Vec::new();
        for (slot, len) in scene.sediment() {
            let (stamp, bytes) = self.make(len);
            let start = scene.now();
            let got = C::insert(&scene.pools[pool], slot, &bytes);
            let key = got.map_err(|error| format!("no room for sediment: {error}"))?;
            self.noted("insert", (pool, key), start, got, |_| What::Inserted(stamp))?;
            laid.push((pool, key));
        }
        let gone = laid.into_iter().enumerate().filter(|(nth, _)| nth % 3 != 0);
        for (_, at) in gone {
            self.free(at)?;
        }
        Ok(())
    }
}
