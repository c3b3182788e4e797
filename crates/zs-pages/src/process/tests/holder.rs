//! Processes that hold memory of a known kind: this test program, started again.

use rustix::fs::{MemfdFlags, memfd_create};
use std::env;
use std::ffi::c_void;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::ptr;

/// The environment variable with the kind of memory to hold.
const HOLD: &str = "ZS_TEST_HOLD";

/// The mark at the start of each marked page. The number of the page follows.
pub(in crate::process) const MARK: [u8; 8] = *b"zs-mark!";

pub(in crate::process) const PAGE: usize = 4096;

/// A process that holds memory, and waits.
pub(in crate::process) struct Holder {
    pub(in crate::process) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// The numbers that it printed: of its forks, or of the pages that it could register.
    pub(in crate::process) numbers: Vec<u32>,
}

impl Holder {
    /// Starts a process, see [`hold`] for the kinds. Returns when it holds everything.
    pub(in crate::process) fn start(kind: &str) -> Self {
        Self::start_with(kind, 0)
    }

    /// Starts a process that prints this many numbers first.
    pub(in crate::process) fn start_with(kind: &str, numbers: usize) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["process::tests::holder::a_process_that_holds", "--exact"])
            .args(["--nocapture", "--test-threads=1"])
            .env(HOLD, kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Self {
            child,
            input,
            output,
            numbers: Vec::new(),
        };
        for _ in 0..numbers {
            let number = holder.wait_for("number");
            holder.numbers.push(number.parse().unwrap());
        }
        holder.wait_for("held");
        holder
    }

    pub(in crate::process) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to take the next step of its kind.
    pub(in crate::process) fn go_on(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
        self.wait_for("done");
    }

    /// Waits for a line that starts with a word, and returns the rest of it.
    fn wait_for(&mut self, word: &str) -> String {
        for line in self.output.by_ref().lines() {
            // The output of the test harness may be on the same line.
            if let Some((_, rest)) = line.unwrap().split_once(&format!("holder {word}")) {
                return rest.trim().to_owned();
            }
        }
        panic!("the holder ended before it was {word}");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Its children end when its input ends.
        self.input = None;
        let _ = self.child.wait();
    }
}

/// Not a test: this is what [`Holder::start`] runs.
#[test]
fn a_process_that_holds() {
    let Ok(kind) = env::var(HOLD) else {
        return;
    };
    serve(&hold(&kind), &kind);
}

/// Prints that everything is held, and takes a step at each line of its input, until that ends.
fn serve(held: &Held, kind: &str) {
    say("held");
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).unwrap() > 0 {
        held.go_on(kind);
        say("done");
        line.clear();
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nholder {what}").unwrap();
    out.flush().unwrap();
}

/// A mapping of this process, unmapped only by an explicit call.
#[derive(Clone, Copy)]
struct Region {
    address: *mut u8,
    pages: usize,
}

// SAFETY: the mapping is plain memory of this process, which lasts until it ends or is unmapped by
// the one who made it.
unsafe impl Send for Region {}

impl Region {
    fn map(pages: usize, flags: i32) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping at an address chosen by the kernel replaces no other.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), pages * PAGE, protection, flags, -1, 0) };
        assert_ne!(address, libc::MAP_FAILED);
        Self {
            address: address.cast(),
            pages,
        }
    }

    fn marked(pages: usize, flags: i32) -> Self {
        let region = Self::map(pages, flags);
        region.mark(0);
        region
    }

    /// Writes to every page: the mark, its number, and bytes made from the number and `salt`.
    fn mark(self, salt: u64) {
        for page in 0..self.pages {
            let mut bytes = [0_u8; PAGE];
            bytes[..8].copy_from_slice(&MARK);
            bytes[8..16].copy_from_slice(&(page as u64).to_ne_bytes());
            let mut state = page as u64 * 2 + 1 + (salt << 32);
            for word in bytes[16..].as_chunks_mut::<8>().0 {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                *word = state.to_ne_bytes();
            }
            // SAFETY: the page lies in the region.
            let place = unsafe { self.address.add(page * PAGE) };
            // SAFETY: it is mapped for writing, and nobody has a reference to it.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, PAGE) };
        }
    }

    /// Reads every page, so that it is mapped. Pages that were never written map the zero frame.
    fn read(self) {
        for page in 0..self.pages {
            // SAFETY: the page lies in the region.
            let place = unsafe { self.address.add(page * PAGE) };
            // SAFETY: it is mapped for reading.
            std::hint::black_box(unsafe { place.read_volatile() });
        }
    }

    /// Maps pages of a file.
    fn of_file(file: &File, first: usize, pages: usize, flags: i32) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (len, offset) = (pages * PAGE, (first * PAGE) as i64);
        let fd = file.as_raw_fd();
        // SAFETY: a mapping of a file, at an address chosen by the kernel, replaces no other.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, offset) };
        assert_ne!(address, libc::MAP_FAILED);
        Self {
            address: address.cast(),
            pages,
        }
    }

    fn raw(self) -> (*mut c_void, usize) {
        (self.address.cast(), self.pages * PAGE)
    }

    fn drop_pages(self) {
        let (address, len) = self.raw();
        // SAFETY: private memory of this process that nobody refers to becomes zeros.
        let dropped = unsafe { libc::madvise(address, len, libc::MADV_DONTNEED) };
        assert_eq!(dropped, 0);
    }

    fn unmap(self) {
        let (address, len) = self.raw();
        // SAFETY: the whole region, which nobody uses any more.
        assert_eq!(unsafe { libc::munmap(address, len) }, 0);
    }
}

/// The memory that the process holds.
pub(super) struct Held(Region);

/// Holds memory of a kind. `marked`: 1000 marked pages, and 1000 of each kind that must not be
/// counted. `skipped`: some hundred pages of each kind that is left out. `shared`: 1000 marked
/// pages shared with three forks, and 500 of its own. `threads`: 1000 marked pages, and a second
/// thread. `changing`: 1000 marked pages, all of which change at the next step. `shared memory`:
/// 400 marked pages of a shared mapping and 300 of a memfd, which the process maps twice in part
/// and shares with two forks. `headless`: 1000 marked pages, and a first thread that has ended.
/// `leaving` and `dropping`: 1000 marked pages, half of which are unmapped, or dropped, at the next
/// step.
pub(super) fn hold(kind: &str) -> Held {
    const PAGES: usize = 1000;
    let private = libc::MAP_PRIVATE;
    match kind {
        "marked" => {
            let held = Region::marked(PAGES, private);
            Region::map(PAGES, private);
            no_huge_zero(Region::map(PAGES, private)).read();
            Region::map(PAGES, libc::MAP_SHARED).mark(1);
            Held(held)
        }
        "skipped" => {
            let held = Region::marked(100, private);
            let (address, len) = held.raw();
            // SAFETY: advice on a mapping of this process that changes no byte of it.
            let advised = unsafe { libc::madvise(address, len, libc::MADV_DONTDUMP) };
            assert_eq!(advised, 0);
            let (address, len) = Region::marked(200, private).raw();
            // SAFETY: the same. A process that may lock no memory gets an error.
            let is_locked = unsafe { libc::mlock(address, len) } == 0;
            say(&format!("number {}", if is_locked { 200 } else { 0 }));
            let region = Region::marked(300, private);
            let registered = if register(region) { region.pages } else { 0 };
            say(&format!("number {registered}"));
            Held(held)
        }
        "shared" => {
            let held = Region::marked(PAGES, private);
            for _ in 0..3 {
                fork_and_wait(&[]);
            }
            Region::marked(PAGES / 2, private);
            Held(held)
        }
        "shared memory" => {
            let held = Region::map(400, libc::MAP_SHARED);
            held.mark(1);
            // Each has a hole of 100 pages that are never touched.
            let memfd = memfd_create("zs-test", MemfdFlags::CLOEXEC).unwrap();
            let memfd = File::from(memfd);
            memfd.set_len(400 * PAGE as u64).unwrap();
            let whole = Region::of_file(&memfd, 0, 300, libc::MAP_SHARED);
            whole.mark(2);
            let part = Region::of_file(&memfd, 100, 300, libc::MAP_SHARED);
            let shown = Region { pages: 200, ..part };
            shown.read();
            for _ in 0..2 {
                fork_and_wait(&[held, whole]);
            }
            Held(held)
        }
        "headless" => {
            let held = Region::marked(PAGES, private);
            end_first_thread();
            Held(held)
        }
        "threads" => {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            Held(Region::marked(PAGES, private))
        }
        "leaving" | "dropping" | "changing" => Held(Region::marked(PAGES, private)),
        kind => panic!("{kind} is no kind"),
    }
}

/// Ends the first thread of the process, in which the test harness waits.
fn end_first_thread() {
    extern "C" fn end_this_thread(_signal: libc::c_int) {
        // SAFETY: this ends the thread as the last call of `pthread_exit` does. The thread holds no
        // lock that others wait for.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let first = rustix::process::getpid().as_raw_pid();
    let own = rustix::thread::gettid().as_raw_pid();
    assert_ne!(
        own, first,
        "the harness runs each test in a thread of its own"
    );
    let handler = end_this_thread as extern "C" fn(libc::c_int);
    // SAFETY: the handler makes one system call, and nothing else uses this signal here.
    let before = unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    assert_ne!(before, libc::SIG_ERR);
    // SAFETY: sends a signal to a thread of this process.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, first, first, libc::SIGUSR1) };
    assert_eq!(sent, 0);
    let has_ended = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('Z')
    };
    while !has_ended() {
        std::thread::yield_now();
    }
}

/// Registers a region with userfaultfd for missing pages. Returns whether the system allowed that.
fn register(region: Region) -> bool {
    /// `UFFDIO_API` and `struct uffdio_api`.
    const API: u64 = 0xc018_aa3f;
    /// `UFFDIO_REGISTER` and `struct uffdio_register`.
    const REGISTER: u64 = 0xc020_aa00;
    const MODE_MISSING: u64 = 1;
    // SAFETY: this makes a descriptor, which lives as long as this process.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    if fd < 0 {
        return false;
    }
    let fd = i32::try_from(fd).unwrap();
    let mut api = [0xaa_u64, 0, 0];
    // SAFETY: the structure has three words, and lives during the call.
    assert_eq!(unsafe { libc::ioctl(fd, API, api.as_mut_ptr()) }, 0);
    let (address, len) = region.raw();
    let mut register = [
        address.expose_provenance() as u64,
        len as u64,
        MODE_MISSING,
        0,
    ];
    // SAFETY: the structure has four words, and lives during the call. All pages of the region are
    // there, so no thread waits for a missing one.
    let registered = unsafe { libc::ioctl(fd, REGISTER, register.as_mut_ptr()) };
    assert_eq!(registered, 0);
    true
}

/// Keeps huge frames away: the pages that a huge zero frame covers would depend on the system.
fn no_huge_zero(region: Region) -> Region {
    let (address, len) = region.raw();
    // SAFETY: advice on a mapping of this process that changes no byte of it. A kernel without huge
    // pages refuses.
    let _ = unsafe { libc::madvise(address, len, libc::MADV_NOHUGEPAGE) };
    region
}

/// Starts a child that shares all memory, maps every page of some regions, and waits for the end of
/// this process. Returns when it has mapped them.
fn fork_and_wait(touched: &[Region]) {
    // Read before the fork: a child that runs late might find its parent gone already.
    let parent = std::process::id();
    let (mut ready, mut done) = std::io::pipe().unwrap();
    // SAFETY: the child only reads memory, writes to a pipe, waits and leaves, by calls that are
    // async-signal-safe.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        for region in touched {
            region.read();
        }
        done.write_all(b"x").unwrap();
        while std::os::unix::process::parent_id() == parent {
            let pause = libc::timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            // SAFETY: it reads the time that it is given, and writes nothing.
            unsafe { libc::nanosleep(&raw const pause, ptr::null_mut()) };
        }
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    assert_eq!(ready.read(&mut [0]).unwrap(), 1);
    say(&format!("number {pid}"));
}

impl Held {
    fn go_on(&self, kind: &str) {
        let half = Region {
            pages: self.0.pages / 2,
            ..self.0
        };
        match kind {
            "leaving" => half.unmap(),
            "dropping" => half.drop_pages(),
            "changing" => self.0.mark(1),
            _ => (),
        }
    }
}
