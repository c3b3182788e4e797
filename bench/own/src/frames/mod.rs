//! frames
mod moving;
use crate::load::Load;
use crate::numbers::XorShift32;
use anyhow::Result;
use std::time::Instant;
use zs_mm::{Arena, ArenaOptions, PageSize};
use zs_os::{AnonBacking, HOST};
use zs_pages::Collector;
use zsmalloc::{HandlePool, MaintainBudget, PoolOptions};
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
    let mut handles = Vec::new();
    for n in 0..load.objects() {
        handles.push(pool.insert(load.object(n)?)?);
    }
    for seed in 1..3 {
        for (name, value) in moving::measure(&pool, seed)?.iter() {
            eprint!("{name} {value}  ");
        }
        eprintln!();
    }
    let order = XorShift32::new(7).shuffled(load.objects());
    let (gone, live) = order.split_at(order.len() * 3 / 4);
    for &n in gone {
        pool.free(handles[n as usize])?;
    }
    let blocks = || {
        let all: Vec<_> = pool.arena().blocks().collect();
        let free = all.iter().filter(|b| b.in_use() == 0).count();
        let used: u32 = all.iter().map(|b| b.in_use()).sum();
        (all.len(), free, all.len() - used.div_ceil(512) as usize)
    };
    eprintln!("{:?} {:?}", blocks(), pool.arena().stats());
    {
        let frames: Vec<_> = moving::frames_of(&pool, 3);
        let mut status = vec![zs_mm::FrameStatus::Pending; frames.len()];
        let r = pool.arena().migrate_pages(
            &frames,
            &[&pool],
            &mut zs_mm::Anywhere(pool.arena()),
            zs_mm::MigrateOptions::new(zs_mm::MigrateMode::Async),
            &mut status,
        );
        eprintln!("{r:?}");
        let mut c = std::collections::HashMap::new();
        for s in status {
            *c.entry(format!("{s:?}").split('(').next().unwrap().to_owned())
                .or_insert(0) += 1;
        }
        eprintln!("{c:?}");
    }
    let start = Instant::now();
    let report = pool.maintain(MaintainBudget::UNLIMITED);
    eprintln!("{:?} {report:?}", start.elapsed());
    eprintln!(
        "{:?} {:?} {}",
        blocks(),
        pool.arena().stats(),
        pool.arena().stats().held as f64 / pool.stats().payload_bytes as f64
    );
    pool.validate()?;
    pool.arena().validate(pool.metadata().total())?;
    let mut buf = [0; 4096];
    for &n in live {
        let len = pool.read_into(handles[n as usize], &mut buf)?;
        assert!(load.object(n)? == &buf[..len]);
    }
    Ok(())
}
