//! The end: everything read back, counted, freed.

use super::client::Meeting;
use super::scene::Scene;
use super::stamp::stamp_of_spans;
use super::tally::Tally;
use crate::check::sound_beside;
use crate::{Environment as _, What};
use zsmalloc::Error;

/// Looks whether all that the threads saw can be explained, and whether everything adds up; then
/// frees everything and looks that nothing is left. All threads have ended.
///
/// # Errors
/// What is wrong.
pub(super) fn finish_batch<C: Meeting>(scene: Scene<C>) -> Result<Tally, String> {
    scene.world.clear_faults();
    let live = read_back(&scene)?;
    explain(&scene)?;
    let elsewhere = scene.elsewhere.as_ref().map_or(0, |&(_, bytes)| bytes);
    sound_beside(&scene.arena, &scene.pools, elsewhere)?;
    for (pool, key) in live {
        let freed = scene.pools[pool].free(key);
        freed.map_err(|error| format!("the last free of {key:?}: {error}"))?;
    }
    let tally = scene.ledger().tally.clone();
    empty(scene)?;
    Ok(tally)
}

/// Reads every key that was ever used, and compares what is live with the pools' counters.
fn read_back<C: Meeting>(scene: &Scene<C>) -> Result<Vec<(usize, C::Key)>, String> {
    let keys: Vec<_> = scene.ledger().histories.keys().copied().collect();
    let mut live = Vec::new();
    let mut totals = vec![(0, 0); scene.pools.len()];
    for at in keys {
        let (pool, key) = at;
        let start = scene.now();
        let what = match scene.pools[pool].read(key) {
            Ok(guard) => {
                live.push(at);
                totals[pool].0 += 1;
                totals[pool].1 += guard.len() as u64;
                What::Read(stamp_of_spans(guard.spans())?)
            }
            Err(Error::Stale) => What::Stale,
            Err(error) => return Err(format!("{key:?} answers {error:?} in the end")),
        };
        let end = scene.now();
        scene.note(scene.threads(), at, start..end, what);
    }
    for (pool, total) in scene.pools.iter().zip(totals) {
        let stats = pool.stats();
        if (stats.objects, stats.payload_bytes) != total {
            return Err(format!(
                "{total:?} can be read, but the pool says {stats:?}"
            ));
        }
    }
    Ok(live)
}

/// Says whether some order explains what was seen of each key.
fn explain<C: Meeting>(scene: &Scene<C>) -> Result<(), String> {
    let mut ledger = scene.ledger();
    let mut deferred = 0;
    for ((_, key), history) in &ledger.histories {
        let checked = history.check();
        checked.map_err(|what| format!("{key:?}: {what}\nin {history:#?}"))?;
        deferred += history.deferred_frees();
    }
    ledger.tally.add("free", "deferred", deferred);
    Ok(())
}

/// Gives everything back, and looks that nothing is left.
fn empty<C: Meeting>(scene: Scene<C>) -> Result<(), String> {
    for pool in &scene.pools {
        pool.trim();
        let left = pool.stats();
        if (left.frames, left.zspages, left.slots) != (0, 0, 0) {
            return Err(format!("left in an empty pool: {left:?}"));
        }
    }
    if let Some((charge, _)) = scene.elsewhere {
        scene.arena.uncharge(charge);
    }
    for pool in scene.pools {
        let destroyed = pool.destroy();
        destroyed.map_err(|error| format!("destroy: {error}"))?;
    }
    let arena = scene.arena;
    arena.trim();
    arena.validate(0).map_err(|error| error.to_string())?;
    let stats = arena.stats();
    if stats.held != stats.metadata || arena.frames_in_use() != 0 {
        return Err(format!("left when all pools are gone: {stats:?}"));
    }
    Ok(())
}
