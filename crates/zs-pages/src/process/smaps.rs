//! The mappings of a process, and the reasons why some are left out.

use super::proc_dir::kilobytes;
use std::ops::Range;

/// The reason why a mapping is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// `MADV_DONTDUMP`: its owner keeps it out of dumps, for example because it holds keys. The
    /// memory of `zs` itself is marked like this.
    DontDump,
    /// Device memory (`VM_IO`, `VM_PFNMAP`): reading it may have effects.
    Device,
    /// Memory registered with userfaultfd: reading it may wait for a handler for ever.
    Userfault,
    /// Pages of hugetlbfs, which are never swapped.
    HugeTlb,
    /// Memory locked by `mlock`, which is never swapped.
    Locked,
}

impl Skip {
    /// All reasons.
    pub const ALL: [Self; 5] = [
        Self::DontDump,
        Self::Device,
        Self::Userfault,
        Self::HugeTlb,
        Self::Locked,
    ];

    /// The flags of `VmFlags` (proc_pid_smaps(5)), each with its reason. The first one found
    /// counts.
    const FLAGS: [(&'static [u8], Self); 8] = [
        (b"um", Self::Userfault),
        (b"uw", Self::Userfault),
        (b"ui", Self::Userfault),
        (b"io", Self::Device),
        (b"pf", Self::Device),
        (b"dd", Self::DontDump),
        (b"ht", Self::HugeTlb),
        (b"lo", Self::Locked),
    ];

    /// Returns the name of such memory.
    pub fn name(self) -> &'static str {
        match self {
            Self::DontDump => "kept out of dumps (MADV_DONTDUMP)",
            Self::Device => "device memory",
            Self::Userfault => "registered with userfaultfd",
            Self::HugeTlb => "hugetlb pages",
            Self::Locked => "locked (mlock)",
        }
    }

    fn by_flags(flags: &[u8]) -> Option<Self> {
        let has = |wanted: &[u8]| flags.split(|&byte| byte == b' ').any(|flag| flag == wanted);
        let found = Self::FLAGS.into_iter().find(|(flag, _)| has(flag));
        found.map(|(_, skip)| skip)
    }
}

/// One mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) addresses: Range<u64>,
    pub(crate) file: MappedFile,
    /// The bytes of anonymous pages, in memory or in swap.
    pub(crate) anonymous: u64,
    /// The bytes of hugetlb pages that other mappings have too.
    pub(crate) shared_huge: u64,
    /// The proportional share of its pages in memory, without hugetlb pages.
    pub(crate) proportional: u64,
    pub(crate) skip: Option<Skip>,
}

/// The file of a mapping; zeros if there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MappedFile {
    /// The major and minor number of its file system.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    /// The offset in the file of the mapping's start.
    pub(crate) offset: u64,
    /// It is a System V segment (`shmget`).
    pub(crate) is_system_v: bool,
}

/// Parses `smaps`. Unknown lines are ignored, because new kernels add new ones.
pub(crate) fn parse(smaps: &[u8]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.split(|&byte| byte == b'\n') {
        if let Some(addresses) = addresses(line) {
            mappings.push(Mapping {
                addresses,
                file: mapped_file(line).unwrap_or_default(),
                ..Mapping::default()
            });
            continue;
        }
        let Some(mapping) = mappings.last_mut() else {
            continue;
        };
        match kilobytes(line) {
            Some((b"Anonymous" | b"Swap" | b"Private_Hugetlb", bytes)) => {
                mapping.anonymous = mapping.anonymous.saturating_add(bytes);
            }
            Some((b"Shared_Hugetlb", bytes)) => mapping.shared_huge = bytes,
            Some((b"Pss", bytes)) => mapping.proportional = bytes,
            Some(_) => (),
            None => {
                if let Some(flags) = line.strip_prefix(b"VmFlags:") {
                    mapping.skip = Skip::by_flags(flags);
                }
            }
        }
    }
    mappings
}

/// Returns the addresses of a mapping, if the line is its first one.
fn addresses(line: &[u8]) -> Option<Range<u64>> {
    let end = line.iter().position(|&byte| byte == b' ')?;
    let (start, end) = str::from_utf8(&line[..end]).ok()?.split_once('-')?;
    let address = |digits| u64::from_str_radix(digits, 16).ok();
    let range = address(start)?..address(end)?;
    (!range.is_empty()).then_some(range)
}

/// Returns the file of a mapping from its first line: `5581-5583 r--p 00001000 fe:00 1234 /path`.
fn mapped_file(line: &[u8]) -> Option<MappedFile> {
    let mut words = line.splitn(6, |&byte| byte == b' ').skip(2);
    let mut word = || str::from_utf8(words.next()?).ok();
    let number = |digits| u32::from_str_radix(digits, 16).ok();
    let offset = u64::from_str_radix(word()?, 16).ok()?;
    let (major, minor) = word()?.split_once(':')?;
    let inode = word()?.parse().ok()?;
    let path = words.next().unwrap_or_default().trim_ascii_start();
    Some(MappedFile {
        device: (number(major)?, number(minor)?),
        inode,
        offset,
        is_system_v: path.starts_with(b"/SYSV"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_and_their_flags_are_read() {
        let text = b"\
5581-5583 r--p 00002000 fe:1a 77 /a b-c \xff\n\
Pss:  2 kB\nPss_Dirty:  1 kB\nShared_Hugetlb:  2048 kB\nRss:  4 kB\nAnonymous:   8 kB\nSwap:  4 kB\nSwapPss:  4 kB\nVmFlags: rd mr mw me ac \n\
7000-9000 rw-p 0 00:00 0 \nAnonymous:  4 kB\nNewLine: 1 2 3\nVmFlags: rd wr dd um lo \n\
ffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]\nVmFlags: ex \n";
        let of = |start, end, anonymous, skip| Mapping {
            addresses: start..end,
            anonymous,
            skip,
            ..Mapping::default()
        };
        let file = MappedFile {
            device: (0xfe, 0x1a),
            inode: 77,
            offset: 0x2000,
            is_system_v: false,
        };
        assert_eq!(
            parse(text),
            [
                Mapping {
                    file,
                    proportional: 2 << 10,
                    shared_huge: 2 << 20,
                    ..of(0x5581, 0x5583, 12 << 10, None)
                },
                of(0x7000, 0x9000, 4 << 10, Some(Skip::Userfault)),
                of(0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000, 0, None),
            ]
        );
    }

    #[test]
    fn segments_of_system_v_are_told_by_their_names() {
        let line =
            b"7f0-7f1 rw-s 00000000 00:01 32769                      /SYSV00000000 (deleted)";
        let file = mapped_file(line).unwrap();
        assert_eq!(
            (file.device, file.inode, file.is_system_v),
            ((0, 1), 32769, true)
        );
        let line = b"7f0-7f1 rw-s 00000000 00:01 32769                      /memfd:SYSV (deleted)";
        assert!(!mapped_file(line).unwrap().is_system_v);
    }

    #[test]
    fn every_reason_has_a_flag() {
        for reason in Skip::ALL {
            let (flag, _) = Skip::FLAGS
                .iter()
                .find(|(_, skip)| *skip == reason)
                .unwrap();
            let flags = [b" rd wr ", *flag, b" mr"].concat();
            assert_eq!(Skip::by_flags(&flags), Some(reason));
        }
        assert_eq!(Skip::by_flags(b" rd wr mr mw me ac sd "), None);
    }

    #[test]
    fn nonsense_has_no_mappings() {
        for text in ["", "\n\n", "Rss: 4 kB", "zz-yy r", "9-9 r", "9-8 r", "10"] {
            assert_eq!(parse(text.as_bytes()), [], "{text}");
        }
    }
}
