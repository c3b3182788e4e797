//! The memory limit of each disk, and the reason for it; the rest that the limits of the process
//! leave.
//!
//! Data model: `memory that is available -> half of it, shared by the disks without a --limit -> a
//! limit and its reason each`.

use crate::output;
use crate::units::Size;
use zram::Error;
use zs_mm::MAX_ARENA_BYTES;
use zs_os::{AvailableMemory, MemoryBound};

/// Address space that all disks together are given, so that their limits can be raised: half of
/// what there is.
const ADDRESSES: u64 = 1 << 46;

/// Open files that a server needs beside one for each disk: connections of both kinds, sockets, and
/// some.
const OPEN_FILES: u64 = 300;

/// Lines about limits that are printed.
const MOST_LINES: usize = 8;

/// The limit of a disk, and why it is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    pub(super) reason: String,
}

/// The limit that a disk asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// Exactly this.
    Given(u64),
    /// Enough for blocks that do not compress, if there is so much.
    Full(u64),
}

/// Returns the limits of disks. Those that are not given share half of the memory that is
/// available, so that all of them get no more than one alone would. Small disks get what fills
/// them; the others share the rest evenly. Each gets `least`.
pub(super) fn limits(wishes: &[Wish], available: &AvailableMemory, least: u64) -> Vec<Limit> {
    let full = wishes.iter().filter_map(|wish| match wish {
        Wish::Given(_) => None,
        Wish::Full(bytes) => Some(*bytes),
    });
    let mut full: Vec<u64> = full.collect();
    full.sort_unstable();
    let share = even_share(&full, available.bytes / 2).max(least);
    let of_all = if full.len() > 1 {
        "an even share of "
    } else {
        ""
    };
    let shared = format!("{of_all}half of {}", what_is_available(available));
    let choose = |wish: &Wish| match wish {
        Wish::Given(bytes) => (*bytes, "--limit".to_owned()),
        Wish::Full(bytes) if *bytes <= share => {
            (*bytes, "the size, 1/16 of it, and 2 MiB".to_owned())
        }
        Wish::Full(_) => (share, shared.clone()),
    };
    let limits = wishes.iter().map(choose);
    limits
        .map(|(bytes, reason)| Limit { bytes, reason })
        .collect()
}

/// Returns the most that each gets, if whoever needs less leaves the rest to the others. The needs
/// are sorted.
fn even_share(needs: &[u64], budget: u64) -> u64 {
    let mut left = budget;
    let mut share = budget;
    for (place, need) in needs.iter().enumerate() {
        share = left / (needs.len() - place) as u64;
        if *need > share {
            break;
        }
        left -= need;
    }
    share
}

fn what_is_available(available: &AvailableMemory) -> String {
    let bytes = Size(available.bytes);
    match &available.bound {
        MemoryBound::System => format!("the {bytes} of memory that are available"),
        MemoryBound::Group { group, file, limit } => format!(
            "the {bytes} that the memory group {} leaves ({file} is {})",
            group.display(),
            Size(*limit)
        ),
    }
}

/// Prints the limit of each disk, and why it is that; disks with the same ones share a line.
pub(super) fn tell(limits: &[Limit]) {
    let mut kinds: Vec<(&Limit, usize)> = Vec::new();
    for limit in limits {
        match kinds.iter_mut().find(|(kind, _)| *kind == limit) {
            Some((_, count)) => *count += 1,
            None => kinds.push((limit, 1)),
        }
    }
    for (limit, count) in kinds.iter().take(MOST_LINES) {
        let disks = if *count > 1 {
            format!(" of each of {count} disks")
        } else {
            String::new()
        };
        let bytes = Size(limit.bytes);
        output::note(&format!("the limit{disks} is {bytes}: {}", limit.reason));
    }
    if let Some(more) = kinds.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        output::note(&format!("and {more} other limits, which zs ctl stat shows"));
    }
}

/// Returns the highest limit that a disk can be given later, one of so many disks: as much address
/// space is reserved.
pub(super) fn highest(limit: u64, disks: usize) -> u64 {
    let allowed = zs_os::address_space().map_or(ADDRESSES, |most| most / 4);
    let share = allowed / disks.max(1) as u64;
    share.clamp(limit.min(MAX_ARENA_BYTES), MAX_ARENA_BYTES)
}

/// Returns an error of making a store; where it may be for want of address space, with the option
/// that helps.
pub(super) fn explained(error: &Error) -> String {
    match (error, zs_os::address_space()) {
        (Error::NoMemory, Some(most)) => format!(
            "no address space, or no memory: RLIMIT_AS allows {} (ulimit -v). A disk reserves as much as its --limit, and 8 bytes \
             for each block of its --max-size: give smaller ones, or raise it",
            Size(most)
        ),
        _ => error.to_string(),
    }
}

/// Allows as many open files as the server needs, or says that it may not have them.
pub(super) fn allow_open_files(disks: usize) {
    let wanted = OPEN_FILES + 2 * disks as u64;
    let allowed = zs_os::raise_open_files(wanted);
    if allowed < wanted {
        output::note(&few_files(allowed, wanted));
    }
}

fn few_files(allowed: u64, wanted: u64) -> String {
    format!(
        "RLIMIT_NOFILE allows {allowed} open files, and all clients together may need {wanted}: some will be turned away; raise it \
         (ulimit -n, or LimitNOFILE= of a service)"
    )
}

/// Returns what is wrong with a disk of too many blocks, and what helps.
pub(super) fn too_many_blocks(size: u64, block: u64) -> Option<String> {
    let most = (u64::from(u32::MAX) / 2).saturating_mul(block);
    let larger = [(16 << 10, "16k"), (64 << 10, "64k")];
    let fits = |bytes: u64| size <= (u64::from(u32::MAX) / 2).saturating_mul(bytes);
    if size <= most {
        return None;
    }
    let helps = larger.iter().find(|(bytes, _)| fits(*bytes));
    let helps = helps.map_or_else(
        || "the most is 128 TiB, with --block-size 64k".to_owned(),
        |(_, name)| format!("--block-size {name} allows it"),
    );
    Some(format!(
        "a disk of {size} bytes has too many blocks of {}, of which the most is {}: {helps}",
        Size(block),
        u32::MAX / 2
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn available(bytes: u64) -> AvailableMemory {
        AvailableMemory {
            bytes,
            bound: MemoryBound::System,
        }
    }

    fn bytes(limits: &[Limit]) -> Vec<u64> {
        limits.iter().map(|limit| limit.bytes).collect()
    }

    /// `misc.py limits`: four disks of 200 GiB had limits of 45 GiB on 23.
    #[test]
    fn all_disks_together_get_what_one_would() {
        let available = available(24 * GIB);
        let one = limits(&[Wish::Full(200 * GIB)], &available, 2 << 20);
        assert_eq!(bytes(&one), [12 * GIB]);
        assert_eq!(
            one[0].reason,
            "half of the 24 GiB of memory that are available"
        );
        let four = limits(&[Wish::Full(200 * GIB); 4], &available, 2 << 20);
        assert_eq!(bytes(&four), [3 * GIB; 4]);
        assert!(
            four[0].reason.starts_with("an even share of half of"),
            "{four:?}"
        );
        let wishes = [
            Wish::Full(90 * GIB),
            Wish::Given(50 * GIB),
            Wish::Full(GIB),
            Wish::Full(80 * GIB),
        ];
        let mixed = limits(&wishes, &available, 2 << 20);
        assert_eq!(bytes(&mixed), [11 * GIB / 2, 50 * GIB, GIB, 11 * GIB / 2]);
        assert_eq!(mixed[1].reason, "--limit");
        assert_eq!(mixed[2].reason, "the size, 1/16 of it, and 2 MiB");
    }

    #[test]
    fn every_disk_gets_the_least_that_a_store_needs() {
        let many = limits(&[Wish::Full(GIB); 100], &available(100 << 20), 2 << 20);
        assert_eq!(bytes(&many), [2 << 20; 100]);
        assert!(limits(&[], &available(0), 2 << 20).is_empty());
    }

    #[test]
    fn the_group_that_limits_is_named() {
        let available = AvailableMemory {
            bytes: 60 << 20,
            bound: MemoryBound::Group {
                group: "/sys/fs/cgroup/memory/app".into(),
                file: "memory.limit_in_bytes",
                limit: 64 << 20,
            },
        };
        let limit = limits(&[Wish::Full(GIB)], &available, 2 << 20).remove(0);
        assert_eq!(
            limit.reason,
            "half of the 60 MiB that the memory group /sys/fs/cgroup/memory/app leaves (memory.limit_in_bytes is 64 MiB)"
        );
    }

    #[test]
    fn too_many_blocks_are_told_what_helps() {
        assert_eq!(too_many_blocks((8 << 40) - 4096, 4096), None);
        let text = too_many_blocks(8 << 40, 4096).unwrap();
        assert!(text.ends_with("--block-size 16k allows it"), "{text}");
        let text = too_many_blocks(100 << 40, 4096).unwrap();
        assert!(text.ends_with("--block-size 64k allows it"), "{text}");
        assert!(too_many_blocks(200 << 40, 65536).is_some());
    }

    #[test]
    fn too_few_open_files_are_told_what_helps() {
        let text = few_files(20, 129);
        assert!(text.contains("RLIMIT_NOFILE allows 20"), "{text}");
        assert!(text.contains("ulimit -n"), "{text}");
    }
}
