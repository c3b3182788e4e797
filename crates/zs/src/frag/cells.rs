//! Pageblocks, put together until they fit a picture.

use super::outcome::BlockState;

/// One sign of a map: some neighbouring blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell {
    /// Every frame is in use.
    Full,
    /// This share of the frames is: above 0, below 1.
    Mixed(f64),
    /// No frame is.
    Free,
    /// All blocks are out of the arena.
    Offline,
}

/// Returns how many blocks a cell must stand for if so many blocks are to fit into `most` cells: a
/// power of two, so that rows begin at round addresses.
pub(super) fn blocks_per_cell(blocks: usize, most: usize) -> usize {
    blocks.div_ceil(most.max(1)).max(1).next_power_of_two()
}

/// Returns a cell for every `blocks_per_cell` blocks, of `frames` frames each.
pub(super) fn cells(blocks: &[BlockState], frames: u16, blocks_per_cell: usize) -> Vec<Cell> {
    let groups = blocks.chunks(blocks_per_cell);
    groups.map(|group| Cell::of(group, frames)).collect()
}

impl Cell {
    fn of(blocks: &[BlockState], frames: u16) -> Self {
        let (mut online, mut in_use) = (0_u64, 0_u64);
        for block in blocks {
            in_use += match *block {
                BlockState::Full => u64::from(frames),
                BlockState::Mixed(in_use) => u64::from(in_use),
                BlockState::Free | BlockState::Offline => 0,
            };
            online += u64::from(*block != BlockState::Offline);
        }
        let all = online * u64::from(frames);
        match in_use {
            _ if online == 0 => Self::Offline,
            0 => Self::Free,
            _ if in_use >= all => Self::Full,
            _ => Self::Mixed(in_use as f64 / all as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BlockState::{Free, Full, Mixed, Offline};

    #[test]
    fn a_block_is_what_its_frames_are() {
        assert_eq!(
            [0, 1, 511, 512].map(|in_use| BlockState::of(in_use, 512)),
            [Free, Mixed(1), Mixed(511), Full]
        );
    }

    #[test]
    fn blocks_share_cells_when_there_are_too_many() {
        let blocks = [
            Full,
            Full,
            Free,
            Free,
            Full,
            Free,
            Offline,
            Mixed(256),
            Offline,
        ];
        // Nine blocks need two a cell for eight cells, four a cell for four.
        let per_cell = [9, 8, 4, 1, 0].map(|most| blocks_per_cell(blocks.len(), most));
        assert_eq!(per_cell, [1, 2, 4, 16, 16]);
        let of = |per_cell| cells(&blocks, 512, per_cell);
        assert_eq!(of(1).len(), 9);
        assert_eq!(of(1)[7], Cell::Mixed(0.5));
        let two = [
            Cell::Full,
            Cell::Free,
            Cell::Mixed(0.5),
            Cell::Mixed(0.5),
            Cell::Offline,
        ];
        assert_eq!(of(2), two);
        assert_eq!(of(16), [Cell::Mixed(3.5 / 7.0)]);
        assert_eq!(cells(&[], 512, 1), []);
    }
}
