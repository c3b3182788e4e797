//! This project's pools: with a handle table, with words that the client owns, one pool for each
//! thread.

use super::blobs::Blobs;
use super::child::Job;
use super::objects::PAGE;
use anyhow::{Context as _, Result};
use std::sync::Arc;
use zs_mm::{Arena, ArenaOptions, ArenaRef};
use zs_model::SlotTable;
use zs_os::{AnonBacking, HOST};
use zsmalloc::{
    CLASSES, Client, ClientBits, CompactBudget, Handle, HandlePool, Pool, PoolOptions, WordIndex,
};

/// An arena that takes the objects in whatever their lengths.
fn arena(job: &Job) -> Result<Arena<AnonBacking>> {
    let frames = u64::from(job.count) + 4 * CLASSES as u64;
    let limit = frames * (PAGE.bytes() as u64 + 64) + (16 << 20);
    let options = ArenaOptions {
        page_size: PAGE,
        huge_blocks: job.huge,
        ..ArenaOptions::new(limit)
    };
    Ok(Arena::new(AnonBacking::new(), &HOST, options)?)
}

fn purge<A: ArenaRef, C: Client>(pool: &Pool<A, C>) {
    pool.compact(CompactBudget::UNLIMITED);
    pool.trim();
}

/// Copies all objects of `keys`, by the call that takes many.
fn load_many<A: ArenaRef, C: Client>(
    pool: &Pool<A, C>,
    keys: &[C::Key],
    buffer: &mut [u8],
) -> Result<usize> {
    let mut sum = 0;
    for guard in pool.read_many(keys) {
        sum += guard?.copy_to(buffer)?;
    }
    Ok(sum)
}

/// Objects named by handles.
pub(super) struct Handles(Box<HandlePool<Arena<AnonBacking>>>);

impl Handles {
    pub(super) fn new(job: &Job) -> Result<Self> {
        let pool = HandlePool::new(arena(job)?, PoolOptions::named("handles"))?;
        Ok(Self(Box::new(pool)))
    }
}

impl Blobs for Handles {
    type Name = Option<Handle>;

    const NO_NAME: Self::Name = None;

    fn store(&self, _: u32, bytes: &[u8]) -> Result<Self::Name> {
        Ok(Some(self.0.insert(bytes)?))
    }

    fn load(&self, name: Self::Name, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.0.read_into(name.context("no object")?, buffer)?)
    }

    fn load_many(&self, names: &[Self::Name], buffer: &mut [u8]) -> Result<usize> {
        let handles: Vec<Handle> = names.iter().copied().flatten().collect();
        load_many(&self.0, &handles, buffer)
    }

    fn free(&self, name: Self::Name) -> Result<()> {
        Ok(self.0.free(name.context("no object")?)?)
    }

    fn purge(&self) {
        purge(&self.0);
    }
}

/// Objects named by handles, those of each thread in a pool of its own.
pub(super) struct PoolAThread(Vec<HandlePool<Arc<Arena<AnonBacking>>>>);

impl PoolAThread {
    pub(super) fn new(job: &Job) -> Result<Self> {
        let arena = Arc::new(arena(job)?);
        let pool = |_| HandlePool::new(Arc::clone(&arena), PoolOptions::named("thread"));
        let pools = (0..job.threads).map(pool);
        Ok(Self(pools.collect::<Result<_, _>>()?))
    }
}

impl Blobs for PoolAThread {
    type Name = (u32, Option<Handle>);

    const NO_NAME: Self::Name = (0, None);

    fn store(&self, number: u32, bytes: &[u8]) -> Result<Self::Name> {
        // The places of thread n are those of n modulo the number of threads.
        let pool = number % self.0.len() as u32;
        Ok((pool, Some(self.0[pool as usize].insert(bytes)?)))
    }

    fn load(&self, (pool, name): Self::Name, buffer: &mut [u8]) -> Result<usize> {
        let handle = name.context("no object")?;
        Ok(self.0[pool as usize].read_into(handle, buffer)?)
    }

    fn free(&self, (pool, name): Self::Name) -> Result<()> {
        Ok(self.0[pool as usize].free(name.context("no object")?)?)
    }

    fn purge(&self) {
        self.0.iter().for_each(purge);
    }
}

/// Objects whose words are a table of the client's: where others keep pointers.
pub(super) struct Words(Box<Pool<Arena<AnonBacking>, SlotTable>>);

impl Words {
    pub(super) fn new(job: &Job) -> Result<Self> {
        let options = PoolOptions::named("words");
        let pool = Pool::with_client(arena(job)?, options, |_, _| Ok(SlotTable::new(job.count)))?;
        Ok(Self(Box::new(pool)))
    }
}

impl Blobs for Words {
    type Name = WordIndex;

    const NO_NAME: WordIndex = WordIndex::new(u32::MAX);

    fn store(&self, number: u32, bytes: &[u8]) -> Result<WordIndex> {
        let number = WordIndex::new(number);
        let empty = self.0.client().get(number);
        self.0.store(number, empty, ClientBits::default(), bytes)?;
        Ok(number)
    }

    fn load(&self, name: WordIndex, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.0.read_into(name, buffer)?)
    }

    fn load_many(&self, names: &[WordIndex], buffer: &mut [u8]) -> Result<usize> {
        load_many(&self.0, names, buffer)
    }

    fn free(&self, name: WordIndex) -> Result<()> {
        Ok(self.0.free(name)?)
    }

    fn purge(&self) {
        purge(&self.0);
    }
}
