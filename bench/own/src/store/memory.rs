//! What a store holds, in a process that does nothing else.
//!
//! `pages -> a small store, which stays -> a store loaded -> overwritten -> a random half discarded
//! -> maintained -> figures`

use super::sizes::{LARGE, PAGE, whole};
use crate::figures::Figures;
use crate::measured::{by_a_child, say};
use crate::numbers::XorShift32;
use anyhow::{Context as _, Result, ensure};
use std::io;
use std::mem;
use std::os::fd::AsFd as _;
use std::time::Instant;
use zram::{MaintainBudget, Store, StoreOptions};
use zs_mm::PageSize;
use zs_os::ProcessMeter;
use zs_pages::PageFile;

/// Held over compressed bytes, loaded.
pub(super) const LOADED: &str = "held_over_compressed";
/// After a random half was discarded: held over the compressed bytes that stay.
pub(super) const HELD: &str = "halved_held_over_payload";
/// And resident over them.
pub(super) const RESIDENT: &str = "halved_resident_over_payload";
/// Of the maintenance before these two.
pub(super) const MAINTAINED: &str = "maintain_ms";

/// Has a child measure.
pub(super) fn measure(pages: &PageFile, seed: u32) -> Result<Figures> {
    by_a_child("measure-store", &seed, pages)
}

/// Measures, and tells the parent.
pub(crate) fn measure_as_child(seed: &str) -> Result<()> {
    let seed = serde_json::from_str(seed).context("the seed")?;
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let pages = PageFile::inherited(input, PageSize::K4)?.map()?;
    let bytes = whole(&pages)?;
    let mut meter = ProcessMeter::new(pages.addresses())?;
    // Whatever is paid once is paid now; never freed, so that the store that counts takes memory of
    // its own.
    mem::forget(halved(&bytes[..8 * LARGE], &mut meter, seed)?);
    let (_store, figures) = halved(bytes, &mut meter, seed)?;
    say(&figures)
}

/// A store that was loaded and overwritten, and of which a random half was discarded.
fn halved(bytes: &[u8], meter: &mut ProcessMeter, seed: u32) -> Result<(Store, Figures)> {
    let (pages, _) = bytes.as_chunks::<PAGE>();
    let order = XorShift32::new(seed).shuffled(pages.len() as u32);
    let mut figures = Figures::default();
    let before = meter.measure()?;
    let store = Store::new(StoreOptions::new(bytes.len() as u64))?;
    for (page, at) in pages.iter().zip((0..).step_by(PAGE)) {
        store.write(at, page)?;
    }
    store.trim();
    let loaded = store.stats();
    figures.push(LOADED, loaded.mem_used as f64 / loaded.compr_bytes as f64);
    for (at, page) in overwritten(pages, &order) {
        store.write(at, page)?;
    }
    let gone = order.len() / 2;
    for (at, _) in overwritten(pages, &order).take(gone) {
        store.discard(at, PAGE as u64)?;
    }
    let start = Instant::now();
    store.maintain(MaintainBudget::UNLIMITED);
    figures.push(MAINTAINED, start.elapsed().as_secs_f64() * 1e3);
    let resident = meter.measure()?.saturating_sub(before) as f64;
    let stats = store.stats();
    let payload = stats.compr_bytes as f64;
    figures.push(HELD, stats.mem_used as f64 / payload);
    figures.push(RESIDENT, resident / payload);
    for (number, (at, page)) in overwritten(pages, &order).enumerate() {
        let mut out = [0xff; PAGE];
        store.read(at, &mut out)?;
        let expected = if number < gone { &[0; PAGE] } else { page };
        ensure!(out == *expected, "the block at {at} came back changed");
    }
    Ok((store, figures))
}

/// Every block, in random order, with a random page.
fn overwritten<'a>(
    pages: &'a [[u8; PAGE]],
    order: &[u32],
) -> impl Iterator<Item = (u64, &'a [u8; PAGE])> {
    let pairs = order.iter().zip(order.iter().rev());
    pairs.map(|(to, from)| (u64::from(*to) * PAGE as u64, &pages[*from as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halved_store_has_every_figure() {
        let mut numbers = XorShift32::new(3);
        let bytes: Vec<u8> = (0..8 * LARGE).map(|_| numbers.below(2) as u8).collect();
        let mut meter = ProcessMeter::new(0..0).unwrap();
        let (store, figures) = halved(&bytes, &mut meter, 1).unwrap();
        let payload = store.stats().compr_bytes;
        assert!(payload > 0 && payload < bytes.len() as u64 / 2);
        for name in [LOADED, HELD] {
            assert!(figures.get(name).is_some_and(|over| over > 1.0), "{name}");
        }
        for name in [RESIDENT, MAINTAINED] {
            assert!(figures.get(name).is_some(), "{name}");
        }
    }
}
