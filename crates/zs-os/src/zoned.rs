//! A backing with zones of every kind, each on a chosen memory node.

use crate::anon::AnonBacking;
use crate::map;
use crate::numa::{self, Numa, ThisMachine};
use crate::page_size::os_page_size;
use crate::shared_ranges::{SharedRanges, memfd, punch_hole};
use crate::short_lock::short_lock;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::fs::{FileType, FlockOperation, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use zs_mm::{Advice, Backing, BackingError, RegionKind, ZoneKind, ZoneRefusal};

/// A backing for zones of every kind in one arena, each on a memory node if one is chosen.
///
/// | kind | memory |
/// |---|---|
/// | [`Normal`](ZoneKind::Normal) | private anonymous, as in [`AnonBacking`] |
/// | [`Huge`](ZoneKind::Huge) | the same; the arena advises huge pages for its blocks |
/// | [`Memfd`](ZoneKind::Memfd) | a memfd of the zone's length |
/// | [`File`](ZoneKind::File) | the next file of [`with_file`](Self::with_file) |
///
/// Files are committed by `fallocate`, because a write to a full file system kills the process, and
/// given back by punching holes. A forked child does not inherit a memfd or file zone, so with such
/// a zone it may not read the arena. Without one it may, as with [`AnonBacking`].
///
/// A zone on a node gets memory of that node only (`MPOL_BIND`). Choose its size by the memory of
/// the node: when the node has none left, the system may call its out-of-memory killer. A file has
/// no node.
#[derive(Debug)]
pub struct ZonedBacking {
    anon: AnonBacking,
    shared: SharedRanges,
    /// Set when `shared` gets its first range, so that it can be tested without its lock.
    is_shared: AtomicBool,
    files: Mutex<VecDeque<OwnedFd>>,
    numa: &'static dyn Numa,
}

/// The reason why a file cannot be a zone.
#[derive(Debug, thiserror::Error)]
pub enum ZoneFileError {
    /// It is no regular file: a folder, device or pipe, for example.
    #[error("not a regular file")]
    NotRegular,
    /// It was not opened for both reading and writing.
    #[error("not open for reading and writing")]
    NotReadWrite,
    /// It is locked already (`flock`). Every zone locks its file.
    #[error("locked: in use by another arena or program")]
    InUse,
    /// Its file system cannot make holes in it, so freed memory would stay.
    #[error("no holes can be punched in it: {0}")]
    NoHoles(std::io::Error),
    /// Another system call failed.
    #[error(transparent)]
    System(std::io::Error),
}

impl Default for ZonedBacking {
    fn default() -> Self {
        Self::new()
    }
}

impl ZonedBacking {
    /// Makes a backing without files.
    pub fn new() -> Self {
        Self::on(&ThisMachine)
    }

    fn on(numa: &'static dyn Numa) -> Self {
        Self {
            anon: AnonBacking::new(),
            shared: SharedRanges::new(),
            is_shared: AtomicBool::new(false),
            files: Mutex::default(),
            numa,
        }
    }

    /// Adds a file. The first zone of kind [`File`](ZoneKind::File) takes the first file, and so
    /// on.
    ///
    /// **The zone overwrites the file** from its start, for the length of the zone. Bytes behind
    /// that stay. The file must be that long already. Its blocks are allocated when frames are
    /// committed, and given back with them; all of them when the arena is dropped. The file then
    /// holds the plain bytes of objects, so choose the users that may read it. It is locked
    /// (`flock`) as long as the arena lives. It must not be shortened meanwhile: touching a part
    /// that was cut off kills the process. On a file system that writes to a new block each time
    /// (btrfs without `nodatacow`), a full disk kills the process in spite of `fallocate`.
    ///
    /// # Errors
    /// [`ZoneFileError`]; the file is then unchanged.
    pub fn with_file(self, file: File) -> Result<Self, ZoneFileError> {
        let file = OwnedFd::from(file);
        let system = |errno: Errno| ZoneFileError::System(errno.into());
        let stat = rustix::fs::fstat(&file).map_err(system)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ZoneFileError::NotRegular);
        }
        let flags = rustix::fs::fcntl_getfl(&file).map_err(system)?;
        if flags & OFlags::ACCMODE != OFlags::RDWR {
            return Err(ZoneFileError::NotReadWrite);
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(ZoneFileError::InUse),
            outcome => outcome.map_err(system)?,
        }
        // A hole behind the end changes nothing.
        let page = os_page_size();
        let beyond = (stat.st_size as u64).next_multiple_of(page as u64);
        punch_hole(&file, beyond, page).map_err(|errno| ZoneFileError::NoHoles(errno.into()))?;
        short_lock(&self.files).push_back(file);
        Ok(self)
    }

    /// Takes the next file, and makes its first `len` bytes a hole.
    fn next_file(&self, len: usize) -> Result<OwnedFd, ZoneRefusal> {
        let file = short_lock(&self.files).pop_front();
        let file = file.ok_or(ZoneRefusal::NoFile)?;
        let stat = rustix::fs::fstat(&file).map_err(|_| ZoneRefusal::System)?;
        let (found, needed) = (stat.st_size as u64, len as u64);
        if found < needed {
            return Err(ZoneRefusal::FileTooShort { len: found, needed });
        }
        punch_hole(&file, 0, len).map_err(|_| ZoneRefusal::System)?;
        Ok(file)
    }

    fn is_file(&self, kind: RegionKind, base: NonNull<u8>) -> bool {
        // Relaxed: set before the arena exists, and never cleared.
        kind == RegionKind::Payload
            && self.is_shared.load(Ordering::Relaxed)
            && self.shared.contains(base)
    }
}

// SAFETY: 1. The anonymous backing's promise; a file shown in a range is mapped there until
// `release` unmaps the whole region, also when the descriptor goes with the backing. 2. Of
// anonymous memory, the anonymous backing's; a file is mapped readable and writable and is a hole
// at first, `fallocate` puts zeroed blocks where there are none, and keeps what is there; a punched
// hole reads as zeros. 3. Tables are the anonymous backing's. 4. A failed `fallocate` frees what it
// added; a failed populate leaves zeroed pages behind, but no changed contents.
unsafe impl Backing for ZonedBacking {
    fn granule(&self) -> usize {
        os_page_size()
    }

    fn reserve(
        &self,
        kind: RegionKind,
        len: usize,
        align: usize,
    ) -> Result<NonNull<u8>, BackingError> {
        self.anon.reserve(kind, len, align)
    }

    unsafe fn place_zone(
        &self,
        base: NonNull<u8>,
        len: usize,
        kind: ZoneKind,
        node: Option<u32>,
    ) -> Result<(), ZoneRefusal> {
        if let Some(node) = node {
            if kind == ZoneKind::File {
                return Err(ZoneRefusal::NodeOfKind);
            }
            numa::check(self.numa, node)?;
        }
        let file = match kind {
            ZoneKind::Normal | ZoneKind::Huge => None,
            ZoneKind::Memfd => Some(memfd(len).map_err(|_| ZoneRefusal::System)?),
            ZoneKind::File => Some(self.next_file(len)?),
        };
        if let Some(file) = file {
            self.is_shared.store(true, Ordering::Relaxed);
            // SAFETY: by contract granules (pages) of a region that nobody uses yet.
            unsafe { self.shared.show(base, len, file) }.map_err(|_| ZoneRefusal::System)?;
        }
        match node {
            // SAFETY: as above.
            Some(node) => unsafe { numa::bind(self.numa, base, len, node) },
            None => Ok(()),
        }
    }

    unsafe fn release(&self, kind: RegionKind, base: NonNull<u8>, len: usize) {
        if kind == RegionKind::Payload && self.is_shared.load(Ordering::Relaxed) {
            if self.shared.are_lost() {
                // A forked child never had all of the region. Another mapping may be at this
                // address.
                return;
            }
            self.shared.forget(base, len);
        }
        // SAFETY: the contract is the same; files shown in the region go with it.
        unsafe { self.anon.release(kind, base, len) };
    }

    unsafe fn commit(
        &self,
        kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        if self.is_file(kind, base) {
            self.shared.allocate(base, len)?;
        }
        // SAFETY: by contract whole granules (pages) of a region, all of it readable and writable.
        unsafe { map::populate(base, len) }
    }

    unsafe fn decommit(
        &self,
        kind: RegionKind,
        base: NonNull<u8>,
        len: usize,
    ) -> Result<(), BackingError> {
        if self.is_file(kind, base) {
            return self.shared.punch(base, len);
        }
        // SAFETY: the contract is the same.
        unsafe { self.anon.decommit(kind, base, len) }
    }

    unsafe fn decommit_runs(&self, kind: RegionKind, runs: &[(NonNull<u8>, usize)]) -> usize {
        // All runs lie in one zone, so the first one tells its kind.
        if !runs
            .first()
            .is_some_and(|&(base, _)| self.is_file(kind, base))
        {
            // SAFETY: the contract is the same.
            return unsafe { self.anon.decommit_runs(kind, runs) };
        }
        let refused = runs
            .iter()
            .position(|&(base, len)| self.shared.punch(base, len).is_err());
        refused.unwrap_or(runs.len())
    }

    fn process(&self) -> u64 {
        self.anon.process()
    }

    fn child_can_read(&self) -> bool {
        !self.is_shared.load(Ordering::Relaxed)
    }

    unsafe fn advise(&self, base: NonNull<u8>, len: usize, advice: Advice) {
        // SAFETY: the contract is the same.
        unsafe { self.anon.advise(base, len, advice) };
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use crate::HOST;
    use crate::numa::tests::FakeMachine;
    use zs_mm::{Arena, ArenaOptions, Error, InvalidArena, ZoneSpec, ZoneSpecs};

    const MIB: u64 = 1 << 20;

    /// Makes an arena with zones of 6 and 2 MiB, the second one on a node.
    fn arena_on(
        machine: &'static FakeMachine,
        kind: ZoneKind,
        node: u32,
    ) -> Result<Arena<ZonedBacking>, Error> {
        let first = ZoneSpec {
            share: 1000,
            ..ZoneSpec::new(ZoneKind::Normal)
        };
        let second = ZoneSpec {
            node: Some(node),
            ..ZoneSpec::new(kind)
        };
        let options = ArenaOptions {
            zones: ZoneSpecs::new(&[first, second]),
            ..ArenaOptions::new(8 * MIB)
        };
        Arena::new(ZonedBacking::on(machine), &HOST, options)
    }

    #[test]
    fn the_zone_that_is_to_be_on_a_node_is_bound_to_it_whatever_its_kind() {
        static MACHINE: FakeMachine = FakeMachine::new("0-1\n", Ok(()));
        for kind in [ZoneKind::Normal, ZoneKind::Huge, ZoneKind::Memfd] {
            let arena = arena_on(&MACHINE, kind, 1).expect("an arena");
            let bound = std::mem::take(&mut *short_lock(&MACHINE.bound));
            let [(start, len, node)] = bound[..] else {
                unreachable!("one zone of two was bound: {bound:?}");
            };
            assert_eq!((len, node), (2 << 20, 1));
            let base = NonNull::new(core::ptr::without_provenance_mut(start)).expect("an address");
            let backing = arena.backing();
            assert_eq!(
                backing.is_file(RegionKind::Payload, base),
                kind == ZoneKind::Memfd
            );
        }
    }

    #[test]
    fn what_the_machine_refuses_is_an_error_that_names_the_zone() {
        static STUBBORN: FakeMachine = FakeMachine::new("0-1\n", Err(Errno::NOMEM));
        let refused = |node| match arena_on(&STUBBORN, ZoneKind::Normal, node) {
            Err(Error::Invalid(InvalidArena::Zone { zone, refusal, .. })) => Some((zone, refusal)),
            _ => None,
        };
        assert_eq!(refused(0), Some((1, ZoneRefusal::System)));
        assert_eq!(refused(7), Some((1, ZoneRefusal::Node)));
    }
}
