//! Row Z29: a forked child doubled memory by copy-on-write while objects moved.
//!
//! Nothing moves while a child shares the memory; the child reads, is refused everything else, and
//! is answered Busy, not kept waiting, where a writer was at work at the fork.
#![cfg(not(zs_loom))]
#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use zs_mm::{Arena, ArenaOptions, Backing, FrameId, FrameStatus, Movable, PageSize, ZoneId};
use zs_os::{AnonBacking, HOST, MemfdBacking};
use zsmalloc::{CompactBudget, CompactEnd, Error, Handle, HandlePool, MapMode, PoolOptions};

/// Seconds after which a child that hangs is killed, and the test fails by it.
const PATIENCE: u32 = 60;

type Pool<B> = HandlePool<Arena<B>>;

fn pool<B: Backing>(backing: B, page_size: PageSize) -> Pool<B> {
    let options = ArenaOptions {
        page_size,
        ..ArenaOptions::new(64 << 20)
    };
    let arena = Arena::new(backing, &HOST, options).expect("an arena");
    HandlePool::new(arena, PoolOptions::named("fork")).expect("a pool")
}

/// A pool with holes: every other object is gone.
fn sparse<B: Backing>(backing: B) -> (Pool<B>, Vec<Handle>) {
    let pool = pool(backing, PageSize::K4);
    let insert = |n: u32| pool.insert(&bytes(n)).expect("room");
    let handles: Vec<_> = (0..4000).map(insert).collect();
    let mut kept = Vec::new();
    for (n, handle) in handles.into_iter().enumerate() {
        if n % 2 == 0 {
            kept.push(handle);
        } else {
            pool.free(handle).expect("live");
        }
    }
    (pool, kept)
}

/// What object `n` holds: its number, over and over.
fn bytes(n: u32) -> Vec<u8> {
    n.to_le_bytes().repeat(300)
}

/// Whether all objects read as they should; allocates nothing, for use in a child.
fn all_there<B: Backing>(pool: &Pool<B>, kept: &[Handle]) -> bool {
    kept.iter().enumerate().all(|(at, &handle)| {
        let expected = (2 * at as u32).to_le_bytes();
        pool.read(handle).is_ok_and(|guard| {
            let spans = guard.spans();
            let all = spans.first.iter().chain(spans.second);
            guard.len() == 1200 && all.zip(expected.iter().cycle()).all(|(a, b)| a == b)
        })
    })
}

/// Runs `child` in a forked child; its exit status is what it returns.
fn fork(child: impl FnOnce() -> u8) -> libc::pid_t {
    // SAFETY: the child calls nothing that needs another thread: `child` neither allocates nor
    // waits for a lock, by which this test would hang, and be seen to.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: a plain system call; it kills a child that hangs.
            unsafe { libc::alarm(PATIENCE) };
            let status = child();
            // SAFETY: ends the child at once, without the parent's exit handlers.
            unsafe { libc::_exit(status.into()) }
        }
        pid => pid,
    }
}

/// Waits for a child; returns its exit status, or `None` if a signal ended it.
fn wait(pid: libc::pid_t) -> Option<u8> {
    let mut status = 0;
    // SAFETY: `status` is writable.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(ended, pid);
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u8)
}

/// A pipe whose reader waits for the writer's end.
fn gate() -> (std::io::PipeReader, std::io::PipeWriter) {
    std::io::pipe().expect("a pipe")
}

/// One at a time: children of other tests here would pause this one's moves.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn z29_nothing_moves_until_the_child_is_gone() {
    use std::io::Read as _;
    let _alone = alone();
    let (pool, kept) = sparse(AnonBacking::new());
    let (mut open, close) = gate();
    let child = fork(|| {
        // This end is the parent's.
        let before = all_there(&pool, &kept);
        // The parent's end closes when it has tried to compact.
        // SAFETY: the descriptor is open here, and nobody uses it after.
        unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&close)) };
        let waited = open.read(&mut [0]).is_ok_and(|bytes| bytes == 0);
        u8::from(!(before && waited && all_there(&pool, &kept)))
    });
    for _ in 0..3 {
        let report = pool.compact(CompactBudget::UNLIMITED);
        assert_eq!((report.end, report.objects_moved), (CompactEnd::Paused, 0));
    }
    assert!(pool.can_compact() > 0);
    // Everything else goes on meanwhile.
    let other = pool.insert(b"meanwhile").expect("room");
    pool.replace(other, b"replaced").expect("live");
    pool.free(other).expect("live");
    drop(close);
    assert_eq!(wait(child), Some(0), "the child reads what was there");
    let report = pool.compact(CompactBudget::UNLIMITED);
    assert!(
        report.end == CompactEnd::Done && report.objects_moved > 0,
        "{report:?}"
    );
    assert!(all_there(&pool, &kept));
    pool.validate().expect("a valid pool");
}

#[test]
fn z29_a_child_that_executes_another_program_shares_nothing() {
    let _alone = alone();
    let (pool, _kept) = sparse(AnonBacking::new());
    let child = fork(|| {
        let program = c"/bin/sleep".as_ptr();
        let arguments = [program, c"600".as_ptr(), core::ptr::null()];
        // SAFETY: the strings end with a zero, the list with a null.
        unsafe { libc::execv(program, arguments.as_ptr()) };
        1
    });
    // It executes soon: until then moves are paused.
    let mut report = pool.compact(CompactBudget::UNLIMITED);
    while report.end == CompactEnd::Paused {
        std::thread::yield_now();
        report = pool.compact(CompactBudget::UNLIMITED);
    }
    assert!(report.objects_moved > 0, "{report:?}");
    // SAFETY: the child is this test's own, and was not waited for yet.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    assert_eq!(wait(child), None, "it was still running");
}

#[test]
fn z29_a_child_that_never_exits_pauses_moves_and_nothing_else() {
    let _alone = alone();
    let (pool, kept) = sparse(AnonBacking::new());
    let child = fork(|| {
        loop {
            // SAFETY: sleeps until a signal.
            unsafe { libc::pause() };
        }
    });
    pool.shrink(1_000_000);
    assert!(pool.can_compact() > 0, "it did without moves");
    assert_eq!(
        pool.compact(CompactBudget::UNLIMITED).end,
        CompactEnd::Paused
    );
    assert!(all_there(&pool, &kept));
    for handle in kept {
        pool.free(handle).expect("live");
    }
    assert!(pool.trim() > 0);
    // SAFETY: the child is this test's own, and was not waited for yet.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    assert_eq!(wait(child), None);
    assert_eq!(pool.compact(CompactBudget::UNLIMITED).end, CompactEnd::Done);
}

#[test]
fn z29_a_child_is_refused_what_would_change_anything() {
    let _alone = alone();
    let (pool, kept) = sparse(AnonBacking::new());
    let child = fork(|| {
        let (first, mut buffer) = (kept[0], [0; 4096]);
        let refused = [
            pool.insert(b"new").err(),
            pool.allocate(8).err(),
            pool.replace(first, b"new").err(),
            pool.replace_wait(first, b"new").err(),
            pool.write(first, 0, b"new").err(),
            pool.map(first, MapMode::ReadWrite, &mut buffer).err(),
            pool.free(first).err(),
        ];
        let read_only = pool.map(first, MapMode::ReadOnly, &mut [0; 4096]).is_ok();
        let end = pool.compact(CompactBudget::UNLIMITED).end;
        let nothing = [pool.trim(), pool.shrink(9), pool.can_compact()];
        let refused = refused == [Some(Error::Forked); 7] && nothing == [0; 3];
        u8::from(!(refused && read_only && end == CompactEnd::Paused && all_there(&pool, &kept)))
    });
    assert_eq!(wait(child), Some(0));
    assert!(all_there(&pool, &kept));
    pool.validate().expect("a valid pool");
}

#[test]
fn z29_a_memfd_arena_is_not_the_childs() {
    let _alone = alone();
    let (pool, kept) = sparse(MemfdBacking::default());
    let mut holder = Some(pool);
    let child = fork(|| {
        let Some(pool) = holder.take() else { return 9 };
        let refused = pool.read(kept[0]).err() == Some(Error::Forked)
            && pool.read_into(kept[0], &mut [0; 4096]) == Err(Error::Forked)
            && pool.insert(b"new").err() == Some(Error::Forked);
        // Letting go of it changes nothing of the parent's.
        drop(pool);
        u8::from(!refused)
    });
    assert_eq!(wait(child), Some(0));
    let pool = holder.expect("the parent's is still there");
    assert!(all_there(&pool, &kept));
    pool.validate().expect("a valid pool");
}

/// Bytes whose first reader waits, in the fault that it takes, until it may go on. One at a time.
struct SlowBytes {
    address: *mut libc::c_void,
    before: libc::sigaction,
}

/// Where they are, whether a reader waits, and whether it may go on.
static SLOW: AtomicUsize = AtomicUsize::new(0);
static WAITS: AtomicBool = AtomicBool::new(false);
static MAY_GO_ON: AtomicBool = AtomicBool::new(false);

impl SlowBytes {
    const LEN: usize = 64 << 10;

    fn new() -> Self {
        extern "C" fn wait(_signal: libc::c_int) {
            // SeqCst, all of them: the simplest will do.
            WAITS.store(true, Ordering::SeqCst);
            while !MAY_GO_ON.load(Ordering::SeqCst) {
                // SAFETY: lets others run, and nothing else.
                unsafe { libc::sched_yield() };
            }
            let address = core::ptr::with_exposed_provenance_mut(SLOW.load(Ordering::SeqCst));
            // SAFETY: the mapping of the one that there is; it becomes readable, as its reader
            // believes it to be.
            if unsafe { libc::mprotect(address, SlowBytes::LEN, libc::PROT_READ) } != 0 {
                // SAFETY: ends the process, which would take the same fault for ever.
                unsafe { libc::_exit(9) };
            }
        }
        let (flags, none) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_NONE);
        // SAFETY: a mapping at an address of the kernel's choice touches nothing that exists.
        let address = unsafe { libc::mmap(core::ptr::null_mut(), Self::LEN, none, flags, -1, 0) };
        assert_ne!(address, libc::MAP_FAILED);
        SLOW.store(address.expose_provenance(), Ordering::SeqCst);
        let handler = wait as extern "C" fn(libc::c_int);
        // SAFETY: all zeros are a value of this type.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        let mut before = action;
        // SAFETY: both live during the call; the handler makes system calls only.
        let set = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut before) };
        assert_eq!(set, 0);
        Self { address, before }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping lasts as long as this, nobody writes to it, and whoever reads it
        // finds zeros, late at first.
        unsafe { core::slice::from_raw_parts(self.address.cast(), Self::LEN) }
    }
}

impl Drop for SlowBytes {
    fn drop(&mut self) {
        // SAFETY: the action is the one that there was.
        unsafe { libc::sigaction(libc::SIGSEGV, &raw const self.before, core::ptr::null_mut()) };
        // SAFETY: the whole mapping, which nobody borrows any more.
        unsafe { libc::munmap(self.address, Self::LEN) };
    }
}

/// A write under way at the fork: in the child its object answers Busy.
#[test]
fn z29_a_word_that_was_exclusive_at_the_fork_answers_busy() {
    const BUSY: u8 = 7;
    let _alone = alone();
    let pool = pool(AnonBacking::new(), PageSize::K64);
    let handle = pool.insert(&vec![1; SlowBytes::LEN]).expect("room");
    let slow = SlowBytes::new();
    let bytes = slow.bytes();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| pool.write(handle, 0, bytes));
        while !WAITS.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let child = fork(|| match pool.read(handle) {
            Ok(_) => 0,
            Err(Error::Busy) => BUSY,
            Err(_) => 2,
        });
        assert_eq!(wait(child), Some(BUSY), "the fork met a write");
        MAY_GO_ON.store(true, Ordering::SeqCst);
        // By handle: ThreadSanitizer does not see the end of a scope.
        writer.join().expect("no panic").expect("alone");
    });
    let written = pool.read(handle).expect("live").spans().first.to_vec();
    assert!(
        written.iter().all(|byte| *byte == 0),
        "written after the fork"
    );
}

#[test]
fn z29_a_child_makes_arenas_of_its_own() {
    let _alone = alone();
    let (parents, _kept) = sparse(AnonBacking::new());
    let child = fork(|| {
        // Needs the heap's lock, which the allocator of this platform keeps usable across a fork.
        let (own, kept) = sparse(AnonBacking::new());
        let moved = own.compact(CompactBudget::UNLIMITED).objects_moved;
        let still_refused = parents.insert(b"x").err() == Some(Error::Forked);
        u8::from(!(moved > 0 && still_refused && all_there(&own, &kept)))
    });
    assert_eq!(wait(child), Some(0));
}

/// A child isolates nothing, and lets go of the tokens that it has inherited without a lock:
/// whoever held one at the fork is not there.
#[test]
fn z29_the_child_does_nothing_with_isolated_frames() {
    let _alone = alone();
    let (pool, kept) = sparse(AnonBacking::new());
    let arena = pool.arena();
    let isolated = || arena.zone_moves(ZoneId(0)).map(|moves| moves.isolated);
    let token = arena.isolate(FrameId(0), &[&pool], false).expect("at rest");
    let collected = arena.collect(FrameId(1), 2, &[&pool]).expect("no pause");
    assert_eq!(isolated(), Some(3));
    let mut held = Some((token, collected));
    let child = fork(|| {
        let refused = arena.isolate(FrameId(3), &[&pool], true).err();
        let there = all_there(&pool, &kept);
        // The child's copies; the parent has its own.
        let Some((token, collected)) = held.take() else {
            return 2;
        };
        drop(token);
        let moved = collected.finalize(&mut []);
        let nothing = (isolated(), moved) == (Some(3), 0);
        u8::from(!(refused == Some(FrameStatus::NotMovable) && there && nothing))
    });
    assert_eq!(wait(child), Some(0));
    drop(held);
    assert_eq!(isolated(), Some(0));
    assert!(all_there(&pool, &kept));
    pool.validate().expect("valid");
}

/// What the parent's thread had in use at the fork ends in the child without a trace, even if a
/// frame was being moved.
#[test]
fn z29_guards_and_mappings_end_in_a_child() {
    let _alone = alone();
    ends_in_a_child(AnonBacking::new());
    ends_in_a_child(MemfdBacking::default());
}

fn ends_in_a_child<B: Backing>(backing: B) {
    let (pool, kept) = sparse(backing);
    let owners: [&dyn Movable; 1] = [&pool];
    let (frame, _) = pool.frames_of(kept[0]).expect("live");
    let mut buffer = [0; 4096];
    let mut guard = pool.read(kept[1]).ok();
    let mapped = pool.map(kept[0], MapMode::ReadWrite, &mut buffer);
    let mut mapping = mapped.ok();
    let isolated = pool.arena().isolate(frame, &owners, false);
    let mut isolated = Some(isolated.expect("at rest"));
    let child = fork(|| {
        drop(guard.take());
        drop(mapping.take());
        drop(isolated.take());
        0
    });
    assert_eq!(wait(child), Some(0));
    drop((isolated, mapping, guard));
    assert!(all_there(&pool, &kept));
    pool.validate().expect("a valid pool");
}
