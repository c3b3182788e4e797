//! What the zones of an arena are to be made of.

use crate::size::{MAX_ZONES, wide};
use core::fmt;

/// What memory a zone is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ZoneKind {
    /// The backing's own: what it makes where nothing else is asked for.
    #[default]
    Normal,
    /// The same by huge pages, as far as the system has any: a pageblock is committed as a whole
    /// where the limit allows it. What is later given back of a block leaves small pages behind,
    /// until all of it is handed out again.
    Huge,
    /// A file in memory that the backing makes (a memfd).
    Memfd,
    /// A file that the backing was given.
    File,
}

impl fmt::Display for ZoneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Huge => "huge",
            Self::Memfd => "memfd",
            Self::File => "file",
        })
    }
}

/// What one zone is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZoneSpec {
    /// What it is made of.
    pub kind: ZoneKind,
    /// The memory node (as Linux numbers them) that its frames are to lie on; `None`: wherever the
    /// system puts them.
    pub node: Option<u32>,
    /// How much of the arena it is, beside the shares of the other zones: in whatever unit is
    /// handy (1 each for equal zones; MiB). At least 1, and whatever it is, a zone has a
    /// pageblock.
    pub share: u32,
}

impl ZoneSpec {
    /// Makes a zone of a kind on any node, with a share of 1.
    pub const fn new(kind: ZoneKind) -> Self {
        Self {
            kind,
            node: None,
            share: 1,
        }
    }

    /// Says whether the frames of both are equally good: what tells one tier from the next.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.node) == (other.kind, other.node)
    }
}

/// The zones of an arena, in the order in which they are filled.
///
/// There are 1 to [`MAX_ZONES`]; another number is kept, and refused by the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneSpecs {
    specs: [ZoneSpec; MAX_ZONES],
    count: usize,
}

impl ZoneSpecs {
    /// Takes these zones, in this order.
    pub const fn new(specs: &[ZoneSpec]) -> Self {
        let mut zones = Self::normal(specs.len());
        let mut zone = 0;
        while zone < specs.len() && zone < MAX_ZONES {
            zones.specs[zone] = specs[zone];
            zone += 1;
        }
        zones
    }

    /// Takes so many equal zones of what the backing makes by itself.
    pub const fn normal(count: usize) -> Self {
        Self {
            specs: [ZoneSpec::new(ZoneKind::Normal); MAX_ZONES],
            count,
        }
    }

    /// Returns how many there are.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Returns the zones; of too many, the first [`MAX_ZONES`].
    pub fn specs(&self) -> &[ZoneSpec] {
        &self.specs[..self.count.min(MAX_ZONES)]
    }

    /// Returns how many of `blocks` pageblocks lie in the first `zones` zones: by their shares, to
    /// the nearest block, but at least one in each zone.
    pub(crate) fn blocks_before(&self, zones: usize, blocks: usize) -> usize {
        let specs = self.specs();
        let sum = |specs: &[ZoneSpec]| specs.iter().map(|spec| u64::from(spec.share)).sum::<u64>();
        let all = sum(specs);
        (1..=zones.min(specs.len())).fold(0, |end, zone| {
            let nearest = (2 * wide(blocks) * sum(&specs[..zone]) + all) / (2 * all);
            (nearest as usize).clamp(end + 1, blocks - (specs.len() - zone))
        })
    }
}

/// Why a backing has no place for a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoneRefusal {
    /// The backing makes no memory of this kind.
    Kind,
    /// The backing makes no memory of this kind on a node of choice.
    NodeOfKind,
    /// The machine has no memory on this node, or this process may not use it.
    Node,
    /// The backing was given fewer files than there are zones of files.
    NoFile,
    /// The file of the zone is too short.
    FileTooShort {
        /// Bytes of the file.
        len: u64,
        /// Bytes of the zone.
        needed: u64,
    },
    /// The system refused: addresses, memory, or to bind memory to a node.
    System,
}

impl fmt::Display for ZoneRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("the backing makes no memory of this kind"),
            Self::NodeOfKind => {
                f.write_str("the backing makes no memory of this kind on a node of choice")
            }
            Self::Node => f.write_str("no memory there that this process may use"),
            Self::NoFile => f.write_str("the backing was given no file for it"),
            Self::FileTooShort { len, needed } => write!(
                f,
                "its file has {len} bytes, and must have at least {needed}"
            ),
            Self::System => {
                f.write_str("the system refused addresses, memory, or to bind memory to the node")
            }
        }
    }
}

impl core::error::Error for ZoneRefusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(shares: &[u32], blocks: usize) -> Vec<usize> {
        let spec = |&share: &u32| ZoneSpec {
            share,
            ..ZoneSpec::new(ZoneKind::Normal)
        };
        let specs: Vec<_> = shares.iter().map(spec).collect();
        let zones = ZoneSpecs::new(&specs);
        (0..=MAX_ZONES)
            .map(|zone| zones.blocks_before(zone, blocks))
            .collect()
    }

    #[test]
    fn blocks_go_by_shares_and_every_zone_has_one() {
        assert_eq!(bounds(&[7], 9), [0, 9, 9, 9, 9]);
        assert_eq!(bounds(&[1, 1], 4), [0, 2, 4, 4, 4]);
        assert_eq!(bounds(&[1, 1, 1, 1], 5), [0, 1, 3, 4, 5]);
        assert_eq!(bounds(&[1000, 1], 4), [0, 3, 4, 4, 4]);
        assert_eq!(bounds(&[1, 3], 402), [0, 101, 402, 402, 402]);
        assert_eq!(bounds(&[1, u32::MAX, 1], 3), [0, 1, 2, 3, 3]);
        assert_eq!(bounds(&[1, 3], 8), [0, 2, 8, 8, 8]);
        assert_eq!(bounds(&[1000, 1, 1000], 10), [0, 5, 6, 10, 10]);
        let most = 1 << 28;
        let all = bounds(&[u32::MAX; 4], most);
        assert_eq!(all, [0, most / 4, most / 2, most / 4 * 3, most]);
    }
}
