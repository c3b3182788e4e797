//! Resident memory of this process, as `docs/decisions/0010-resident.md` says.

use anyhow::Result;
use std::fs;
use std::ops::Range;
use zs_os::ResidentMeter;

/// Measures this process but for one mapping, that of the source pages.
///
/// Anonymous and shared memory by Pss, program code and libraries in full: their share would change whenever another
/// process that runs the same files starts or ends.
pub(super) struct Meter {
    meter: ResidentMeter,
    source: Range<usize>,
    source_and_code: Vec<Range<usize>>,
}

impl Meter {
    /// A meter that takes no memory any more when it measures.
    pub(super) fn new(source: Range<usize>) -> Result<Self> {
        let maps = fs::read_to_string("/proc/self/maps")?;
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

    /// Bytes resident now.
    pub(super) fn measure(&mut self) -> Result<u64> {
        let data = self.meter.measure(&self.source_and_code)?;
        let all = self.meter.measure(std::slice::from_ref(&self.source))?;
        Ok(data.pss + all.rss.saturating_sub(data.rss))
    }
}

/// The addresses of a mapping of a file on disk, from a line of `/proc/self/maps`.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let path = fields.nth(4)?;
    // A memfd is named like a file, and is memory.
    if !path.starts_with('/') || path.starts_with("/memfd:") {
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
        let of = |rest: &str| code(&format!("1000-3000 r--p 0 00:00 0 {rest}"));
        assert_eq!(of("/usr/lib/libc.so.6"), Some(0x1000..0x3000));
        for data in ["", "[heap]", "/memfd:x (deleted)"] {
            assert_eq!(of(data), None, "{data}");
        }
    }
}
