//! The servers: ours and its rivals, each a process of its own, told to end by the end of its
//! standard input.

use crate::zram_device::ZramDevice;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What a server runs for as long as it serves: both kinds know `--run`.
const UNTIL_CLOSED: &str = "echo ready; exec cat > /dev/null";

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Zs,
    /// Another zs, of an earlier commit say.
    ZsBefore,
    NbdkitSparse,
    NbdkitMalloc,
    NbdkitZstd,
    NbdkitZram,
    NbdkitZramUncached,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Zs,
        Self::ZsBefore,
        Self::NbdkitZram,
        Self::NbdkitZramUncached,
        Self::NbdkitZstd,
        Self::NbdkitSparse,
        Self::NbdkitMalloc,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zs => "zs",
            Self::ZsBefore => "zs-before",
            Self::NbdkitSparse => "nbdkit-sparse",
            Self::NbdkitMalloc => "nbdkit-malloc",
            Self::NbdkitZstd => "nbdkit-zstd",
            Self::NbdkitZram => "nbdkit-zram",
            Self::NbdkitZramUncached => "nbdkit-zram-uncached",
        }
    }

    fn is_zs(self) -> bool {
        matches!(self, Self::Zs | Self::ZsBefore)
    }

    fn wants_device(self) -> bool {
        matches!(self, Self::NbdkitZram | Self::NbdkitZramUncached)
    }

    /// The command, up to where it listens.
    fn command(self, paths: &Paths, bytes: u64) -> Command {
        let mut command;
        if self.is_zs() {
            let before = paths.before.as_ref().filter(|_| self == Self::ZsBefore);
            command = Command::new(before.unwrap_or(&paths.zs));
            command.args(["serve", "--size", &bytes.to_string(), "--socket"]);
        } else {
            command = Command::new("nbdkit");
            command.args(["-f", "-U"]);
        }
        command
    }

    /// Of nbdkit: what it is to serve.
    fn plugin(self, bytes: u64, device: Option<&ZramDevice>) -> Vec<String> {
        let memory = |allocator: &str| {
            let size = format!("size={bytes}");
            vec!["memory".to_owned(), size, format!("allocator={allocator}")]
        };
        let path = device.map_or(PathBuf::new(), ZramDevice::path);
        let file = |cache: &str| {
            let path = path.display().to_string();
            vec!["file".to_owned(), path, format!("cache={cache}")]
        };
        match self {
            Self::Zs | Self::ZsBefore => Vec::new(),
            Self::NbdkitSparse => memory("sparse"),
            Self::NbdkitMalloc => memory("malloc"),
            Self::NbdkitZstd => memory("zstd"),
            Self::NbdkitZram => file("default"),
            Self::NbdkitZramUncached => file("none"),
        }
    }

    /// Why it cannot be measured here, if so.
    pub(crate) fn absent(self) -> Option<String> {
        if self.is_zs() {
            return None;
        }
        let nbdkit = Command::new("nbdkit").arg("--version").output();
        if !nbdkit.is_ok_and(|said| said.status.success()) {
            return Some("no nbdkit: on Debian or Ubuntu, `apt-get install nbdkit`".to_owned());
        }
        if !self.wants_device() {
            return None;
        }
        let device = ZramDevice::new(1 << 20);
        device.err().map(|error| format!("{error:#}"))
    }
}

/// Where this project's server lies.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) zs: PathBuf,
    pub(crate) before: Option<PathBuf>,
}

/// A server that serves an empty disk. It ends when this is dropped, or this program ends.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: u32,
    folder: TempDir,
    /// Dropped last: it cannot go while it is open.
    device: Option<ZramDevice>,
}

impl Server {
    pub(crate) fn start(kind: Kind, paths: &Paths, bytes: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bench-nbd-").tempdir()?;
        let device = kind
            .wants_device()
            .then(|| ZramDevice::new(bytes))
            .transpose()?;
        let (socket, pid_file) = (folder.path().join("nbd"), folder.path().join("pid"));
        let mut command = kind.command(paths, bytes);
        command.arg(socket).arg("-P").arg(&pid_file);
        command.args(["--run", UNTIL_CLOSED]);
        command.args(kind.plugin(bytes, device.as_ref()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", kind.name()))?;
        let said = child.stdout.take().context("no pipe")?;
        let mut server = Self {
            child,
            pid: 0,
            folder,
            device,
        };
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line == "ready\n", "{} did not come up", kind.name());
        // Both answer only once the file is there.
        super::client::Client::connect(&server.socket())?.end()?;
        let text = fs::read_to_string(&pid_file).context("the server's process number")?;
        server.pid = text.trim().parse().context("the server's process number")?;
        Ok(server)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("nbd")
    }

    pub(crate) fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket().display())
    }

    /// CPU time that it has used, in ticks of the system. What the kernel does in threads of its
    /// own is not in it.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid);
        let text = fs::read_to_string(&path).context(path)?;
        // The name may hold anything, and ends with the last bracket. Fields 14 and 15 of proc(5).
        let (_, fields) = text.rsplit_once(") ").context("no stat of a process")?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut ticks = 0;
        for field in [fields.next(), fields.next()] {
            ticks += field.unwrap_or_default().parse::<u64>()?;
        }
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// What it holds in memory: its own, and its device's; not what the page cache has.
    pub(crate) fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let text = fs::read_to_string(&path).context(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let Some(Ok(kib)) = line.map(|line| line.trim_end_matches("kB").trim().parse::<u64>())
        else {
            bail!("smaps_rollup without Pss");
        };
        let device = self.device.as_ref().map(ZramDevice::memory).transpose()?;
        Ok((kib << 10) + device.unwrap_or(0))
    }

    /// What is read next comes from where it is compressed.
    pub(crate) fn forget_cache(&self) -> Result<()> {
        self.device
            .as_ref()
            .map_or(Ok(()), ZramDevice::forget_cache)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended by itself.
        let _ = self.child.wait();
    }
}
