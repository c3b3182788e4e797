//! What a fork means for an arena: which process this is, and whether a child shares the memory.
//!
//! fork -> a pipe whose writing end the child keeps -> end of file when it has exited or executed
//! something else -> moves go on
//!
//! # Locking
//!
//! The list of children has a lock of its own, held for a look, and by the forking thread across
//! the fork itself.

use crate::map;
use crate::page::os_page_size;
use crate::short_lock::short_lock;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mm::{Advice, ProtFlags};
use rustix::pipe::PipeFlags;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, TryLockError};

/// The reading ends of the children that may still share this process's memory.
static CHILDREN: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// How many there are: spares everybody else the lock. A hint, so every access is relaxed.
static CHILD_COUNT: AtomicU32 = AtomicU32::new(0);

/// The numbers that were given to this process and its forebears.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The locks of the thread that is forking.
struct Forking {
    children: MutexGuard<'static, Vec<OwnedFd>>,
    pipe: Option<(OwnedFd, OwnedFd)>,
}

thread_local! {
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

/// Returns a number of this process that no forebear of it had. Two loads.
#[inline]
pub(crate) fn process() -> u64 {
    let cell = number();
    // Relaxed: only a number, nothing is published with it.
    match cell.load(Ordering::Relaxed) {
        0 => first_number(cell),
        number => number,
    }
}

#[cold]
fn first_number(cell: &AtomicU64) -> u64 {
    let new = NUMBERS.fetch_add(1, Ordering::Relaxed) + 1;
    match cell.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => new,
        Err(number) => number,
    }
}

/// Returns the cell of the number: in a page that the kernel hands to a forked child zeroed (from
/// Linux 4.14 on; before, the hook at fork zeroes it).
fn number() -> &'static AtomicU64 {
    static CELL: OnceLock<&'static AtomicU64> = OnceLock::new();
    static ELSEWHERE: AtomicU64 = AtomicU64::new(0);
    CELL.get_or_init(|| {
        let (read_write, len) = (ProtFlags::READ | ProtFlags::WRITE, os_page_size());
        let Ok(page) = map::reserve(read_write, len, len) else {
            return &ELSEWHERE;
        };
        // SAFETY: the page was just made, and is ours.
        let _ = unsafe { map::advise(page, len, Advice::LinuxWipeOnFork) };
        // SAFETY: the page is zeroed, aligned, and stays mapped for ever.
        unsafe { page.cast::<AtomicU64>().as_ref() }
    })
}

/// Watches forks from now on. Costs a pipe a fork; its reading end stays open until the child has
/// exited or executed another program.
pub(crate) fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        // Made before there is a hook: a child must not wait for its parent to make it.
        number();
        // SAFETY: the three do nothing but take a lock, make and close descriptors, and change
        // cells; they stay loaded with this library. Without memory for the hook, moves do
        // not pause.
        let _ = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    });
}

/// Before a fork, in the thread that forks.
extern "C" fn prepare() {
    let forking = Forking {
        children: short_lock(&CHILDREN),
        // Without descriptors for a pipe, the child goes unwatched.
        pipe: rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok(),
    };
    // A thread that forks while it ends has no such place: its child goes unwatched.
    let _ = FORKING.try_with(|held| held.replace(Some(forking)));
}

/// After it, in the parent.
extern "C" fn in_parent() {
    let Some(mut forking) = FORKING.try_with(RefCell::take).ok().flatten() else {
        return;
    };
    // The writing end is closed here.
    if let Some((reader, _)) = forking.pipe.take() {
        forking.children.push(reader);
    }
    count(&forking.children);
}

/// After it, in the child.
extern "C" fn in_child() {
    // Relaxed: there is one thread.
    number().store(0, Ordering::Relaxed);
    let Some(mut forking) = FORKING.try_with(RefCell::take).ok().flatten() else {
        return;
    };
    forking.children.clear();
    count(&forking.children);
    // The writing end stays open: its end is what the parent waits for.
    if let Some((_, writer)) = forking.pipe.take() {
        let _ = writer.into_raw_fd();
    }
}

fn count(children: &[OwnedFd]) {
    CHILD_COUNT.store(children.len() as u32, Ordering::Relaxed);
}

/// Says whether no forked child shares this process's memory any more.
///
/// Never waits: while another thread is forking, the answer is no.
///
/// A child that closes descriptors which it does not know counts as gone; one that another way of
/// making processes made (a bare `clone`) is not known: use
/// [`Arena::pause_moves`](zs_mm::Arena::pause_moves).
pub(crate) fn is_unshared() -> bool {
    if CHILD_COUNT.load(Ordering::Relaxed) == 0 {
        return true;
    }
    let mut children = match CHILDREN.try_lock() {
        Ok(children) => children,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return false,
    };
    let mut at = 0;
    while let Some(reader) = children.get(at) {
        match ended(reader) {
            None => at += 1,
            Some(Ended::Gone) => drop(children.swap_remove(at)),
            // The number may be somebody else's descriptor by now: it is not closed.
            Some(Ended::Closed) => _ = children.swap_remove(at).into_raw_fd(),
        }
    }
    count(&children);
    children.is_empty()
}

/// The end of a watch.
enum Ended {
    /// Nobody has the writing end any more.
    Gone,
    /// The program closed the reading end, as one of descriptors that it did not know.
    Closed,
}

fn ended(reader: &OwnedFd) -> Option<Ended> {
    let mut polled = [PollFd::new(reader, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut polled, Some(&now)).ok()?;
    let seen = polled[0].revents();
    if seen.contains(PollFlags::NVAL) {
        return Some(Ended::Closed);
    }
    seen.contains(PollFlags::HUP).then_some(Ended::Gone)
}
