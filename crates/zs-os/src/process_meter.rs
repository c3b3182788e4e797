//! Resident memory of this process, without one mapping.

use crate::resident::{ResidentError, ResidentMeter};
use std::fs;
use std::ops::Range;

/// Measures the resident memory of this process, without the mapping of its source pages.
///
/// Each mapping counts by its proportional set size, except program code and libraries, which count
/// in full. Their share would change whenever a process with the same files starts or ends, such as
/// another copy of this program, and a measurement would take that for a change of its own memory.
#[derive(Debug)]
pub struct ProcessMeter {
    meter: ResidentMeter,
    source: Range<usize>,
    source_and_code: Vec<Range<usize>>,
}

impl ProcessMeter {
    /// Makes a meter that leaves out `source`, a range of addresses. It measures once, so that
    /// later measurements take no more memory. Mappings of files that are made later count by their
    /// share.
    ///
    /// # Errors
    /// The errors of [`measure`](Self::measure).
    pub fn new(source: Range<usize>) -> Result<Self, ResidentError> {
        // If the list cannot be read, code counts by its share.
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut source_and_code = vec![source.clone()];
        source_and_code.extend(maps.lines().filter_map(code));
        let mut meter = Self {
            meter: ResidentMeter::new(),
            source,
            source_and_code,
        };
        meter.measure()?;
        Ok(meter)
    }

    /// Returns the resident bytes. Reads `/proc/self/smaps` twice.
    ///
    /// # Errors
    /// [`ResidentError`] if `/proc/self/smaps` cannot be read or parsed.
    pub fn measure(&mut self) -> Result<u64, ResidentError> {
        let data = self.meter.measure(&self.source_and_code)?;
        let all = self.meter.measure(std::slice::from_ref(&self.source))?;
        Ok(data.pss + all.rss.saturating_sub(data.rss))
    }
}

/// Returns the addresses of a mapping, from a line of `/proc/self/maps`, if it maps a file on disk.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let path = fields.nth(4)?;
    let shmem = ["/memfd:", "/dev/zero", "/dev/shm/", "/SYSV"];
    if !path.starts_with('/') || shmem.iter().any(|prefix| path.starts_with(prefix)) {
        return None;
    }
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_data() {
        for (line, expected) in [
            (
                "1000-3000 r-xp 00002000 fe:00 247030     /usr/bin/cat",
                Some(0x1000..0x3000),
            ),
            (
                "1000-3000 r--p 00002000 fe:00 247030     /my libs/a b.so",
                Some(0x1000..0x3000),
            ),
            ("1000-3000 rw-p 00000000 00:00 0", None),
            ("1000-3000 rw-p 00000000 00:00 0          [heap]", None),
            (
                "1000-3000 rw-s 00000000 00:01 42         /memfd:x (deleted)",
                None,
            ),
            (
                "1000-3000 rw-s 00000000 00:01 42         /SYSV00000000 (deleted)",
                None,
            ),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
    }
}
