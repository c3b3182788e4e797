//! What `/proc` says of one process.

use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

/// In the kernel's flags of a task: it is a thread of the kernel.
const PF_KTHREAD: u64 = 0x0020_0000;

/// The folder of a process in `/proc`, held open: it stays that process's, also when its number is given to another.
#[derive(Debug)]
pub(crate) struct ProcDir(OwnedFd);

impl ProcDir {
    /// Fails with `NotFound` if there is no such process.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self(dir))
    }

    /// Opens one of its files, for reading.
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

    /// The sum of some lines of a file like `status` or `smaps_rollup`, in bytes; a line that is not there counts nothing.
    pub(crate) fn sum_of(&self, file: &str, names: &[&str]) -> io::Result<u64> {
        let bytes = self.read(file)?;
        let lines = bytes.split(|&byte| byte == b'\n').filter_map(kilobytes);
        let named = lines.filter(|(name, _)| names.iter().any(|wanted| wanted.as_bytes() == *name));
        Ok(named.map(|(_, bytes)| bytes).sum())
    }
}

/// A line like `Rss:   12 kB`: its name, and the value in bytes.
pub(crate) fn kilobytes(line: &[u8]) -> Option<(&[u8], u64)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    let value = str::from_utf8(&value[1..]).ok()?.strip_suffix("kB")?;
    let value: u64 = value.trim().parse().ok()?;
    Some((name, value.saturating_mul(1024)))
}

/// Of `/proc/PID/stat`, what is needed here (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The command's name, which the process may set itself: what would not print is shown as `?`.
    pub(crate) name: String,
    /// One letter.
    pub(crate) state: u8,
    pub(crate) parent: u32,
    pub(crate) is_kernel_thread: bool,
    /// When it started, in ticks since boot: with its number, its identity.
    pub(crate) start: u64,
}

impl Stat {
    /// The name stands in brackets and may have brackets, blanks and line ends in it, so that the last one ends it.
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
        })
    }

    /// Whether a signal or a debugger has stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// Whether it has ended, though its parent has not asked for it yet.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

fn printable(name: &str) -> String {
    let shown = |c: char| {
        if c.is_control() || c == '\u{fffd}' {
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
