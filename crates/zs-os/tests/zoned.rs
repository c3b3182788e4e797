//! Arenas with zones of every kind: the memory that each takes and gives back, and the refusals.

#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use zs_mm::{Arena, ArenaOptions, Error, Frame, ZoneKind, ZoneSpec, ZoneSpecs};
use zs_os::{HOST, ZoneFileError, ZonedBacking};

const MIB: u64 = 1 << 20;
const ALL: [ZoneKind; 4] = [
    ZoneKind::Normal,
    ZoneKind::Huge,
    ZoneKind::Memfd,
    ZoneKind::File,
];

fn options(limit: u64, kinds: &[ZoneKind]) -> ArenaOptions {
    let specs: Vec<_> = kinds.iter().map(|&kind| ZoneSpec::new(kind)).collect();
    ArenaOptions {
        zones: ZoneSpecs::new(&specs),
        ..ArenaOptions::new(limit)
    }
}

fn arena_of(file: File, limit: u64, kinds: &[ZoneKind]) -> Arena<ZonedBacking> {
    let backing = ZonedBacking::new().with_file(file).expect("a good file");
    Arena::new(backing, &HOST, options(limit, kinds)).expect("an arena")
}

/// Allocates frames until there are no more, and fills each with its number.
fn fill(arena: &Arena<ZonedBacking>) -> Vec<Frame> {
    let frames: Vec<_> = std::iter::from_fn(|| match arena.alloc_frame() {
        Ok(frame) => Some(frame),
        Err(error) => {
            assert_eq!(error, Error::NoMemory);
            None
        }
    })
    .collect();
    for frame in &frames {
        let number = frame.id().0.to_ne_bytes().repeat(1024);
        // SAFETY: the frame is allocated, so committed, and nobody else's.
        unsafe { arena.payload().write(frame.id().index() * 4096, &number) };
    }
    frames
}

fn free(arena: &Arena<ZonedBacking>, frames: impl IntoIterator<Item = Frame>) {
    for frame in frames {
        let number = frame.id().0.to_ne_bytes().repeat(1024);
        // SAFETY: the frame is allocated, so committed, and nobody else writes to it.
        let found = unsafe { arena.payload().bytes(frame.id().index() * 4096, 4096) };
        assert_eq!(found, number, "{}", frame.id());
        arena.free_frame(frame);
    }
}

fn file_of(len: u64) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(len).expect("a length");
    file
}

fn blocks(file: &File) -> u64 {
    file.metadata().expect("a file").blocks() * 512
}

#[test]
fn every_kind_holds_what_is_written_and_gives_it_back() {
    let file = file_of(8 * MIB);
    let seen = file.try_clone().expect("a descriptor");
    let arena = arena_of(file, 32 * MIB, &ALL);
    for _ in 0..2 {
        let mut frames = fill(&arena);
        assert!(frames.len() > 4 * 2048 - 64, "nearly all of the limit");
        assert!(blocks(&seen) > 7 * MIB, "the file is the last zone");
        arena.validate(0).expect("valid");
        // Every other clump is freed: a file system may write out the bytes beside each hole.
        let mut number = 0;
        let odd = frames.extract_if(.., |_| {
            number += 1;
            number / 32 % 2 == 0
        });
        free(&arena, odd.collect::<Vec<_>>());
        arena.trim();
        arena.validate(0).expect("valid");
        assert!(
            blocks(&seen) < 5 * MIB,
            "holes were made: {}",
            blocks(&seen)
        );
        free(&arena, frames);
        arena.trim();
        assert_eq!(arena.stats().held, arena.stats().metadata);
        assert_eq!(blocks(&seen), 0);
    }
}

#[test]
fn bytes_beyond_the_zone_are_never_touched_and_the_zone_leaves_a_hole() {
    let file = file_of(0);
    let seen = file.try_clone().expect("a descriptor");
    let all = vec![0xab_u8; (6 * MIB) as usize + 5];
    seen.write_all_at(&all, 0).expect("written");
    let arena = arena_of(file, 8 * MIB, &[ZoneKind::Normal, ZoneKind::File]);
    let frames = fill(&arena);
    assert!(frames.len() > 2000);
    free(&arena, frames);
    let kept = fill(&arena);
    drop((arena, kept));
    let mut found = vec![0; all.len() + 1];
    let zone = 4 * MIB as usize;
    assert_eq!(seen.read_at(&mut found, 0).expect("readable"), all.len());
    assert!(found[..zone].iter().all(|&byte| byte == 0), "nothing stays");
    assert_eq!(found[zone..all.len()], all[zone..]);
    assert!(blocks(&seen) < 3 * MIB);
}

/// Fills an arena on a file that is longer than the free space of its file system.
fn a_full_file_system_is_no_memory(file: File, least: usize) {
    let arena = arena_of(file, 8 * MIB, &[ZoneKind::File]);
    let mut counts = Vec::new();
    for _ in 0..3 {
        let frames = fill(&arena);
        counts.push(frames.len());
        arena.validate(0).expect("valid");
        free(&arena, frames);
        arena.trim();
        assert_eq!(arena.stats().held, arena.stats().metadata);
    }
    assert_eq!(counts, [counts[0]; 3], "all that was had can be had again");
    assert!((least..1000).contains(&counts[0]), "{counts:?}");
}

/// Mounts a file system of 1 MiB that no other process sees. Needs privileges.
fn small_tmpfs() -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "size", "1m")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::empty();
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

#[test]
fn a_full_tmpfs_is_no_memory() {
    let folder = match small_tmpfs() {
        Ok(folder) => folder,
        Err(error) => {
            println!("skipped: no tmpfs of its own: {error}");
            return;
        }
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, "zone", flags, Mode::RUSR | Mode::WUSR);
    let file = File::from(file.expect("a file"));
    file.set_len(8 * MIB).expect("a length");
    a_full_file_system_is_no_memory(file, 200);
}

/// hugetlbfs has no pages unless some were reserved: so it is a file system that is always full.
#[test]
fn a_file_system_without_any_memory_is_no_memory() {
    let spare = std::fs::read_to_string("/proc/sys/vm/nr_hugepages").unwrap_or_default();
    let more = std::fs::read_to_string("/proc/sys/vm/nr_overcommit_hugepages").unwrap_or_default();
    if spare.trim() != "0" || more.trim() != "0" {
        println!("skipped: this system may have huge pages set aside");
        return;
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let file = rustix::fs::memfd_create(c"zs-test", flags).expect("a memfd");
    let file = File::from(file);
    file.set_len(8 * MIB).expect("a length");
    a_full_file_system_is_no_memory(file, 0);
}

/// Returns the resident pages of the arena's payload.
fn resident_pages(arena: &Arena<ZonedBacking>) -> usize {
    let len = arena.options().limit as usize;
    // SAFETY: the first frame is allocated, and nobody writes to it.
    let base = unsafe { arena.payload().bytes(0, 1) }.as_ptr();
    let mut map = vec![0_u8; len / rustix::param::page_size()];
    // SAFETY: the range is the arena's payload, mapped as a whole, and `map` has a byte for each
    // page.
    let outcome = unsafe { libc::mincore(base.cast_mut().cast(), len, map.as_mut_ptr()) };
    assert_eq!(outcome, 0);
    map.iter().filter(|&&state| state & 1 != 0).count()
}

/// The system must not make a huge page of a part of a block: it would be resident, but not
/// charged.
#[test]
fn a_huge_zone_takes_no_more_than_is_charged() {
    let options = options(8 * MIB, &[ZoneKind::Huge]);
    let arena = Arena::new(ZonedBacking::new(), &HOST, options).expect("an arena");
    let page = rustix::param::page_size() as u64;
    for take in [1, 511, 512, 513, 5000] {
        let mut frames = fill(&arena);
        free(&arena, frames.split_off(take.min(frames.len())));
        arena.trim();
        let stats = arena.stats();
        let charged = (stats.in_use + stats.cached) / page;
        assert_eq!(resident_pages(&arena) as u64, charged, "{take} frames");
        free(&arena, frames);
        arena.trim();
    }
}

fn refusal(backing: ZonedBacking, options: ArenaOptions) -> String {
    let refused = Arena::new(backing, &HOST, options);
    refused.expect_err("refused").to_string()
}

#[test]
fn a_file_that_is_too_short_or_missing_is_refused_and_stays_as_it_is() {
    let kinds = [ZoneKind::Normal, ZoneKind::File];
    assert_eq!(
        refusal(ZonedBacking::new(), options(8 * MIB, &kinds)),
        "invalid arena options: zone 1 (file): the backing was given no file for it"
    );
    let file = file_of(0);
    let seen = file.try_clone().expect("a descriptor");
    let all = vec![7_u8; 4 * MIB as usize - 1];
    seen.write_all_at(&all, 0).expect("written");
    let backing = ZonedBacking::new().with_file(file).expect("a good file");
    assert_eq!(
        refusal(backing, options(8 * MIB, &kinds)),
        "invalid arena options: zone 1 (file): its file has 4194303 bytes, and must have at least \
         4194304"
    );
    let mut found = vec![0; all.len() + 1];
    assert_eq!(seen.read_at(&mut found, 0).expect("readable"), all.len());
    assert_eq!(found[..all.len()], all);
}

#[test]
fn files_that_cannot_be_zones_are_refused() {
    let refusal = |file: File| {
        let refused = ZonedBacking::new().with_file(file);
        refused.expect_err("refused").to_string()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let not_regular = "not a regular file";
    assert_eq!(
        refusal(File::open(folder.path()).expect("open")),
        not_regular
    );
    let (_, pipe) = io::pipe().expect("a pipe");
    assert_eq!(refusal(File::from(OwnedFd::from(pipe))), not_regular);
    let path = folder.path().join("file");
    std::fs::write(&path, "some bytes").expect("written");
    for (read, write) in [(true, false), (false, true)] {
        let file = OpenOptions::new().read(read).write(write).open(&path);
        let expected = "not open for reading and writing";
        assert_eq!(refusal(file.expect("open")), expected);
    }
    let open = || {
        let file = OpenOptions::new().read(true).write(true).open(&path);
        file.expect("open")
    };
    let first = ZonedBacking::new().with_file(open()).expect("the first");
    let second = ZonedBacking::new().with_file(open());
    assert!(matches!(second, Err(ZoneFileError::InUse)));
    drop(first);
    assert!(ZonedBacking::new().with_file(open()).is_ok());
    let sealed = rustix::fs::memfd_create(c"zs-test", MemfdFlags::ALLOW_SEALING).expect("a memfd");
    rustix::fs::fcntl_add_seals(&sealed, rustix::fs::SealFlags::WRITE).expect("sealed");
    assert_eq!(
        refusal(File::from(sealed)),
        "no holes can be punched in it: Operation not permitted (os error 1)"
    );
    assert_eq!(std::fs::read(&path).expect("readable"), b"some bytes");
}

#[test]
fn a_zone_is_on_a_node_that_there_is() {
    let on = |kind, node| {
        let spec = ZoneSpec {
            node: Some(node),
            ..ZoneSpec::new(kind)
        };
        let options = ArenaOptions {
            zones: ZoneSpecs::new(&[spec]),
            ..ArenaOptions::new(4 * MIB)
        };
        Arena::new(ZonedBacking::new(), &HOST, options)
    };
    for kind in [ZoneKind::Normal, ZoneKind::Huge, ZoneKind::Memfd] {
        let arena = on(kind, 0).expect("every machine has a node 0 with memory, or nearly");
        let frames = fill(&arena);
        assert!(frames.len() > 1000);
        free(&arena, frames);
        assert_eq!(
            on(kind, 777).expect_err("no such node").to_string(),
            format!(
                "invalid arena options: zone 0 ({kind}, node 777): no memory there that this \
                 process may use"
            )
        );
    }
    assert_eq!(
        on(ZoneKind::File, 0)
            .expect_err("a file has no node")
            .to_string(),
        "invalid arena options: zone 0 (file, node 0): the backing makes no memory of this kind on \
         a node of choice"
    );
}
