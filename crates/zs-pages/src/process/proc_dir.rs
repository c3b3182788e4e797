//! The folder of one process in `/proc`, and its files.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use std::fs;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

/// The kernel's flag of a task that is a kernel thread.
const PF_KTHREAD: u64 = 0x0020_0000;

/// The open folder of a process in `/proc`. It stays the folder of that process, even if its number
/// is given to another one.
#[derive(Debug)]
pub(crate) struct ProcDir(OwnedFd);

impl ProcDir {
    /// Returns the user of the process.
    pub(crate) fn user(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(self.0.as_fd())?.st_uid)
    }

    /// Opens the folder. Fails with `NotFound` if there is no such process.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self(dir))
    }

    /// Returns the folder that shows the memory of a process, and its data, as
    /// [`living`](Self::living) does.
    pub(crate) fn of_process(pid: u32) -> io::Result<(Self, Stat)> {
        let dir = Self::open(pid)?;
        let stat = dir.stat()?;
        Ok(dir.living(pid, stat))
    }

    /// Returns the folder that shows the memory of a process. That is this one, unless the first
    /// thread has ended while others go on: then the folder of the process shows no memory, and the
    /// folder of another thread is returned. The data are those of the process, but with the state
    /// and the program of that thread.
    pub(crate) fn living(self, pid: u32, stat: Stat) -> (Self, Stat) {
        if !stat.has_ended() {
            return (self, stat);
        }
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        let names = threads.into_iter().flatten().flatten();
        let found = names.map(|entry| entry.file_name()).find_map(|name| {
            let thread = self.folder(&format!("task/{}", name.to_str()?)).ok()?;
            let its = thread.stat().ok()?;
            (!its.has_ended()).then_some((thread, its))
        });
        match found {
            None => (self, stat),
            Some((thread, its)) => {
                let (state, image) = (its.state, its.image);
                (
                    thread,
                    Stat {
                        state,
                        image,
                        ..stat
                    },
                )
            }
        }
    }

    fn folder(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(self.0.as_fd(), name, flags, Mode::empty())?))
    }

    /// Says whether the process runs, judged by its files other than `file`.
    pub(crate) fn runs_without(&self, file: &str) -> bool {
        if file == "stat" {
            self.file("status").is_ok()
        } else {
            self.stat().is_ok_and(|stat| !stat.has_ended())
        }
    }

    /// Returns the inode number of the file that a name in the folder leads to.
    pub(crate) fn inode_of(&self, name: &str) -> io::Result<u64> {
        Ok(statat(self.0.as_fd(), name, AtFlags::empty())?.st_ino)
    }

    /// Opens one of its files for reading.
    pub(crate) fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat(self.0.as_fd(), name, flags, Mode::empty())?.into())
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        let bytes = self.read("stat")?;
        Stat::parse(&bytes).ok_or_else(|| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not understood: {text:?}"),
            )
        })
    }

    /// Returns the sum of the named lines of a file like `status` or `smaps_rollup`, in bytes.
    /// Returns `None` if there is no such line.
    pub(crate) fn sum_of(&self, file: &str, names: &[&str]) -> io::Result<Option<u64>> {
        let bytes = self.read(file)?;
        Ok(sum_of(&bytes, names))
    }
}

/// Returns the sum of the named lines of such a file, in bytes. Returns `None` if there is no such
/// line.
pub(crate) fn sum_of(bytes: &[u8], names: &[&str]) -> Option<u64> {
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(kilobytes);
    let named = lines.filter(|(name, _)| names.iter().any(|wanted| wanted.as_bytes() == *name));
    named
        .map(|(_, bytes)| bytes)
        .reduce(|sum, bytes| sum + bytes)
}

/// Returns the name, and the value in bytes, of a line like `Rss: 12 kB`.
pub(crate) fn kilobytes(line: &[u8]) -> Option<(&[u8], u64)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    let value = str::from_utf8(&value[1..]).ok()?.strip_suffix("kB")?;
    let value: u64 = value.trim().parse().ok()?;
    Some((name, value.saturating_mul(1024)))
}

/// The fields of `/proc/PID/stat` that are needed here (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The name of the command, which the process may set itself. Characters that cannot be
    /// printed are `?`.
    pub(crate) name: String,
    /// The letter of its state.
    pub(crate) state: u8,
    pub(crate) parent: u32,
    pub(crate) is_kernel_thread: bool,
    /// The time of its start, in ticks since boot. Together with the number it identifies the
    /// process.
    pub(crate) start: u64,
    /// The addresses of its program's code and stack, which an exec changes. Zeros if this process
    /// may not read its memory.
    image: [u64; 3],
}

impl Stat {
    /// Parses the file. The name stands in brackets, and may contain brackets, blanks and line
    /// ends, so the last bracket ends it.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|&byte| byte == b'(')?;
        let close = bytes.iter().rposition(|&byte| byte == b')')?;
        let name = String::from_utf8_lossy(bytes.get(open + 1..close)?);
        let rest = str::from_utf8(bytes.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Counted from the state, the third field of the manual.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            name: printable(&name),
            state: *fields.first()?.as_bytes().first()?,
            parent: u32::try_from(number(4)?).ok()?,
            is_kernel_thread: number(9)? & PF_KTHREAD != 0,
            start: number(22)?,
            image: [26, 27, 28].map(|field| number(field).unwrap_or(0)),
        })
    }

    /// Says whether `other` is the same process, running the same program.
    pub(crate) fn is_same_program(&self, other: &Self) -> bool {
        (self.start, self.image) == (other.start, other.image)
    }

    /// Says whether a signal or a debugger has stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// Says whether it has ended, but was not reaped by its parent yet.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Returns a printable name: characters that a terminal would obey, or would not show, become `?`.
pub fn printable(name: &str) -> String {
    let is_hidden = |c: char| {
        // Soft hyphens, direction marks, joiners, zero-width blanks.
        matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffd}' | '\u{e0000}'..='\u{e007f}')
    };
    let shown = |c: char| {
        if c.is_control() || is_hidden(c) {
            '?'
        } else {
            c
        }
    };
    name.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 999 111";

    #[test]
    fn names_may_have_anything_in_them() {
        for (name, shown) in [
            (&b"bash"[..], "bash"),
            (b"a) R 1 (b", "a) R 1 (b"),
            (b"x\n\x1b[31m", "x??[31m"),
            (b"caf\xc3", "caf?"),
            ("a\u{202e}b\u{200b}c".as_bytes(), "a?b?c"),
        ] {
            let line = [b"42 (", name, b") ", REST.as_bytes()].concat();
            let stat = Stat::parse(&line).unwrap();
            assert_eq!(stat.name, shown);
            assert_eq!((stat.parent, stat.start, stat.state), (7, 12345, b'S'));
            assert!(!stat.is_kernel_thread && !stat.has_ended());
        }
    }

    #[test]
    fn kernel_threads_and_zombies_are_told() {
        let thread = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 18 0 0";
        assert!(Stat::parse(thread.as_bytes()).unwrap().is_kernel_thread);
        let zombie = REST.replacen('S', "Z", 1);
        let zombie = Stat::parse(format!("3 (sh) {zombie}").as_bytes()).unwrap();
        assert!(zombie.has_ended());
    }

    #[test]
    fn what_is_no_stat_is_refused() {
        for line in [
            "",
            "1",
            "1 (x",
            "1 x) S",
            ")(",
            "1 (x) S 2 3",
            "1 (x) S a 3 4 5 6 7",
        ] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn lines_of_kilobytes_are_read() {
        assert_eq!(
            kilobytes(b"Rss:       12 kB"),
            Some((&b"Rss"[..], 12 << 10))
        );
        for line in ["Rss:", "Name:\tbash", "VmFlags: rd wr", "Rss: -1 kB", ""] {
            assert_eq!(kilobytes(line.as_bytes()), None, "{line}");
        }
    }
}
