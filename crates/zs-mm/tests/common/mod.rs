//! What the tests of this crate share: every arena, and stamped frames.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::panic,
    reason = "each test file uses a part of this, and a failed check ends a test"
)]

pub(crate) mod objects;

use zs_mm::{Arena, ArenaOptions, Backing, Error, Frame, FrameId, PageSize};
use zs_os::testing::{FaultBacking, TestHost};
use zs_sync::Host;

/// Granules that an operating system may have.
pub(crate) const GRANULES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

/// Whether a sanitizer slows everything down, so that long tests are to be short.
pub(crate) fn sanitized() -> bool {
    std::env::var_os("ZS_SANITIZER").is_some()
}

/// `full`, or `short` under a sanitizer.
pub(crate) fn effort(full: usize, short: usize) -> usize {
    if sanitized() { short } else { full }
}

/// Runs a test at every frame size and granule.
pub(crate) fn at_every_size(test: impl Fn(PageSize, usize)) {
    for page in PageSize::ALL {
        for granule in GRANULES {
            test(page, granule);
        }
    }
}

/// A host of one CPU, whose clock stands still until it is set: which cache a frame lies in, and
/// when memory decays, follows from the test alone, not from where and when its thread runs.
pub(crate) fn still_host() -> &'static TestHost {
    let host = TestHost::leak(0);
    host.set_cpu(0);
    host
}

/// An arena whose backing checks that no lock is held when it is called.
#[expect(clippy::expect_used, reason = "a helper of tests")]
pub(crate) fn arena<B: Backing>(
    backing: B,
    host: &'static dyn Host,
    options: ArenaOptions,
) -> Arena<FaultBacking<B>> {
    Arena::new(FaultBacking::new(backing), host, options).expect("an arena")
}

/// Options for a number of pageblocks of a frame size.
pub(crate) fn blocks(page_size: PageSize, count: u64) -> ArenaOptions {
    ArenaOptions {
        page_size,
        ..ArenaOptions::new(count * page_size.block_bytes() as u64)
    }
}

/// Where a frame is stamped: at both ends and in the middle.
fn stamp_places(arena: &Arena<impl Backing>, id: FrameId) -> [usize; 3] {
    let bytes = arena.options().page_size.bytes();
    let start = id.index() * bytes;
    [start, start + bytes / 2, start + bytes - 8]
}

/// Writes a mark into a frame that the caller owns.
pub(crate) fn stamp(arena: &Arena<impl Backing>, frame: &Frame, mark: u64) {
    stamp_bytes(arena, frame.id(), mark);
}

/// Writes a mark into a frame that the caller alone uses.
pub(crate) fn stamp_bytes(arena: &Arena<impl Backing>, frame: FrameId, mark: u64) {
    for place in stamp_places(arena, frame) {
        // SAFETY: the frame is allocated, so committed, and nobody else's.
        unsafe { arena.payload().write(place, &mark.to_ne_bytes()) };
    }
}

/// Panics unless a frame that the caller owns still bears its mark.
pub(crate) fn check_stamp(arena: &Arena<impl Backing>, frame: &Frame, mark: u64) {
    check_bytes(arena, frame.id(), mark);
}

/// Panics unless a frame that nobody writes to still bears its mark.
pub(crate) fn check_bytes(arena: &Arena<impl Backing>, frame: FrameId, mark: u64) {
    for place in stamp_places(arena, frame) {
        // SAFETY: the frame is allocated, so committed, and nobody writes to it.
        let found = unsafe { arena.payload().bytes(place, 8) };
        assert_eq!(found, mark.to_ne_bytes(), "contents of {frame}");
    }
}

/// Panics if something is wrong with the arena, in which pools hold `foreign` bytes.
pub(crate) fn check(arena: &Arena<impl Backing>, foreign: u64) {
    if let Err(wrong) = arena.validate(foreign) {
        panic!("{wrong}");
    }
    let stats = arena.stats();
    assert!(stats.held <= stats.limit, "{stats:?}");
    assert!(
        stats.peak <= stats.limit && stats.held <= stats.peak,
        "{stats:?}"
    );
}

/// What an arena must hold after trim, in bytes: every granule that a frame in use touches.
pub(crate) fn held_by(arena: &Arena<impl Backing>, frames: impl Iterator<Item = FrameId>) -> u64 {
    let page = arena.options().page_size.bytes();
    let unit = page.max(arena.backing().granule());
    let units = frames.map(|id| id.index() * page / unit);
    let units: std::collections::HashSet<_> = units.collect();
    (units.len() * unit) as u64
}

/// Allocates frames until there are no more, or so many; each is stamped with its own number.
pub(crate) fn alloc_up_to(arena: &Arena<impl Backing>, most: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.len() < most {
        match arena.alloc_frame() {
            Ok(frame) => {
                stamp(arena, &frame, u64::from(frame.id().0));
                frames.push(frame);
            }
            Err(Error::NoMemory) => break,
            Err(error) => panic!("{error}"),
        }
    }
    frames
}

/// Checks the stamps of [`alloc_up_to`] and frees the frames.
pub(crate) fn free_all(arena: &Arena<impl Backing>, frames: impl IntoIterator<Item = Frame>) {
    for frame in frames {
        check_stamp(arena, &frame, u64::from(frame.id().0));
        arena.free_frame(frame);
    }
}

/// Small reproducible random numbers (xorshift).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
