//! What is measured: a store, and a zram device of the kernel.

use super::sizes::PAGE;
use crate::zram_device::ZramDevice;
use anyhow::Result;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use zram::{Store, StoreOptions};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Store,
    Zram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Zram => "zram",
        }
    }

    /// A new, empty disk.
    pub(super) fn start(self, bytes: u64) -> Result<Box<dyn Disk>> {
        Ok(match self {
            Self::Store => Box::new(Store::new(StoreOptions::new(bytes))?),
            Self::Zram => Box::new(Kernel::new(bytes)?),
        })
    }
}

/// Whole blocks, at offsets that are whole blocks, in memory aligned to them.
pub(super) trait Disk: Sync {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()>;
    fn read(&self, at: u64, out: &mut [u8]) -> Result<()>;
}

impl Disk for Store {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        Ok(Self::write(self, at, bytes)?)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        Ok(Self::read(self, at, out)?)
    }
}

/// The kernel's, without its page cache: the calling thread compresses, and one system call is one
/// request.
#[derive(Debug)]
struct Kernel {
    /// Closed first: the device cannot go while it is open.
    file: File,
    _device: ZramDevice,
}

impl Kernel {
    fn new(bytes: u64) -> Result<Self> {
        let device = ZramDevice::new(bytes)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(OFlags::DIRECT.bits() as i32);
        Ok(Self {
            file: options.open(device.path())?,
            _device: device,
        })
    }
}

impl Disk for Kernel {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.file.write_all_at(bytes, at)?)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        Ok(self.file.read_exact_at(out, at)?)
    }
}

/// Why the kernel's device cannot be measured here, if so.
pub(super) fn no_device() -> Option<String> {
    let device = Kernel::new(1 << 20);
    device.err().map(|error| format!("{error:#}"))
}

/// Memory as O_DIRECT wants it: it begins with a page.
#[derive(Debug)]
pub(super) struct Aligned {
    room: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn new(len: usize) -> Self {
        // Written to, so that reading into it is no first touch.
        let room = vec![0xff; len + PAGE];
        let start = room.as_ptr().align_offset(PAGE);
        Self { room, start, len }
    }

    pub(super) fn get(&mut self) -> &mut [u8] {
        &mut self.room[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_memory_begins_with_a_page() {
        for len in [PAGE, 32 * PAGE] {
            let mut room = Aligned::new(len);
            let bytes = room.get();
            assert_eq!((bytes.as_ptr().addr() % PAGE, bytes.len()), (0, len));
        }
    }
}
