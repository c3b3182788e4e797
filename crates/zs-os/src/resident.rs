//! The resident-memory meter: the memory that this process really takes.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

const SMAPS: &str = "/proc/self/smaps";

/// The bytes that are read at a time. A longer line loses its end; no kernel writes one.
const BUFFER: usize = 32 << 10;

/// The memory of this process's mappings, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resident {
    /// The proportional set size: a page that several processes map counts in part for each.
    /// Anonymous, shmem and file pages count. The kernel rounds each mapping down to 1 KiB.
    pub pss: u64,
    /// The resident set size: every mapped page counts in full.
    pub rss: u64,
}

/// The reason why resident memory could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ResidentError {
    /// The file could not be opened or read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file has not the format of Linux.
    #[error("{path}: not understood: {line:?}")]
    Format {
        /// The file.
        path: &'static str,
        /// The line, or its start.
        line: String,
    },
}

/// Measures resident memory. Make one and use it once before the first measurement that counts: its
/// buffer of 32 KiB is the only memory that it takes, so it does not change the result.
#[derive(Debug)]
pub struct ResidentMeter {
    buffer: Box<[u8]>,
}

impl Default for ResidentMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl ResidentMeter {
    /// Makes a meter with its buffer, which it writes to so that it is resident from now on.
    pub fn new() -> Self {
        Self {
            buffer: vec![b'\n'; BUFFER].into_boxed_slice(),
        }
    }

    /// Returns the resident memory of this process, without the mappings that touch an address
    /// range in `without`.
    ///
    /// The kernel walks the page tables, which takes some milliseconds for each GiB. Mappings that
    /// other threads make or change meanwhile may be missed.
    ///
    /// # Errors
    /// [`ResidentError`] if `/proc` is not mounted, or has not the format of Linux.
    pub fn measure(&mut self, without: &[Range<usize>]) -> Result<Resident, ResidentError> {
        let read = |source| ResidentError::Read {
            path: SMAPS,
            source,
        };
        let file = File::open(SMAPS).map_err(read)?;
        sum(file, &mut self.buffer, without)
    }
}

/// Sums a file in the format of smaps, read through `buffer`.
fn sum(
    mut file: impl Read,
    buffer: &mut [u8],
    without: &[Range<usize>],
) -> Result<Resident, ResidentError> {
    let mut parser = Parser {
        without,
        left_out: false,
        seen: false,
        total: Resident::default(),
    };
    let mut filled = 0;
    // The current line has lost its start, which was parsed already.
    let mut in_tail = false;
    loop {
        let got = match file.read(&mut buffer[filled..]) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(ResidentError::Read {
                    path: SMAPS,
                    source,
                });
            }
        };
        filled += got;
        let mut start = 0;
        while let Some(len) = buffer[start..filled].iter().position(|&byte| byte == b'\n') {
            if !std::mem::take(&mut in_tail) {
                parser.line(&buffer[start..start + len])?;
            }
            start += len + 1;
        }
        if got == 0 || (start == 0 && filled == buffer.len()) {
            // The end, or a line longer than the buffer.
            if start < filled && !in_tail {
                parser.line(&buffer[start..filled])?;
            }
            in_tail = true;
            start = filled;
        }
        if got == 0 {
            return parser.end();
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

struct Parser<'a> {
    without: &'a [Range<usize>],
    /// The current mapping is not counted.
    left_out: bool,
    seen: bool,
    total: Resident,
}

impl Parser<'_> {
    fn line(&mut self, line: &[u8]) -> Result<(), ResidentError> {
        if let Some(mapping) = header(line) {
            let touches =
                |range: &Range<usize>| range.start < mapping.end && mapping.start < range.end;
            self.left_out = self.without.iter().any(touches);
            self.seen = true;
            return Ok(());
        }
        let (pss, rss) = (&mut self.total.pss, &mut self.total.rss);
        let (value, sum) = if let Some(value) = line.strip_prefix(b"Pss:") {
            (value, pss)
        } else if let Some(value) = line.strip_prefix(b"Rss:") {
            (value, rss)
        } else {
            return Ok(());
        };
        match kilobytes(value) {
            Some(bytes) if self.seen => {
                if !self.left_out {
                    *sum += bytes;
                }
                Ok(())
            }
            _ => Err(not_understood(line)),
        }
    }

    fn end(self) -> Result<Resident, ResidentError> {
        if self.seen {
            Ok(self.total)
        } else {
            Err(not_understood(b""))
        }
    }
}

fn not_understood(line: &[u8]) -> ResidentError {
    let shown = &line[..line.len().min(200)];
    ResidentError::Format {
        path: SMAPS,
        line: String::from_utf8_lossy(shown).into_owned(),
    }
}

/// Returns the addresses of a mapping from its first line: `559f50195000-559f50197000 r--p ...`.
/// Returns `None` for other lines.
fn header(line: &[u8]) -> Option<Range<usize>> {
    let first = line.split(|&byte| byte == b' ').next()?;
    let (start, end) = std::str::from_utf8(first).ok()?.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some(address(start)?..address(end)?)
}

/// Returns the bytes of a value in the form ` 123 kB`.
pub(crate) fn kilobytes(value: &[u8]) -> Option<u64> {
    let number = value.trim_ascii().strip_suffix(b"kB")?.trim_ascii();
    let kilobytes: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon\n\
Size:                328 kB\n\
Rss:                 240 kB\n\
Pss:                  60 kB\n\
Pss_Dirty:             1 kB\n\
SwapPss:               9 kB\n\
THPeligible:           0\n\
VmFlags: rd ex mr mw me dw sd \n\
7f0000000000-7f0000010000 rw-s 00000000 00:01 42   /memfd:Pss: 7 kB (deleted)\n\
Rss:                  64 kB\n\
Pss:                  64 kB\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n\
Rss:                   0 kB\n\
Pss:                   0 kB\n";

    fn sum_of(
        text: &str,
        size: usize,
        without: &[Range<usize>],
    ) -> Result<Resident, ResidentError> {
        sum(text.as_bytes(), &mut vec![0; size], without)
    }

    #[test]
    fn sums_the_sample_through_every_size_of_buffer() {
        for size in [110, 128, 200, 4096, 1 << 20] {
            let resident = sum_of(SAMPLE, size, &[]).expect("understood");
            let expected = Resident {
                pss: 124 << 10,
                rss: 304 << 10,
            };
            assert_eq!(resident, expected, "buffer of {size}");
        }
    }

    #[test]
    fn leaves_out_mappings_that_touch_a_range() {
        let of = |range| sum_of(SAMPLE, 4096, &[range]).expect("understood").pss >> 10;
        assert_eq!(of(0x40_0000..0x40_0001), 64);
        assert_eq!(of(0x45_1fff..0x50_0000), 64);
        assert_eq!(of(0x45_2000..0x50_0000), 124);
        assert_eq!(of(0x7f00_0000_f000..0x7f00_0010_0000), 60);
        assert_eq!(of(0..usize::MAX), 0);
    }

    #[test]
    fn a_line_longer_than_the_buffer_loses_its_tail_only() {
        let path = "x".repeat(1000);
        let text = format!("1000-2000 r--p 0 0:0 0 {path}\nPss: 8 kB\n2000-3000 r\nPss: 1 kB");
        assert_eq!(sum_of(&text, 64, &[]).expect("understood").pss, 9 << 10);
        let without = std::slice::from_ref(&(0x1000..0x1001));
        assert_eq!(sum_of(&text, 64, without).expect("understood").pss, 1 << 10);
    }

    #[test]
    fn other_text_is_an_error_that_names_the_file() {
        for text in [
            "",
            "Pss: 4 kB\n",
            "1-2 r\nPss: four kB\n",
            "1-2 r\nPss: 4\n",
            "1-2 r\nPss:\n",
        ] {
            let error = sum_of(text, 64, &[]).expect_err(text);
            assert!(
                error.to_string().starts_with("/proc/self/smaps: "),
                "{error}"
            );
        }
    }

    #[test]
    fn measures_this_process() {
        let mut meter = ResidentMeter::new();
        let resident = meter.measure(&[]).expect("Linux");
        assert!(resident.pss > 0);
        assert!(resident.pss <= resident.rss);
        let nothing = meter
            .measure(std::slice::from_ref(&(0..usize::MAX)))
            .expect("Linux");
        assert_eq!(nothing, Resident::default());
    }
}
