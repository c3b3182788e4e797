//! Operations, their decoding from bytes.

use zs_mm::PageSize;
use zsmalloc::MapMode;

/// A length in bytes that is made when the page size is known: 0, a page, beyond a page and the
/// borders of classes among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub u16);

impl Length {
    /// Returns the length at this page size, 0 to one more than a page.
    pub fn bytes(self, page: PageSize) -> usize {
        let (kind, low) = (self.0 >> 13, (self.0 & 0x1fff) as usize);
        let page = page.bytes();
        match kind {
            0 => low % 4,
            1 => page + 1 - low % 4,
            2 => (low / 3 % 128 + 1) * page / 128 + low % 3 - 1,
            // Four classes, so that few objects make whole zspages, and many lie in two frames.
            3..=5 => ([40, 72, 80, 88][low % 4] * page / 128) - low / 4 % (page / 128),
            _ => 1 + low * page / 0x2000,
        }
    }
}

/// A part of something whose size is not known yet, in 65536ths; the highest value is "too much".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion(pub u16);

impl Portion {
    /// Returns the part of `whole`, up to two beyond it; `usize::MAX` for the highest portion.
    pub fn of(self, whole: usize) -> usize {
        match self.0 {
            u16::MAX => usize::MAX,
            part => (part as usize * (whole + 3)) >> 16,
        }
    }
}

/// How an object is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Read-only.
    ReadOnly,
    /// Read-write.
    ReadWrite,
    /// Write-only.
    WriteOnly,
}

impl MapKind {
    /// Returns the pool's name for it.
    pub fn mode(self) -> MapMode {
        match self {
            Self::ReadOnly => MapMode::ReadOnly,
            Self::ReadWrite => MapMode::ReadWrite,
            Self::WriteOnly => MapMode::WriteOnly,
        }
    }
}

/// One operation. Numbers that name an object, a guard or a pool are taken modulo how many there
/// are; an operation that finds none does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the pool's methods")]
pub enum Op {
    /// Store bytes; `slot` picks the word of a client that has its own.
    Insert {
        pool: u8,
        len: Length,
        slot: u16,
        seed: u8,
    },
    /// Make an object of zeros.
    Allocate { pool: u8, len: Length, slot: u16 },
    /// Read whole: by spans, `copy_to`, `contiguous`, and into a buffer that is too short.
    Read { nth: u16 },
    /// New contents.
    Replace { nth: u16, len: Length, seed: u8 },
    /// New contents by `replace_wait`, where that would not wait for this thread.
    ReplaceWait { nth: u16, len: Length, seed: u8 },
    /// In-place write.
    Write {
        nth: u16,
        offset: Portion,
        len: Portion,
        seed: u8,
    },
    /// Map and unmap; `short` lends a buffer that is one byte too short.
    Map {
        nth: u16,
        kind: MapKind,
        short: bool,
        seed: u8,
    },
    /// Map, and stay mapped.
    HoldMap { nth: u16, kind: MapKind, seed: u8 },
    /// End a mapping that is held.
    EndMap { nth: u16 },
    /// Read, and stay inside.
    OpenReader { nth: u16 },
    /// Leave.
    CloseReader { nth: u16 },
    /// Free.
    Free { nth: u16 },
    /// Use a key that was freed, by every operation: all answer stale.
    UseStale { nth: u16 },
    /// Use a key of another pool: stale.
    UseForeign { nth: u16, pool: u8 },
    /// Use a key made of any bits: stale unless it is a live one.
    Forge { pool: u8, bits: u64 },
    /// The client changes its own empty word; nothing with handles.
    MarkEmpty {
        pool: u8,
        slot: u16,
        state: u8,
        payload: u32,
    },
    /// Give back what nothing uses.
    Trim { pool: u8 },
    /// Make two dozen objects of one length and free two of three: sparse zspages.
    Sediment {
        pool: u8,
        len: Length,
        slot: u16,
        seed: u8,
    },
    /// Move objects together; `objects` of 0 to 127 is the budget, more is none.
    Compact { pool: u8, objects: u8 },
    /// Give so many frames back, by compaction if need be.
    Shrink { pool: u8, frames: u8 },
    /// Move `frames` frames, the `frame`th of those in use and the next ones, to a zone or
    /// anywhere; a few of the numbers name a free frame, or none.
    Migrate {
        frame: u16,
        frames: u8,
        mode: u8,
        zone: u8,
    },
    /// Isolate one of the frames in use, and keep it so.
    Isolate { frame: u16 },
    /// Put a frame back that is isolated.
    PutBack { nth: u16 },
    /// Free the old frames of moves whose readers have left.
    Drain { pool: u8 },
    /// Let time pass, and decay.
    Decay { millis: u16 },
    /// Visit every object, and compare all of them.
    ForEach { pool: u8 },
    /// Overwrite every byte of every frame that belongs to no object.
    Scribble { seed: u8 },
    /// Let the commit after `after` more fail, and if `lasting` all that follow.
    FailCommit { after: u8, lasting: bool },
    /// Let the decommit after `after` more fail, and if `lasting` all that follow.
    FailDecommit { after: u8, lasting: bool },
    /// No fault any more.
    ClearFault,
}

/// Bytes, taken from the front; zeros when there are no more.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn len(&mut self) -> Length {
        Length(self.short())
    }

    fn portion(&mut self) -> Portion {
        Portion(self.short())
    }

    fn kind(&mut self) -> MapKind {
        match self.byte() % 3 {
            0 => MapKind::ReadOnly,
            1 => MapKind::ReadWrite,
            _ => MapKind::WriteOnly,
        }
    }
}

impl Op {
    /// Operations from any bytes: what a fuzzer drives.
    pub fn decode(bytes: &[u8]) -> Vec<Self> {
        let mut source = Source(bytes);
        let mut ops = Vec::new();
        while !source.0.is_empty() {
            ops.push(Self::take(&mut source));
        }
        ops
    }

    /// Returns the first operation of some bytes.
    pub fn decode_one(bytes: &[u8]) -> Self {
        Self::take(&mut Source(bytes))
    }

    fn take(from: &mut Source<'_>) -> Self {
        match from.byte() % 80 {
            0..=15 => Self::Insert {
                pool: from.byte(),
                len: from.len(),
                slot: from.short(),
                seed: from.byte(),
            },
            16..=17 => Self::Allocate {
                pool: from.byte(),
                len: from.len(),
                slot: from.short(),
            },
            18..=21 => Self::Read { nth: from.short() },
            22..=26 => Self::Replace {
                nth: from.short(),
                len: from.len(),
                seed: from.byte(),
            },
            27 => Self::ReplaceWait {
                nth: from.short(),
                len: from.len(),
                seed: from.byte(),
            },
            28..=31 => Self::Write {
                nth: from.short(),
                offset: from.portion(),
                len: from.portion(),
                seed: from.byte(),
            },
            32..=34 => Self::Map {
                nth: from.short(),
                kind: from.kind(),
                short: from.byte().is_multiple_of(8),
                seed: from.byte(),
            },
            35 => Self::HoldMap {
                nth: from.short(),
                kind: from.kind(),
                seed: from.byte(),
            },
            36 => Self::EndMap { nth: from.short() },
            37..=39 => Self::OpenReader { nth: from.short() },
            40..=41 => Self::CloseReader { nth: from.short() },
            42..=51 => Self::Free { nth: from.short() },
            other => Self::take_rare(other, from),
        }
    }

    fn take_rare(kind: u8, from: &mut Source<'_>) -> Self {
        match kind {
            52 => Self::UseStale { nth: from.short() },
            53 => Self::UseForeign {
                nth: from.short(),
                pool: from.byte(),
            },
            54 => Self::Forge {
                pool: from.byte(),
                bits: from.long(),
            },
            55..=56 => Self::MarkEmpty {
                pool: from.byte(),
                slot: from.short(),
                state: from.byte() % 8,
                payload: u32::from(from.short()),
            },
            57 => Self::Trim { pool: from.byte() },
            58 => Self::Decay {
                millis: from.short(),
            },
            59 => Self::ForEach { pool: from.byte() },
            60 => Self::Scribble { seed: from.byte() },
            61 => Self::FailCommit {
                after: from.byte() % 8,
                lasting: from.byte().is_multiple_of(2),
            },
            62 => Self::FailDecommit {
                after: from.byte() % 4,
                lasting: from.byte().is_multiple_of(2),
            },
            63 => Self::ClearFault,
            64 => Self::Shrink {
                pool: from.byte(),
                frames: from.byte(),
            },
            65..=66 => Self::Sediment {
                pool: from.byte(),
                len: from.len(),
                slot: from.short(),
                seed: from.byte(),
            },
            67..=71 => Self::Compact {
                pool: from.byte(),
                objects: from.byte(),
            },
            72..=75 => Self::Migrate {
                frame: from.short(),
                frames: from.byte(),
                mode: from.byte(),
                zone: from.byte(),
            },
            76..=77 => Self::Isolate {
                frame: from.short(),
            },
            78 => Self::PutBack { nth: from.short() },
            _ => Self::Drain { pool: from.byte() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_reach_their_borders_and_stay_within_them() {
        for page in PageSize::ALL {
            let lengths: Vec<usize> = (0..=u16::MAX).map(|l| Length(l).bytes(page)).collect();
            for border in [0, 1, page.bytes() - 1, page.bytes(), page.bytes() + 1] {
                assert!(lengths.contains(&border), "{border} at {page}");
            }
            assert!(lengths.iter().all(|&len| len <= page.bytes() + 1));
        }
    }

    #[test]
    fn portions_reach_beyond_the_whole() {
        let parts: Vec<usize> = (0..=u16::MAX).map(|part| Portion(part).of(100)).collect();
        for part in [0, 1, 99, 100, 101, 102, usize::MAX] {
            assert!(parts.contains(&part), "{part}");
        }
    }

    #[test]
    fn any_bytes_decode_and_all_kinds_come() {
        let bytes = crate::Numbers::new(0).bytes(20_000);
        let ops = Op::decode(&bytes);
        let kinds: std::collections::HashSet<_> = ops.iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 30);
        assert!(Op::decode(&[]).is_empty());
    }
}
