//! The memory that compression would save of each process.

use super::Report;
use super::estimator::{Cost, Saving, Sum};
use crate::estimate::protocol::{Measured, Part};
use crate::sources::Live;
use std::array;
use zs_pages::{STRATA, SampledProcess};

/// One process.
pub(super) struct Row<'a> {
    pub(super) process: &'a SampledProcess,
    /// Bytes of its memory that counts.
    pub(super) memory: f64,
    /// Shares of its pages; `None` if of some nothing is known.
    pub(super) zero: Option<f64>,
    /// Zero included.
    pub(super) same_filled: Option<f64>,
    /// With each codec; `None` if of some pages nothing is known, or not all of the sample was
    /// stored.
    pub(super) savings: [Option<Saving>; 2],
}

/// All of them.
pub(super) struct Savings<'a> {
    /// Those that would save most first.
    pub(super) rows: Vec<Row<'a>>,
    pub(super) total: Total,
}

/// All processes of which enough pages were sampled.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) pages: u64,
    pub(super) memory: f64,
    pub(super) sampled: u64,
    pub(super) zero: Option<f64>,
    pub(super) same_filled: Option<f64>,
    /// `None` if not all of the sample was stored.
    pub(super) savings: [Option<Saving>; 2],
}

impl Report {
    /// Returns what the report says of processes.
    pub(super) fn savings<'a>(&self, live: &'a Live) -> Savings<'a> {
        let codecs = [&self.lz4, &self.zstd];
        let page = self.page.bytes() as f64;
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut sums: Vec<[Option<Sum>; 2]> = Vec::new();
        for (index, process) in live.processes.iter().enumerate() {
            let parts = codecs.map(|codec| parts(codec, index));
            rows.push(Row::new(process, furthest(parts), page));
            sums.push(parts.map(|parts| Sum::of(process, parts)));
        }
        let mut total = Total::of(&rows, page);
        for (at, codec) in codecs.iter().enumerate() {
            let mut all = Sum::NOTHING;
            sums.iter()
                .filter_map(|sums| sums[at])
                .for_each(|sum| all.add(sum));
            let cost = Cost::of(codec);
            for (row, sums) in rows.iter_mut().zip(&sums) {
                row.savings[at] = sums[at].map(|sum| sum.saving(cost, all.payload));
            }
            // Of a part that was cut off nothing is known, so neither of the whole.
            let is_whole = !codec.limit_reached && total.pages > 0;
            total.savings[at] = is_whole.then(|| all.saving(cost, all.payload));
        }
        rows.sort_by(|one, other| other.saved().total_cmp(&one.saved()));
        Savings { rows, total }
    }
}

impl Total {
    /// Returns all but what a pool would hold.
    fn of(rows: &[Row<'_>], page: f64) -> Self {
        let mut total = Self::default();
        let (mut zero, mut same_filled) = (0.0, 0.0);
        for row in rows {
            if let Some((zeros, same)) = row.zero.zip(row.same_filled) {
                total.pages += row.process.pages();
                total.memory += row.memory;
                total.sampled += row.process.sampled();
                zero += zeros * row.memory / page;
                same_filled += same * row.memory / page;
            }
        }
        let pages = total.memory / page;
        total.zero = (pages > 0.0).then(|| zero / pages);
        total.same_filled = (pages > 0.0).then(|| same_filled / pages);
        total
    }
}

impl<'a> Row<'a> {
    /// Returns all but what a pool would hold.
    fn new(process: &'a SampledProcess, parts: [Part; STRATA], page: f64) -> Self {
        // What was not stored for want of room is known no more than what was not sampled.
        let strata = || {
            process
                .strata
                .iter()
                .zip(&parts)
                .filter(|(stratum, _)| stratum.pages > 0)
        };
        let is_known = strata().all(|(_, part)| part.pages > 0);
        let pages = process.weighted_pages();
        let share = |of: fn(&Part) -> u64| {
            let shares = strata()
                .map(|(stratum, part)| of(part) as f64 / part.pages as f64 * stratum.weighted());
            (is_known && pages > 0.0).then(|| shares.sum::<f64>() / pages)
        };
        Self {
            process,
            memory: process.weighted_pages() * page,
            zero: share(|part| part.zero),
            same_filled: share(|part| part.same_filled),
            savings: [None; 2],
        }
    }

    /// Returns what the list is sorted by: what lz4 saves, as the kernel's zram does unless told
    /// otherwise.
    fn saved(&self) -> f64 {
        self.savings[0].map_or(f64::MIN, |saving| saving.saved(self.memory))
    }
}

/// Returns what was measured of the strata of a process.
fn parts(codec: &Measured, process: usize) -> [Part; STRATA] {
    array::from_fn(|stratum| {
        let part = codec.parts.get(STRATA * process + stratum);
        part.copied().unwrap_or_default()
    })
}

/// Returns the parts of the codec that got furthest: it has seen most pages.
fn furthest(parts: [[Part; STRATA]; 2]) -> [Part; STRATA] {
    let [lz4, zstd] = parts;
    array::from_fn(|at| std::cmp::max_by_key(lz4[at], zstd[at], |part| part.pages))
}
