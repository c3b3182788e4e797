//! frames
mod moving;
use crate::load::Load;
use anyhow::Result;
use zs_mm::{Arena, ArenaOptions, PageSize};
use zs_os::{AnonBacking, HOST};
use zs_pages::Collector;
use zsmalloc::{HandlePool, PoolOptions};
pub(crate) const PAGE: PageSize = PageSize::K4;
pub(crate) type Pool = HandlePool<Arena<AnonBacking>>;
pub(crate) fn run(path: &std::path::Path, copies: u32) -> Result<()> {
    let mut collector = Collector::new(PAGE)?;
    collector.add_file(path, &mut |_| ())?;
    let (pages, _) = collector.finish()?;
    let pages = pages.map()?;
    let mut load = Load::new(&pages, copies, 1)?;
    let arena = Arena::new(AnonBacking::new(), &HOST, ArenaOptions::new(2 << 30))?;
    let pool = HandlePool::new(arena, PoolOptions::named("frames"))?;
    for n in 0..load.objects() {
        pool.insert(load.object(n)?)?;
    }
    for seed in 1..6 {
        for (name, value) in moving::measure(&pool, seed)?.iter() {
            eprint!("{name} {value}  ");
        }
        eprintln!();
    }
    Ok(())
}
