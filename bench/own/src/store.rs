//! `store`: the block store beside the bare codec on the same pages in the same order, beside a flat array of the same
//! compressed forms, and beside the kernel's zram device where there is one.
//!
//! Rounds of passes, in turn: the codec alone, fresh writes, reads in a random order from the store and from the array, random
//! overwrites, half discarded. Medians over the rounds; ratios are of one round.

use crate::machine;
use crate::numbers::{XorShift32, median};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zcomp::{Algorithm, Compressed, Stream};
use zram::{MaintainBudget, Store, StoreOptions};
use zs_mm::PageSize;
use zs_pages::{Collector, MappedPages};

const PAGE: usize = 4096;

/// The block store beside its codec.
#[derive(Debug, Args)]
pub(crate) struct StoreBench {
    /// Files of pages, raw or .zst
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Rounds, of which the first warms up
    #[arg(long, default_value = "6", value_parser = clap::value_parser!(u32).range(2..=100))]
    rounds: u32,

    /// Measure this zram device too, with O_DIRECT: it must have no size yet, and is reset afterwards
    #[arg(long)]
    device: Option<PathBuf>,
}

/// One pass: wall and CPU nanoseconds a page.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

fn cost(pages: usize, pass: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (cpu, wall) = (machine::thread_cpu(), Instant::now());
    pass()?;
    let each = |time: Duration| time.as_nanos() as f64 / pages as f64;
    Ok(Cost {
        wall: each(wall.elapsed()),
        cpu: each(machine::thread_cpu() - cpu),
    })
}

/// The same compressed forms one after the other, as the codec left them; raw ones as long as a page.
struct Flat {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Flat {
    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}

struct Bench<'a> {
    pages: &'a MappedPages,
    order: Vec<u32>,
    stream: Stream,
    flat: Flat,
    rounds: Vec<Round>,
}

/// What one round measured.
struct Round {
    codec: Cost,
    fresh: Cost,
    flat_read: Cost,
    read: Cost,
    overwrite: Cost,
    density: f64,
    after_discard: f64,
    trim_ms: f64,
}

type CostOf = fn(&Round) -> Cost;

impl<'a> Bench<'a> {
    fn new(pages: &'a MappedPages) -> Result<Self> {
        let mut stream = Stream::new(Algorithm::Lz4, PAGE)?;
        let mut flat = Flat {
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        let mut room = [0; PAGE];
        for page in pages.iter() {
            match stream.compress(page, &mut room[..PAGE - PAGE / 32])? {
                Compressed::Fits(len) => flat.bytes.extend_from_slice(&room[..len]),
                Compressed::DoesNotFit => flat.bytes.extend_from_slice(page),
            }
            flat.ends.push(flat.bytes.len());
        }
        Ok(Self {
            pages,
            order: XorShift32::new(12345).shuffled(pages.len() as u32),
            stream,
            flat,
            rounds: Vec::new(),
        })
    }

    fn page(&self, index: u32) -> &'a [u8] {
        self.pages.get(index as usize).unwrap_or(&[])
    }

    fn round(&mut self) -> Result<()> {
        let pages = self.pages.len();
        let all: Vec<&[u8]> = self.pages.iter().collect();
        let mut room = [0; PAGE];
        let stream = &mut self.stream;
        let codec = cost(pages, || {
            for page in &all {
                // What the store does first, so that both skip the same pages.
                if zs_pages::same_filled(page).is_none() {
                    let _ = stream.compress(page, &mut room[..PAGE - PAGE / 32])?;
                }
            }
            Ok(())
        })?;
        let store = Store::new(StoreOptions::new((pages * PAGE) as u64))?;
        // First touch of memory apart: written once, discarded without giving memory back, written anew.
        for (page, at) in all.iter().zip((0..).step_by(PAGE)) {
            store.write(at, page)?;
        }
        store.discard(0, store.size())?;
        let fresh = cost(pages, || {
            all.iter()
                .zip((0..).step_by(PAGE))
                .try_for_each(|(page, at)| store.write(at, page).map_err(Into::into))
        })?;
        store.trim();
        let stats = store.stats();
        let payload = stats.compr_bytes as f64;
        let density = stats.mem_used as f64 / payload;
        let flat_read = self.flat_reads()?;
        let read = self.reads(&store)?;
        let overwrite = cost(pages, || {
            let mut from = self.order.iter().rev();
            self.order.iter().try_for_each(|to| {
                let page = from.next().map_or(&[][..], |from| self.page(*from));
                store
                    .write(u64::from(*to) * PAGE as u64, page)
                    .map_err(Into::into)
            })
        })?;
        for at in &self.order[..pages / 2] {
            store.discard(u64::from(*at) * PAGE as u64, PAGE as u64)?;
        }
        let start = Instant::now();
        store.maintain(MaintainBudget::UNLIMITED);
        let trim_ms = start.elapsed().as_secs_f64() * 1e3;
        let stats = store.stats();
        self.rounds.push(Round {
            codec,
            fresh,
            flat_read,
            read,
            overwrite,
            density,
            after_discard: stats.mem_used as f64 / stats.compr_bytes as f64,
            trim_ms,
        });
        Ok(())
    }

    fn flat_reads(&mut self) -> Result<Cost> {
        let mut out = [0; PAGE];
        let (flat, stream) = (&self.flat, &mut self.stream);
        cost(self.order.len(), || {
            for index in &self.order {
                let bytes = flat.get(*index as usize);
                if bytes.len() == PAGE {
                    out.copy_from_slice(bytes);
                } else {
                    stream.decompress(bytes, &mut out)?;
                }
            }
            Ok(())
        })
    }

    fn reads(&self, store: &Store) -> Result<Cost> {
        let mut out = [0; PAGE];
        let cost = cost(self.order.len(), || {
            self.order.iter().try_for_each(|index| {
                let at = u64::from(*index) * PAGE as u64;
                store.read(at, &mut out).map_err(Into::into)
            })
        })?;
        for index in self.order.iter().step_by(97) {
            store.read(u64::from(*index) * PAGE as u64, &mut out)?;
            ensure!(out == self.page(*index), "page {index} came back changed");
        }
        Ok(cost)
    }

    fn print(&self, device: Option<&[[Cost; 3]]>) -> Result<()> {
        let mut out = io::stdout().lock();
        for line in machine::described("bench-own") {
            writeln!(out, "{line}")?;
        }
        self.print_costs(&mut out)?;
        self.print_bars(&mut out)?;
        match device {
            Some(device) => self.print_device(&mut out, device)?,
            None => writeln!(
                out,
                "bar: random overwrites against the kernel's zram: not measured (--device)"
            )?,
        }
        Ok(())
    }

    /// The median over the rounds that count.
    fn of(&self, get: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds[1..].iter().map(get).collect()).unwrap_or(f64::NAN)
    }

    fn print_costs(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let rows: [(&str, CostOf); 5] = [
            ("codec alone, same pages and order", |round| round.codec),
            ("store, fresh writes (memory touched before)", |round| {
                round.fresh
            }),
            ("flat array, random decompressing", |round| round.flat_read),
            ("store, random reads", |round| round.read),
            ("store, random overwrites", |round| round.overwrite),
        ];
        writeln!(
            out,
            "{} pages, {} rounds counted; ns a page, wall and CPU",
            self.order.len(),
            self.rounds.len() - 1
        )?;
        for (name, get) in rows {
            let (wall, cpu) = (
                self.of(|round| get(round).wall),
                self.of(|round| get(round).cpu),
            );
            writeln!(out, "  {name}: {wall:.0} {cpu:.0}")?;
        }
        Ok(())
    }

    fn print_bars(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let fresh = self.of(|round| round.codec.cpu / round.fresh.cpu);
        at_least(out, "fresh writes, share of the codec's speed", fresh, 0.85)?;
        let reads = self.of(|round| round.flat_read.cpu / round.read.cpu);
        at_least(out, "random reads, share of the array's speed", reads, 0.80)?;
        let density = self.of(|round| round.density);
        at_most(out, "mem_used over compressed", density, 1.05)?;
        let after = self.of(|round| round.after_discard);
        at_most(
            out,
            "held over live payload, a random half discarded",
            after,
            1.09,
        )?;
        let trim = self.of(|round| round.trim_ms);
        at_most(out, "milliseconds of that maintenance", trim, 2000.0)
    }

    fn print_device(&self, out: &mut dyn io::Write, device: &[[Cost; 3]]) -> io::Result<()> {
        let kernel = |which: usize, get: fn(&Cost) -> f64| {
            median(device.iter().map(|round| get(&round[which])).collect()).unwrap_or(f64::NAN)
        };
        let names = ["fresh writes", "random reads", "random overwrites"];
        for (which, name) in names.iter().enumerate() {
            let (wall, cpu) = (
                kernel(which, |cost| cost.wall),
                kernel(which, |cost| cost.cpu),
            );
            writeln!(out, "  kernel's zram, O_DIRECT, {name}: {wall:.0} {cpu:.0}")?;
        }
        let ratio = self.of(|round| round.overwrite.cpu) / kernel(2, |cost| cost.cpu);
        at_most(out, "random overwrites, CPU over the kernel's", ratio, 1.0)
    }
}

fn at_least(out: &mut dyn io::Write, what: &str, value: f64, least: f64) -> io::Result<()> {
    let verdict = if value >= least { "met" } else { "missed" };
    writeln!(out, "bar: {what}: {value:.3}, at least {least}: {verdict}")
}

fn at_most(out: &mut dyn io::Write, what: &str, value: f64, most: f64) -> io::Result<()> {
    let verdict = if value <= most { "met" } else { "missed" };
    writeln!(out, "bar: {what}: {value:.3}, at most {most}: {verdict}")
}

/// The kernel's device, with a size while this lives.
struct Device {
    file: File,
    reset: PathBuf,
}

impl Device {
    fn new(path: &Path, bytes: u64) -> Result<Self> {
        let name = path.file_name().context("a device has a name")?;
        let folder = Path::new("/sys/block").join(name);
        let size = fs::read_to_string(folder.join("disksize")).context("no zram device")?;
        ensure!(size.trim() == "0", "{} is in use", path.display());
        fs::write(folder.join("comp_algorithm"), "lz4").context("the device has no lz4")?;
        fs::write(folder.join("disksize"), bytes.to_string())?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(path)?;
        let reset = folder.join("reset");
        Ok(Self { file, reset })
    }

    /// Fresh writes, random reads and random overwrites.
    fn round(&self, bench: &Bench<'_>) -> Result<[Cost; 3]> {
        let pages = bench.order.len();
        let mut room = vec![0; 2 * PAGE];
        let aligned = room.as_ptr().align_offset(PAGE);
        let out = &mut room[aligned..aligned + PAGE];
        let fresh = cost(pages, || {
            bench
                .pages
                .iter()
                .zip((0..).step_by(PAGE))
                .try_for_each(|(page, at)| self.file.write_all_at(page, at).map_err(Into::into))
        })?;
        let at = |index: &u32| u64::from(*index) * PAGE as u64;
        let read = cost(pages, || {
            bench
                .order
                .iter()
                .try_for_each(|index| self.file.read_exact_at(out, at(index)).map_err(Into::into))
        })?;
        let overwrite = cost(pages, || {
            let pairs = bench.order.iter().zip(bench.order.iter().rev());
            pairs.into_iter().try_for_each(|(to, from)| {
                self.file
                    .write_all_at(bench.page(*from), at(to))
                    .map_err(Into::into)
            })
        })?;
        Ok([fresh, read, overwrite])
    }

    fn end(self) -> Result<()> {
        drop(self.file);
        fs::write(self.reset, "1").context("resetting the device")
    }
}

pub(crate) fn run(options: &StoreBench) -> Result<()> {
    let mut collector = Collector::new(PageSize::K4)?;
    for file in &options.files {
        collector.add_file(file, &mut |_| ())?;
    }
    let (file, _) = collector.finish()?;
    let pages = file.map()?;
    let mut bench = Bench::new(&pages)?;
    let mut kernel = Vec::new();
    for _ in 0..options.rounds {
        bench.round()?;
        if let Some(path) = &options.device {
            let device = Device::new(path, (pages.len() * PAGE) as u64)?;
            let outcome = device.round(&bench);
            device.end()?;
            kernel.push(outcome?);
        }
    }
    bench.print((!kernel.is_empty()).then(|| &kernel[1..]))
}
