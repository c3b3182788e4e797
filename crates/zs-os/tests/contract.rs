//! The four promises of a backing, tested for every backing.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::os::unix::fs::FileExt as _;
use std::ptr::NonNull;
use zs_mm::{Advice, BLOCK_BYTES, Backing, BackingError, RegionKind, ZoneKind};
use zs_os::testing::{
    Call, Fault, FaultBacking, HeapBacking, POISON, Recorded, RecordingBacking, StrictBacking,
};
use zs_os::{AnonBacking, MemfdBacking, MemfdCommit, ZonedBacking};

mod common;

use common::Region;

const KINDS: [RegionKind; 2] = [RegionKind::Payload, RegionKind::Table];

fn keeps_the_contract(backing: &dyn Backing) {
    keeps_the_contract_as(backing, ZoneKind::Normal);
}

/// The same tests for the zones of one kind. Those of files need three files.
fn keeps_the_contract_as(backing: &dyn Backing, zone: ZoneKind) {
    assert!(backing.granule().is_power_of_two());
    for kind in KINDS {
        let align = BLOCK_BYTES.max(backing.granule());
        let region = Region::new(backing, kind, 8, align).of(zone);
        let other = Region::new(backing, kind, 8, backing.granule()).of(zone);
        if kind == RegionKind::Table {
            assert_eq!(region.ends(0), (0, 0), "an uncommitted table is zero");
        }
        region.commit(0, 4).expect("memory");
        other.commit(1, 1).expect("memory");
        for granule in 0..4 {
            assert_eq!(region.ends(granule), (0, 0), "a first commit is zero");
            region.fill(granule, 0x50 + granule as u8);
        }
        other.fill(1, 0x99);
        region.commit(2, 4).expect("memory");
        assert_eq!(
            region.ends(3),
            (0x53, 0x53),
            "a second commit keeps the contents"
        );
        assert_eq!(region.ends(4), (0, 0));
        region.decommit(1, 2).expect("given back");
        if kind == RegionKind::Table {
            assert_eq!(region.ends(1), (0, 0), "a decommitted table is zero");
        }
        assert_eq!(region.ends(0), (0x50, 0x50), "neighbours keep theirs");
        assert_eq!(region.ends(3), (0x53, 0x53));
        region.commit(1, 2).expect("memory");
        assert_eq!(region.ends(1), (0, 0), "zero after decommit and commit");
        assert_eq!(region.ends(2), (0, 0));
        region.decommit(1, 1).expect("given back");
        assert_eq!(other.ends(1), (0x99, 0x99), "regions do not share memory");
    }
    let block = Region::new(
        backing,
        RegionKind::Payload,
        BLOCK_BYTES / backing.granule(),
        BLOCK_BYTES,
    )
    .of(zone);
    block.commit(0, 1).expect("memory");
    block.fill(0, 3);
    for advice in [Advice::Huge, Advice::Small] {
        // SAFETY: one whole pageblock.
        unsafe { backing.advise(block.base, block.len, advice) };
        assert_eq!(block.ends(0), (3, 3), "advice changes nothing");
    }
}

#[test]
fn anon() {
    keeps_the_contract(&AnonBacking::new());
}

#[test]
fn memfd() {
    keeps_the_contract(&MemfdBacking::new(MemfdCommit::Mapped));
    keeps_the_contract(&MemfdBacking::new(MemfdCommit::Allocated));
}

/// Makes a zoned backing with `files` files that are not empty.
fn with_files(count: usize) -> ZonedBacking {
    (0..count).fold(ZonedBacking::new(), |backing, _| {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(BLOCK_BYTES as u64).expect("a length");
        file.write_all_at(&[0xee; 1 << 16], 0).expect("written");
        backing.with_file(file).expect("a file for a zone")
    })
}

#[test]
fn zoned() {
    for kind in [ZoneKind::Normal, ZoneKind::Huge, ZoneKind::Memfd] {
        keeps_the_contract_as(&ZonedBacking::new(), kind);
    }
    keeps_the_contract_as(&with_files(3), ZoneKind::File);
}

#[test]
fn heap() {
    for granule in [4 << 10, 16 << 10, 64 << 10] {
        keeps_the_contract(&HeapBacking::new(granule));
    }
}

#[test]
fn strict() {
    for granule in [0, 16 << 10, 64 << 10] {
        keeps_the_contract(&StrictBacking::with_granule(granule));
    }
}

#[test]
fn wrapped() {
    keeps_the_contract(&FaultBacking::new(
        RecordingBacking::new(AnonBacking::new()),
    ));
}

#[test]
fn threads_may_commit_the_same_table_at_once() {
    fn race(backing: impl Backing + 'static) {
        use std::sync::Arc;
        let backing: Arc<dyn Backing> = Arc::new(backing);
        for _ in 0..20 {
            let granule = backing.granule();
            let len = 16 * granule;
            let base = backing
                .reserve(RegionKind::Table, len, granule)
                .expect("address space");
            let address = base.as_ptr().expose_provenance();
            let worker = |id: u64| {
                let backing = Arc::clone(&backing);
                std::thread::spawn(move || {
                    use std::sync::atomic::{AtomicU64, Ordering};
                    let base = NonNull::new(std::ptr::with_exposed_provenance_mut(address));
                    let base: NonNull<u8> = base.expect("an address");
                    // SAFETY: the whole of a table region.
                    unsafe { backing.commit(RegionKind::Table, base, len) }.expect("memory");
                    for page in 0..16 {
                        // SAFETY: inside the region, and aligned.
                        let cell = unsafe { base.add(page * granule).cast::<AtomicU64>() };
                        // SAFETY: committed, and used as an atomic only.
                        unsafe { cell.as_ref() }.fetch_add(id, Ordering::Relaxed);
                    }
                })
            };
            let workers = [worker(1), worker(0x100)];
            for worker in workers {
                worker.join().expect("no panic");
            }
            for page in 0..16 {
                // SAFETY: inside the region, which nobody else uses any more.
                let cell = unsafe { base.add(page * granule).cast::<u64>() };
                // SAFETY: a table is readable.
                assert_eq!(unsafe { cell.read() }, 0x101, "no commit undid a write");
            }
            // SAFETY: reserved above, used no more.
            unsafe { backing.release(RegionKind::Table, base, len) };
        }
    }
    race(AnonBacking::new());
    race(HeapBacking::new(4096));
    race(StrictBacking::new());
}

#[test]
fn what_cannot_be_reserved_is_refused() {
    let too_much = 1 << 60;
    let backings: [&dyn Backing; 3] = [
        &AnonBacking::new(),
        &MemfdBacking::default(),
        &StrictBacking::new(),
    ];
    for backing in backings {
        for kind in KINDS {
            assert_eq!(backing.reserve(kind, too_much, 1 << 21), Err(BackingError));
        }
    }
}

#[test]
fn heap_poisons_payload_and_finds_writes_to_it() {
    let backing = HeapBacking::new(4096);
    let region = Region::new(&backing, RegionKind::Payload, 2, 4096);
    region.commit(0, 2).expect("memory");
    region.decommit(0, 1).expect("given back");
    // The heap can be read at any time.
    assert_eq!(region.ends(0), (POISON, POISON));
    region.fill(0, 1);
    let commit = std::panic::AssertUnwindSafe(|| region.commit(0, 1));
    assert!(
        std::panic::catch_unwind(commit).is_err(),
        "a write after the decommit is found"
    );
    // The panic left the granule marked as committed, so the release does not panic again.
}

#[test]
fn memfd_regions_outlive_the_descriptor_table_of_their_backing() {
    let backing = MemfdBacking::default();
    let len = 4 * backing.granule();
    let base = backing
        .reserve(RegionKind::Payload, len, len)
        .expect("address space");
    // SAFETY: the whole region.
    unsafe { backing.commit(RegionKind::Payload, base, len) }.expect("memory");
    drop(backing);
    // SAFETY: a region stays valid until it is released; it never is.
    unsafe { base.write_bytes(7, len) };
    // SAFETY: as above.
    assert_eq!(unsafe { base.read() }, 7);
}

#[test]
fn memfd_takes_memory_at_commit_and_gives_it_back_at_decommit() {
    let backing = MemfdBacking::new(MemfdCommit::Allocated);
    let region = Region::new(&backing, RegionKind::Payload, 64, 4096);
    let blocks = || {
        let folder = std::fs::read_dir("/proc/self/fd").expect("Linux");
        let is_ours = |path: &std::path::PathBuf| {
            std::fs::read_link(path)
                .is_ok_and(|name| name.to_string_lossy().starts_with("/memfd:zs-payload"))
        };
        let files = folder
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(is_ours);
        let sizes = files.filter_map(|path| std::fs::metadata(path).ok());
        use std::os::unix::fs::MetadataExt;
        // Other tests have memfds too. The one of this size belongs to this test.
        let ours = sizes.filter(|file| file.len() == region.len as u64);
        ours.map(|file| file.blocks() * 512)
            .max()
            .expect("our file")
    };
    assert_eq!(blocks(), 0);
    region.commit(0, 48).expect("memory");
    assert_eq!(blocks(), 48 * region.granule as u64);
    region.decommit(8, 40).expect("given back");
    assert_eq!(blocks(), 8 * region.granule as u64);
}

#[test]
fn a_forked_child_cannot_change_the_parents_files() {
    let memfd = MemfdBacking::default();
    let (zoned, zoned_file) = (ZonedBacking::new(), with_files(1));
    let cases: [(&dyn Backing, ZoneKind); 3] = [
        (&memfd, ZoneKind::Normal),
        (&zoned, ZoneKind::Memfd),
        (&zoned_file, ZoneKind::File),
    ];
    for (backing, zone) in cases {
        let region = Region::new(backing, RegionKind::Payload, 2, 4096).of(zone);
        assert!(!backing.child_can_read());
        region.commit(0, 1).expect("memory");
        region.fill(0, 0x77);
        let base = region.base.as_ptr().cast();
        // SAFETY: the child makes calls that neither allocate nor take a contended lock, and exits.
        let child = unsafe { libc_fork() };
        if child == 0 {
            // SAFETY: writing back changes no contents; what is not mapped is an error.
            let here = unsafe { rustix::mm::msync(base, 1, rustix::mm::MsyncFlags::ASYNC) };
            let refused = region.commit(1, 1).is_err() && region.decommit(0, 1).is_err();
            let refused = refused && here.is_err();
            drop(region);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc_exit(i32::from(!refused)) };
        }
        let mut status = -1;
        // SAFETY: `status` is a valid place to write to.
        let waited = unsafe { libc_waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        assert_eq!(status, 0, "the child was refused");
        assert_eq!(region.ends(0), (0x77, 0x77));
    }
}

unsafe extern "C" {
    #[link_name = "fork"]
    fn libc_fork() -> i32;
    #[link_name = "_exit"]
    fn libc_exit(status: i32) -> !;
    #[link_name = "waitpid"]
    fn libc_waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
}

#[test]
fn faults_come_as_set_and_change_nothing() {
    let backing = FaultBacking::new(HeapBacking::new(4096));
    let control = backing.control();
    control.set(Call::Reserve, Fault::Nth(1));
    assert!(backing.reserve(RegionKind::Table, 4096, 4096).is_err());
    let region = Region::new(&backing, RegionKind::Payload, 4, 4096);
    region.commit(0, 1).expect("memory");
    region.fill(0, 5);
    control.set(Call::Decommit, Fault::From(1));
    assert!(region.decommit(0, 1).is_err());
    assert_eq!(region.ends(0), (5, 5));
    control.set(Call::Commit, Fault::Every(2));
    assert!(region.commit(1, 1).is_ok());
    assert!(region.commit(2, 1).is_err());
    assert_eq!(control.failed(Call::Commit), 1);
    control.clear();
    region.commit(2, 1).expect("memory");
    region.decommit(0, 1).expect("given back");
}

#[test]
fn recordings_list_the_calls_in_order() {
    let backing = RecordingBacking::new(HeapBacking::new(4096));
    let recording = backing.recording();
    let kind = RegionKind::Payload;
    let region = Region::new(&backing, kind, 4, 4096);
    region.commit(1, 2).expect("memory");
    region.decommit(2, 1).expect("given back");
    let base = region.base.addr().get();
    drop(region);
    let expected = [
        Recorded::Reserve {
            kind,
            place: base,
            len: 4 * 4096,
        },
        Recorded::Commit {
            kind,
            place: base + 4096,
            len: 2 * 4096,
        },
        Recorded::Decommit {
            kind,
            place: base + 2 * 4096,
            len: 4096,
        },
        Recorded::Release {
            kind,
            place: base,
            len: 4 * 4096,
        },
    ];
    assert_eq!(recording.take(), expected);
    assert!(recording.take().is_empty());
}
