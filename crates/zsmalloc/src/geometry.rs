//! Size classes: computed once for each page size, shared by all pools.
//!
//! The rule (`docs/decisions/0002-geometry.md`): sizes in steps of P/128; each class has the chain
//! of at most 16 frames that wastes least at its end, the shortest such; an exact chain is repeated
//! up to 16 frames while its slots stay at most 64. Classes are not merged.

use crate::ids::as_index;
use crate::ids::{CLASSES, ClassIndex, EntryIndex, SlotIndex};
use zs_mm::PageSize;

/// The longest chain of frames of one zspage.
pub const MAX_CHAIN: usize = 16;
/// The most slots of one zspage.
pub const MAX_SLOTS: usize = 128;
/// Exact chains are repeated while a zspage has at most so many slots.
const MAX_REPEATED_SLOTS: usize = 64;

/// One size class: what its zspages look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeClass {
    /// Bytes of a slot.
    pub size: u32,
    /// Frames of a zspage, 1 to 16.
    pub chain: u8,
    /// Slots of a zspage, 1 to 128.
    pub slots: u8,
}

impl SizeClass {
    const fn of(size: usize, page: usize) -> Self {
        let mut chain = 1;
        let mut frames = 1;
        while frames <= MAX_CHAIN && !(chain * page).is_multiple_of(size) {
            if (frames * page) % size < (chain * page) % size {
                chain = frames;
            }
            frames += 1;
        }
        if (chain * page).is_multiple_of(size) {
            let unit = chain;
            while chain + unit <= MAX_CHAIN && (chain + unit) * page / size <= MAX_REPEATED_SLOTS {
                chain += unit;
            }
        }
        Self {
            size: size as u32,
            chain: chain as u8,
            slots: (chain * page / size) as u8,
        }
    }

    /// Returns where a slot begins in its zspage, in bytes.
    #[inline]
    pub(crate) const fn start_of(&self, slot: SlotIndex) -> usize {
        slot.index() * self.size as usize
    }

    /// Returns the number of bytes that no slot covers at the end of a zspage.
    pub const fn tail(&self, page: PageSize) -> usize {
        self.chain as usize * page.bytes() - self.slots as usize * self.size as usize
    }
}

/// The classes of one page size.
#[derive(Debug)]
pub struct Geometry {
    page: PageSize,
    classes: [SizeClass; CLASSES],
}

static GEOMETRIES: [Geometry; 3] = [
    Geometry::new(PageSize::K4),
    Geometry::new(PageSize::K16),
    Geometry::new(PageSize::K64),
];

impl Geometry {
    const fn new(page: PageSize) -> Self {
        let step = page.bytes() / CLASSES;
        let mut classes = [SizeClass::of(step, page.bytes()); CLASSES];
        let mut index = 0;
        while index < CLASSES {
            classes[index] = SizeClass::of((index + 1) * step, page.bytes());
            index += 1;
        }
        Self { page, classes }
    }

    /// Returns the geometry of a page size.
    pub fn of(page: PageSize) -> &'static Self {
        match page {
            PageSize::K4 => &GEOMETRIES[0],
            PageSize::K16 => &GEOMETRIES[1],
            PageSize::K64 => &GEOMETRIES[2],
        }
    }

    /// Returns the page size.
    #[inline]
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// Returns all classes, smallest first.
    pub fn classes(&self) -> &[SizeClass; CLASSES] {
        &self.classes
    }

    /// Returns the class that holds objects of `size` bytes, or `None` for 0 and for more than a
    /// page.
    #[inline]
    pub fn lookup(&self, size: usize) -> Option<ClassIndex> {
        let class = size.wrapping_sub(1) >> (self.page.shift() - CLASSES.trailing_zeros());
        (class < CLASSES).then_some(ClassIndex::new(class as u8))
    }

    /// Returns the largest size whose zspage has more slots than frames: beyond it, an object takes
    /// a frame of its own (the kernel's `zs_huge_class_size`, less one).
    pub fn huge_threshold(&self) -> usize {
        let shared = |class: &&SizeClass| class.slots > class.chain;
        let largest = self.classes.iter().rev().find(shared);
        largest.map_or(0, |class| as_index(class.size))
    }

    /// Returns the shape of a class.
    ///
    /// # Panics
    /// If there is no such class.
    #[inline]
    pub fn class(&self, class: ClassIndex) -> SizeClass {
        self.classes[class.index()]
    }

    /// Returns the entries of the frames that a slot touches, first and last: its whole length,
    /// whatever its object's.
    #[inline]
    pub fn frames_of_slot(&self, class: SizeClass, slot: SlotIndex) -> (EntryIndex, EntryIndex) {
        let start = class.start_of(slot);
        let end = start + as_index(class.size) - 1;
        let entry = |byte| EntryIndex::of_byte(byte, self.page);
        (entry(start), entry(end))
    }

    /// Returns the slots that touch a frame, as a set: every frame of a chain is touched by one at
    /// least.
    #[inline]
    pub fn slots_of_frame(&self, class: SizeClass, entry: EntryIndex) -> u128 {
        let (size, shift) = (as_index(class.size), self.page.shift());
        let first = (entry.index() << shift) / size;
        let last = (((entry.index() + 1) << shift) - 1) / size;
        let last = last.min(as_index(class.slots) - 1);
        let up_to_last = u128::MAX >> (MAX_SLOTS - 1 - last);
        up_to_last & (u128::MAX << first)
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    /// Row Z14: the closed forms equal the walk, at every page size and chain.
    #[test]
    fn z14_slots_and_frames_by_closed_form_equal_the_walk() {
        for page in PageSize::ALL {
            let geometry = Geometry::of(page);
            for &class in geometry.classes() {
                let mut touching = [0_u128; MAX_CHAIN];
                for slot in SlotIndex::of_class(class.slots) {
                    let first_byte = slot.index() * class.size as usize;
                    let frames: Vec<usize> = (first_byte..first_byte + class.size as usize)
                        .map(|byte| byte / page.bytes())
                        .collect();
                    let walked = (frames[0], frames[frames.len() - 1]);
                    let (first, last) = geometry.frames_of_slot(class, slot);
                    assert_eq!((first.index(), last.index()), walked);
                    assert!(walked.1 - walked.0 <= 1, "a slot spans at most two frames");
                    touching[walked.0] |= slot.bit();
                    touching[walked.1] |= slot.bit();
                }
                for (entry, &slots) in EntryIndex::of_chain(class.chain).zip(&touching) {
                    assert_eq!(
                        geometry.slots_of_frame(class, entry),
                        slots,
                        "{class:?} {entry}"
                    );
                    assert_ne!(slots, 0, "every frame of {class:?} is touched");
                }
            }
        }
    }

    /// What `ClassContext::entry_to_attach` rests on: at each boundary between frames, whichever of
    /// the two is absent, some slot lacks that frame alone.
    #[test]
    fn at_each_boundary_a_slot_lacks_one_frame() {
        for page in PageSize::ALL {
            let geometry = Geometry::of(page);
            for &class in geometry.classes() {
                let (first, last) = geometry.frames_of_slot(class, SlotIndex::new(0));
                assert_eq!((first.index(), last.index()), (0, 0), "{class:?}");
                let entries = EntryIndex::of_chain(class.chain);
                for (left, right) in entries.clone().zip(entries.skip(1)) {
                    for (absent, attached) in [(left, right), (right, left)] {
                        let lacks_it_alone = |slot: SlotIndex| {
                            let (first, last) = geometry.frames_of_slot(class, slot);
                            let within = |frame| frame == absent || frame == attached;
                            (first == absent || last == absent) && within(first) && within(last)
                        };
                        let found = SlotIndex::of_class(class.slots).any(lacks_it_alone);
                        assert!(found, "{class:?}: frame {absent} beside {attached}");
                    }
                }
            }
        }
    }

    #[test]
    fn chains_waste_least_and_stay_in_bounds() {
        for page in PageSize::ALL {
            for class in Geometry::of(page).classes() {
                let (size, chain) = (class.size as usize, class.chain as usize);
                assert!((1..=MAX_CHAIN).contains(&chain));
                assert!(
                    (1..=MAX_SLOTS).contains(&(class.slots as usize)),
                    "{class:?}"
                );
                let least = (1..=MAX_CHAIN).map(|n| n * page.bytes() % size).min();
                assert_eq!(Some(class.tail(page)), least, "{class:?}");
            }
        }
    }

    /// Row Z21, first half: the lookup is the smallest class that fits, at every size.
    #[test]
    fn z21_lookup_is_the_smallest_class_that_fits() {
        for page in PageSize::ALL {
            let geometry = Geometry::of(page);
            assert_eq!(geometry.lookup(0), None);
            assert_eq!(geometry.lookup(page.bytes() + 1), None);
            for size in 1..=page.bytes() {
                let fits = |class: &SizeClass| class.size as usize >= size;
                let smallest = ClassIndex::all().find(|class| fits(&geometry.class(*class)));
                assert_eq!(geometry.lookup(size), smallest, "{size} bytes at {page}");
            }
        }
    }

    #[test]
    fn the_geometry_scales_with_the_page() {
        let [small, medium, large] = PageSize::ALL.map(Geometry::of);
        for index in ClassIndex::all() {
            let class = small.class(index);
            for (other, factor) in [(medium, 4), (large, 16)] {
                let scaled = SizeClass {
                    size: class.size * factor,
                    ..class
                };
                assert_eq!(other.class(index), scaled);
            }
        }
        assert_eq!(small.huge_threshold(), 3840);
    }
}
