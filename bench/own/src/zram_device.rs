//! A zram device of the kernel, of our own, which goes when this program does, however that ends.
//!
//! `/sys/class/zram-control/hot_add -> zramN, lz4, its size -> ... -> hot_remove`

use anyhow::{Context as _, Result, bail};
use rustix::fs::Advice;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Makes the device, tells its number, and removes it when standard input closes, whoever closes
/// it: as soon as nobody has it open.
const GUARD: &str = r#"
trap '' INT TERM HUP PIPE
n=$(cat /sys/class/zram-control/hot_add) || exit 1
echo lz4 > "/sys/block/zram$n/comp_algorithm" && echo "$1" > "/sys/block/zram$n/disksize" && echo "$n"
exec > /dev/null
cat
for try in $(seq 100); do
    echo "$n" 2> /dev/null > /sys/class/zram-control/hot_remove && exit 0
    sleep 0.1
done
exit 1"#;

/// The device, while this lives.
#[derive(Debug)]
pub(crate) struct ZramDevice {
    guard: Child,
    name: String,
}

impl ZramDevice {
    /// Needs root, and the kernel's zram.
    pub(crate) fn new(bytes: u64) -> Result<Self> {
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "zram-guard", &bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("/bin/sh")?;
        let mut line = String::new();
        let said = guard.stdout.take().context("no pipe")?;
        // From here on, it is told to end also if something fails.
        let mut device = Self {
            guard,
            name: String::new(),
        };
        BufReader::new(said).read_line(&mut line)?;
        if line.is_empty() {
            bail!("no zram device of lz4 can be made: it needs root, and /sys/class/zram-control");
        }
        device.name = format!("zram{}", line.trim());
        Ok(device)
    }

    /// Where it can be opened.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/dev").join(&self.name)
    }

    /// What the kernel holds for it.
    pub(crate) fn memory(&self) -> Result<u64> {
        let path = format!("/sys/block/{}/mm_stat", self.name);
        let text = fs::read_to_string(&path).context(path)?;
        let used = text.split_ascii_whitespace().nth(2);
        used.and_then(|used| used.parse().ok())
            .context("mm_stat without mem_used_total")
    }

    /// Drops what the page cache has of it: the next reads are the device's.
    pub(crate) fn forget_cache(&self) -> Result<()> {
        let file = File::open(self.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).context("dropping the page cache")
    }
}

impl Drop for ZramDevice {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // It has said nothing more by then; a device that stays is seen in /sys/block.
        let _ = self.guard.wait();
    }
}
