//! Forks, as far as an arena must know of them: a number for each process, and the forked children
//! that may still share its memory.
//!
//! Data model: fork -> a pipe whose writing end only the child keeps -> end of file when the child
//! has exited or executed another program -> moves go on.
//!
//! # Locking
//!
//! The list of children has a lock, held for a few instructions, and by a forking thread during the
//! fork.

use crate::map;
use crate::page_size::os_page_size;
use crate::short_lock::short_lock;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mm::{Advice, ProtFlags};
use rustix::pipe::PipeFlags;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, TryLockError};

/// The reading ends of the pipes of children that may still share this process's memory.
static CHILDREN: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// The number of children, so that most callers need not take the lock. It is a hint, so every
/// access is relaxed.
static CHILD_COUNT: AtomicUsize = AtomicUsize::new(0);

/// The last number given to this process or an ancestor.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The lock and the pipe of a thread that is forking.
struct Forking {
    children: MutexGuard<'static, Vec<OwnedFd>>,
    pipe: Option<(OwnedFd, OwnedFd)>,
}

thread_local! {
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

/// Returns a number of this process that no ancestor of it has. Costs two loads.
#[inline]
pub(crate) fn process() -> u64 {
    let cell = number();
    // Relaxed: nothing else is published with the number.
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

/// Returns the cell of the number. It lies in a page that the kernel zeroes in a forked child (from
/// Linux 4.14 on; before that, the hook at fork zeroes the cell).
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

/// Watches forks from now on. Each fork costs a pipe, whose reading end stays open until the child
/// has exited or executed another program.
pub(crate) fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        // Made before the hooks are set, because a child must not have to make it.
        number();
        // SAFETY: the three do nothing but take a lock, make and close descriptors, and change
        // cells; they stay loaded with this library. Without memory for the hook, moves do
        // not pause.
        let _ = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    });
}

/// Runs before a fork, on the forking thread.
extern "C" fn prepare() {
    let forking = Forking {
        children: short_lock(&CHILDREN),
        // Without descriptors for a pipe, the child is not watched.
        pipe: rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok(),
    };
    // A thread that forks while it ends has no thread-local cell any more: its child is not
    // watched.
    let _ = FORKING.try_with(|held| held.replace(Some(forking)));
}

/// Runs after a fork, in the parent.
extern "C" fn in_parent() {
    let Some(mut forking) = FORKING.try_with(RefCell::take).ok().flatten() else {
        return;
    };
    // Dropping the pair closes the writing end.
    if let Some((reader, _)) = forking.pipe.take() {
        forking.children.push(reader);
    }
    count(&forking.children);
}

/// Runs after a fork, in the child.
extern "C" fn in_child() {
    // Relaxed: a forked child has one thread.
    number().store(0, Ordering::Relaxed);
    let Some(mut forking) = FORKING.try_with(RefCell::take).ok().flatten() else {
        return;
    };
    forking.children.clear();
    count(&forking.children);
    // The writing end stays open: the parent waits until it is closed.
    if let Some((_, writer)) = forking.pipe.take() {
        let _ = writer.into_raw_fd();
    }
}

fn count(children: &[OwnedFd]) {
    CHILD_COUNT.store(children.len(), Ordering::Relaxed);
}

/// Says whether no forked child shares this process's memory any more.
///
/// Never waits: while another thread is forking, the answer is no.
///
/// A child that closes unknown descriptors counts as gone. A child that was made by a bare `clone`
/// is not known: use [`Arena::pause_moves`](zs_mm::Arena::pause_moves) for it.
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
            // The number may belong to another file by now, so it is not closed.
            Some(Ended::Closed) => _ = children.swap_remove(at).into_raw_fd(),
        }
    }
    count(&children);
    children.is_empty()
}

/// The end of a watch.
enum Ended {
    /// No process has the writing end any more.
    Gone,
    /// The program closed the reading end, as an unknown descriptor.
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
