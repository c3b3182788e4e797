//! What the threads of a run share.

use super::client::{Meeting, SharedPool};
use super::tally::Tally;
use crate::{Event, History, Length, Numbers, Op, TestArena, What, World};
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zs_mm::{ArenaOptions, Charge, PageSize, ZoneSpecs};
use zsmalloc::PoolOptions;

/// Places of one pool: each names an object, or none.
const PLACES: usize = 32;
/// The places that half of all operations go to, so that threads meet.
const HOT: usize = 3;
/// Objects of one pool that no place names.
const SEDIMENT: usize = 24;
/// Frames that three pools cannot fill: two for each place's object, one for each of the sediment's
/// (no longer than 88 parts of 128), and some on the way.
const FRAMES: u64 = 3 * (2 * PLACES + SEDIMENT) as u64 + 16;
/// Beside the frames: caches, and metadata.
const MORE: u64 = 2 << 20;
/// Names of pools.
const NAMES: [&str; 3] = ["first", "second", "third"];

/// A place: a number that all threads know an object by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pool: usize,
    pub(super) slot: usize,
}

/// What was noted of one run.
pub(super) struct Ledger<K> {
    now: u64,
    pub(super) histories: BTreeMap<(usize, K), History>,
    /// Keys that were freed.
    pub(super) gone: Vec<(usize, K)>,
    pub(super) tally: Tally,
}

/// What the threads of a run share.
pub(super) struct Scene<C: Meeting> {
    pub(super) page: PageSize,
    pub(super) world: World,
    pub(super) arena: Arc<TestArena>,
    pub(super) pools: Vec<SharedPool<C>>,
    /// Little is left of the limit, and calls of the backing fail.
    pub(super) is_scarce: bool,
    /// What the limit was used up with, in bytes.
    pub(super) elsewhere: Option<(Charge, u64)>,
    pub(super) scripts: Vec<Vec<Op>>,
    places: Vec<[Mutex<Option<C::Key>>; PLACES]>,
    ledger: Mutex<Ledger<C::Key>>,
}

impl<C: Meeting> Scene<C> {
    /// Returns the scene of a seed, with nothing stored yet.
    pub(super) fn new(page: PageSize, seed: u64) -> Result<Self, String> {
        let mut numbers = Numbers::new(seed);
        let granule = [4 << 10, 16 << 10, 64 << 10][numbers.below(3)];
        let options = ArenaOptions {
            page_size: page,
            zones: ZoneSpecs::normal(1 + (seed % 2) as usize),
            ..ArenaOptions::new(MORE + FRAMES * page.bytes() as u64)
        };
        let made = World::with_options(options, granule);
        let (arena, world) = made.map_err(|error| error.to_string())?;
        if numbers.below(2) == 0 {
            // One cache for all; otherwise one each.
            world.host.set_cpu(0);
        }
        let arena = Arc::new(arena);
        let zero_freed = numbers.below(4) == 0;
        let pool = |name: &&str| {
            let options = PoolOptions {
                zero_freed,
                ..PoolOptions::named(name)
            };
            C::pool(Arc::clone(&arena), options, (PLACES + SEDIMENT) as u32)
        };
        let pools: Result<Vec<_>, _> = NAMES.iter().take(1 + numbers.below(3)).map(pool).collect();
        let pools = pools.map_err(|error| format!("the pools could not be made: {error}"))?;
        let key_of = |slot: usize| Mutex::new(C::key_of(slot as u32));
        Ok(Self {
            page,
            world,
            places: pools.iter().map(|_| std::array::from_fn(key_of)).collect(),
            pools,
            arena,
            is_scarce: numbers.below(4) == 0,
            elsewhere: None,
            scripts: scripts(&mut numbers),
            ledger: Mutex::new(Ledger {
                now: 0,
                histories: BTreeMap::new(),
                gone: Vec::new(),
                tally: Tally::default(),
            }),
        })
    }

    pub(super) fn threads(&self) -> usize {
        self.scripts.len()
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger<C::Key>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every place of every pool.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let of = |pool| (0..PLACES).map(move |slot| Place { pool, slot });
        (0..self.pools.len()).flat_map(of)
    }

    /// Returns the place that an operation's number stands for.
    pub(super) fn place(&self, nth: u16) -> Place {
        self.place_in((nth >> 8) as u8, nth & 0xff)
    }

    /// Returns the place of a pool that an operation's number stands for; even numbers are the hot
    /// ones.
    pub(super) fn place_in(&self, pool: u8, nth: u16) -> Place {
        let nth = nth as usize;
        let slots = if nth.is_multiple_of(2) { HOT } else { PLACES };
        Place {
            pool: pool as usize % self.pools.len(),
            slot: nth / 2 % slots,
        }
    }

    /// Returns the key that a place holds.
    pub(super) fn key(&self, place: Place) -> Option<C::Key> {
        *self.cell(place)
    }

    /// Puts a key into a place; returns the one before.
    pub(super) fn put(&self, place: Place, key: C::Key) -> Option<C::Key> {
        self.cell(place).replace(key)
    }

    fn cell(&self, place: Place) -> MutexGuard<'_, Option<C::Key>> {
        let cell = &self.places[place.pool][place.slot];
        cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the length that all objects of a place have: half of the places have one, so that
    /// they can be written whole in place.
    pub(super) fn fixed_len(&self, place: Place) -> Option<usize> {
        let len = self.usual_len(place.slot);
        place.slot.is_multiple_of(2).then_some(len)
    }

    /// Lengths of four classes, so that zspages fill; many such objects lie in two frames.
    fn usual_len(&self, slot: usize) -> usize {
        [40, 72, 80, 88][slot / 2 % 4] * self.page.bytes() / 128 - slot / 8
    }

    /// Returns the objects that no place names: numbers above those of the places, and lengths.
    pub(super) fn sediment(&self) -> impl Iterator<Item = (u32, usize)> {
        let slots = PLACES..PLACES + SEDIMENT;
        slots.map(|slot| (slot as u32, self.usual_len(slot)))
    }

    /// Returns the length of new contents for a place.
    pub(super) fn len(&self, place: Place, len: Length) -> usize {
        let any = || len.bytes(self.page);
        self.fixed_len(place).unwrap_or_else(any)
    }

    /// Returns a moment that nothing else has.
    pub(super) fn now(&self) -> u64 {
        let mut ledger = self.ledger();
        ledger.now += 1;
        ledger.now
    }

    /// Notes what `thread` did to a key, or saw of it, in a span of time.
    pub(super) fn note(&self, thread: usize, at: (usize, C::Key), span: Range<u64>, what: What) {
        let mut ledger = self.ledger();
        ledger.histories.entry(at).or_default().note(Event {
            thread,
            start: span.start,
            end: span.end,
            what,
        });
        if what == What::Freed {
            ledger.gone.push(at);
        }
    }

    /// Leaves nothing of the limit: threads fight for what is freed.
    pub(super) fn use_up(&mut self) -> Result<(), String> {
        for pool in &self.pools {
            pool.trim();
        }
        let stats = self.arena.stats();
        let bytes = stats.limit - stats.held;
        let charge = self.arena.charge(bytes);
        let charge = charge.map_err(|error| error.to_string())?;
        self.elsewhere = Some((charge, bytes));
        Ok(())
    }
}

/// Returns what each thread does. In half of the runs the last one does nothing but maintenance.
fn scripts(numbers: &mut Numbers) -> Vec<Vec<Op>> {
    let threads = 2 + numbers.below(3);
    let maintained = numbers.below(2) == 0;
    let mut script = |thread| {
        if maintained && thread + 1 == threads {
            let ops = 2 + numbers.below(5);
            return (0..ops).map(|_| maintenance(numbers)).collect();
        }
        let ops = 15 + numbers.below(45);
        let one = |_| Op::decode_one(&numbers.bytes(16));
        (0..ops).map(one).collect()
    };
    (0..threads).map(&mut script).collect()
}

/// Returns an operation of the thread that tidies up while others work: whatever a program would
/// leave to a thread of its own.
fn maintenance(numbers: &mut Numbers) -> Op {
    let pool = numbers.below(256) as u8;
    match numbers.below(16) {
        0 => Op::Decay { millis: 1500 },
        1 => Op::ForEach { pool },
        2..=5 => Op::Compact {
            pool,
            objects: numbers.below(256) as u8,
        },
        6 => Op::Shrink {
            pool,
            frames: numbers.below(4) as u8,
        },
        7 => Op::Trim { pool },
        8 => Op::Drain { pool },
        9 => Op::Isolate {
            frame: numbers.below(256) as u16,
        },
        10 => Op::PutBack { nth: 0 },
        _ => Op::Migrate {
            frame: numbers.below(256) as u16,
            frames: numbers.below(256) as u8,
            mode: numbers.below(256) as u8,
            zone: pool,
        },
    }
}
