//! All pages of one process that may be sampled. They are counted before any page is read.

use super::pagemap::Pagemap;
use super::proc_dir::{ProcDir, Stat, sum_of};
use super::scan_ioctl::PageKind;
use super::seen::{ObjectId, Seen, Sharing};
use super::shared_memory::SharedMemory;
use super::smaps::{self, Mapping, Skip};
use super::unread::{Skipped, UnreadReason};
use std::io;
use std::ops::Range;
use std::process;

/// The number of strata: parts of a process's pages with one weight each, in this order.
pub const STRATA: usize = 3;

/// The stratum of anonymous pages that only this process has, or that were found here first.
pub(super) const OWN: usize = 0;

/// The stratum of anonymous pages that it shares with processes which the system does not tell.
pub(super) const HIDDEN: usize = 1;

/// The stratum of pages of shared memory that were found here first.
pub(super) const SHARED_MEMORY: usize = 2;

/// Returns the kind of the pages of a stratum.
pub(super) fn kind_of(stratum: usize) -> PageKind {
    match stratum {
        SHARED_MEMORY => PageKind::SharedMemory,
        _ => PageKind::Anonymous,
    }
}

/// Consecutive pages, by page number (address divided by page size).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageRun {
    pub(super) start: u64,
    pub(super) pages: u64,
}

/// Pages with one weight.
#[derive(Debug, Default)]
pub(super) struct Stratum {
    /// The runs of pages, in the order of their addresses.
    pub(super) runs: Vec<PageRun>,
    pub(super) pages: u64,
    /// The weight of each page.
    pub(super) weight: f64,
}

/// The pages of a process that may be sampled, at one moment: anonymous pages, in memory or in
/// swap, and, if requested, the pages of shared memory that it has mapped.
#[derive(Debug)]
pub(super) struct Census {
    pub(super) pid: u32,
    pub(super) stat: Stat,
    pub(super) strata: [Stratum; STRATA],
    pub(super) swapped: u64,
    /// Pages that were counted for an earlier process.
    pub(super) counted_elsewhere: u64,
    pub(super) skipped: Skipped,
    /// Its proportional share of shared memory in bytes, if the system tells.
    pub(super) shared_memory: Option<u64>,
}

impl Census {
    /// Counts the pages of a process, with shared memory if `shared`. Pages in `seen` were counted
    /// for an earlier process.
    pub(super) fn take(
        pid: u32,
        page: u64,
        shared: bool,
        seen: &mut Seen,
    ) -> Result<Self, UnreadReason> {
        if pid == process::id() {
            return Err(UnreadReason::Itself);
        }
        let dir = ProcDir::open(pid).map_err(|source| UnreadReason::of_folder(pid, source))?;
        let stat = dir
            .stat()
            .map_err(|source| UnreadReason::of("stat", &dir, source))?;
        if stat.is_kernel_thread {
            return Err(UnreadReason::KernelThread);
        }
        let (dir, stat) = dir.living(pid, stat);
        if stat.has_ended() {
            return Err(UnreadReason::Zombie);
        }
        check_leader(pid, &dir)?;
        // Opened here, so that a process that cannot be read is not counted.
        dir.file("mem")
            .map_err(|source| UnreadReason::of("mem", &dir, source))?;
        let mut census = Self {
            pid,
            stat,
            strata: Default::default(),
            swapped: 0,
            counted_elsewhere: 0,
            skipped: Skipped::default(),
            shared_memory: None,
        };
        census.count(&dir, page, shared, seen)?;
        match census.pages() + census.counted_elsewhere {
            0 => Err(UnreadReason::NothingAnonymous {
                skipped: census.skipped,
                shared_memory: census.shared_memory.unwrap_or(0),
            }),
            _ => Ok(census),
        }
    }

    fn pages(&self) -> u64 {
        self.strata.iter().map(|stratum| stratum.pages).sum()
    }

    fn count(
        &mut self,
        dir: &ProcDir,
        page: u64,
        shared: bool,
        seen: &mut Seen,
    ) -> Result<(), UnreadReason> {
        let smaps = dir.read("smaps");
        let smaps = smaps.map_err(|source| UnreadReason::of("smaps", dir, source))?;
        if smaps.is_empty() {
            return Err(UnreadReason::empty("smaps", dir));
        }
        let map = Pagemap::open(dir, page);
        let map = map.map_err(|source| UnreadReason::of("pagemap", dir, source))?;
        let mut count = Counting {
            census: self,
            map,
            page,
            seen,
            memory: SharedMemory::of(dir),
            skipped_anonymous: 0,
        };
        let mut expected = 0;
        for mapping in smaps::parse(&smaps) {
            let counted = count.mapping(&mapping, shared);
            expected += counted.map_err(|source| UnreadReason::of("pagemap", dir, source))?;
        }
        let skipped_anonymous = count.skipped_anonymous;
        if expected > 0 && self.pages() + self.counted_elsewhere == 0 {
            return Err(UnreadReason::empty("pagemap", dir));
        }
        self.weigh(dir, page, skipped_anonymous)
    }

    /// Sets the weights. Own pages and pages of shared memory have weight 1. The hidden pages get
    /// the rest of the proportional share of all anonymous pages.
    fn weigh(
        &mut self,
        dir: &ProcDir,
        page: u64,
        skipped_anonymous: u64,
    ) -> Result<(), UnreadReason> {
        const FILE: &str = "smaps_rollup";
        let rollup = dir.read(FILE);
        let rollup = rollup.map_err(|source| UnreadReason::of(FILE, dir, source));
        let sum = |names: &[&str]| rollup.as_ref().ok().and_then(|text| sum_of(text, names));
        self.shared_memory = sum(&["Pss_Shmem"]);
        for stratum in &mut self.strata {
            stratum.weight = 1.0;
        }
        let own = self.strata[OWN].pages * page;
        let hidden = &mut self.strata[HIDDEN];
        if hidden.pages == 0 {
            return Ok(());
        }
        let share = sum(&["Pss_Anon", "SwapPss"]);
        // Without the file, or without its lines, the weight is not known.
        let share = match (share, rollup) {
            (Some(share), _) => share,
            (None, Err(reason)) => return Err(reason),
            (None, Ok(_)) => {
                let source = io::Error::other("no Pss_Anon in it: the kernel is older than 5.3");
                return Err(UnreadReason::Read { file: FILE, source });
            }
        };
        // The share includes pages that are left out. They are taken to count in full there.
        let left = share.saturating_sub(own + skipped_anonymous) as f64;
        hidden.weight = (left / (hidden.pages * page) as f64).clamp(0.0, 1.0);
        Ok(())
    }

    /// Opens the folder of the process. Fails if its number belongs to another process by now, or
    /// if it runs another program.
    pub(super) fn reopen(&self) -> Result<ProcDir, UnreadReason> {
        let (dir, now) = ProcDir::of_process(self.pid).map_err(|_| UnreadReason::Ended)?;
        if self.stat.is_same_program(&now) {
            Ok(dir)
        } else {
            Err(UnreadReason::Ended)
        }
    }
}

/// The state of counting the mappings of a process.
struct Counting<'a> {
    census: &'a mut Census,
    map: Pagemap,
    page: u64,
    seen: &'a mut Seen,
    memory: SharedMemory,
    /// Bytes of anonymous pages that are left out, without hugetlb pages.
    skipped_anonymous: u64,
}

impl Counting<'_> {
    /// Counts a mapping. Returns the bytes of anonymous pages that it should contain.
    fn mapping(&mut self, mapping: &Mapping, shared: bool) -> io::Result<u64> {
        let object = self.memory.object(&mapping.file).filter(|_| shared);
        if let Some(reason) = mapping.skip {
            self.skip(reason, mapping, object.is_some());
            return Ok(0);
        }
        if mapping.anonymous > 0 {
            self.anonymous(mapping)?;
        }
        if let Some(object) = object {
            self.shared_memory(mapping, object)?;
        }
        // For shared memory, the kernel's figure includes pages in swap, which no entry of the
        // process shows.
        let is_known = self.memory.object(&mapping.file).is_none();
        Ok(if is_known { mapping.anonymous } else { 0 })
    }

    fn skip(&mut self, reason: Skip, mapping: &Mapping, is_shared_memory: bool) {
        let mut bytes = mapping.anonymous;
        if reason != Skip::HugeTlb {
            self.skipped_anonymous += mapping.anonymous;
        }
        if mapping.shared_huge > 0 {
            bytes += self.huge_pages(mapping);
        }
        if is_shared_memory {
            bytes += mapping.proportional.saturating_sub(mapping.anonymous);
        }
        self.census.skipped.add(reason, bytes);
    }

    /// Returns the bytes of shared hugetlb pages of a mapping that were not counted before. The
    /// system does not tell which pages of the mapping they are, so they are taken to be spread
    /// evenly.
    fn huge_pages(&mut self, mapping: &Mapping) -> u64 {
        let object = self.memory.any_object(&mapping.file);
        let start = mapping.file.offset;
        let len = mapping.addresses.end - mapping.addresses.start;
        let mut fresh = 0;
        let count = &mut |run: Range<u64>| fresh += run.end - run.start;
        self.seen.objects.add(object, start..start + len, count);
        let part = u128::from(mapping.shared_huge) * u128::from(fresh) / u128::from(len);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    fn anonymous(&mut self, mapping: &Mapping) -> io::Result<()> {
        let (census, seen) = (&mut *self.census, &mut *self.seen);
        let addresses = mapping.addresses.clone();
        self.map
            .pages(PageKind::Anonymous, addresses, &mut |number, entry| {
                let stratum = match seen.locations.look(entry) {
                    Sharing::Own => OWN,
                    Sharing::Hidden => HIDDEN,
                    Sharing::Again => {
                        census.counted_elsewhere += 1;
                        return;
                    }
                };
                census.swapped += u64::from(entry.is_swapped());
                census.strata[stratum].add(PageRun {
                    start: number,
                    pages: 1,
                });
            })
    }

    fn shared_memory(&mut self, mapping: &Mapping, object: ObjectId) -> io::Result<()> {
        // The page number at the start of the mapping.
        let base = mapping.addresses.start / self.page;
        let offset = mapping.file.offset / self.page;
        let mut mapped = Stratum::default();
        let addresses = mapping.addresses.clone();
        self.map
            .pages(PageKind::SharedMemory, addresses, &mut |number, _| {
                mapped.add(PageRun {
                    start: number,
                    pages: 1,
                });
            })?;
        let stratum = &mut self.census.strata[SHARED_MEMORY];
        let before = stratum.pages;
        for run in &mapped.runs {
            let start = run.start - base + offset;
            self.seen
                .objects
                .add(object, start..start + run.pages, &mut |fresh| {
                    stratum.add(PageRun {
                        start: fresh.start - offset + base,
                        pages: fresh.end - fresh.start,
                    });
                });
        }
        self.census.counted_elsewhere += mapped.pages - (stratum.pages - before);
        Ok(())
    }
}

impl Stratum {
    /// Adds pages above all pages added before.
    fn add(&mut self, new: PageRun) {
        self.pages += new.pages;
        match self.runs.last_mut() {
            Some(run) if run.start + run.pages == new.start => run.pages += new.pages,
            _ => self.runs.push(new),
        }
    }
}

/// Checks that `pid` is a process and no thread. The folder of a thread shows the memory of its
/// process, which must not be counted twice.
fn check_leader(pid: u32, dir: &ProcDir) -> Result<(), UnreadReason> {
    let status = dir.read("status");
    let status = status.map_err(|source| UnreadReason::of("status", dir, source))?;
    let mut lines = status.split(|&byte| byte == b'\n');
    let leader = lines.find_map(|line| line.strip_prefix(b"Tgid:"));
    let leader = leader.and_then(|value| str::from_utf8(value).ok()?.trim().parse().ok());
    match leader {
        Some(leader) if leader != pid => Err(UnreadReason::Thread(leader)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few systems let a test reserve hugetlb pages, so the test uses made-up lines of mappings.
    #[test]
    fn shared_hugetlb_pages_are_left_out_once_and_said() {
        let dir = ProcDir::open(process::id()).unwrap();
        let mut seen = Seen::default();
        let mut bytes = |address: u64, offset: u64, inode: u64| {
            let end = address + (8 << 20);
            let text = format!(
                "{address:x}-{end:x} rw-s {offset:08x} 00:0f {inode} /anon_hugepage (deleted)\n\
                 Pss: 0 kB\nShared_Hugetlb: 4096 kB\nVmFlags: rd wr sh ht \n"
            );
            let mut census = Census {
                pid: 1,
                stat: dir.stat().unwrap(),
                strata: Default::default(),
                swapped: 0,
                counted_elsewhere: 0,
                skipped: Skipped::default(),
                shared_memory: None,
            };
            let mut count = Counting {
                census: &mut census,
                map: Pagemap::open(&dir, 4096).unwrap(),
                page: 4096,
                seen: &mut seen,
                memory: SharedMemory::default(),
                skipped_anonymous: 0,
            };
            for mapping in smaps::parse(text.as_bytes()) {
                assert_eq!(count.mapping(&mapping, false).unwrap(), 0);
            }
            census.skipped.bytes(Skip::HugeTlb)
        };
        assert_eq!(bytes(64 << 20, 0, 7), 4 << 20);
        // Another process, at another address; then one that maps half of it; then another file.
        assert_eq!(bytes(32 << 20, 0, 7), 0);
        assert_eq!(bytes(32 << 20, 4 << 20, 7), 2 << 20);
        assert_eq!(bytes(32 << 20, 0, 8), 4 << 20);
    }
}
