//! `--compare`: what other stores of compressed pages would hold of the same objects, by models.
//!
//! Data model: `length of each object, in the order of storing -> Models -> bytes of page frames of
//! each`.
//!
//! They count page frames that hold objects and nothing else: no handles, tables or structures,
//! though those stores have them; what this pool holds counts everything. Objects are only stored,
//! none is freed.
//!
//! | model | what it does |
//! |---|---|
//! | zsmalloc, chain n | Linux's: a handle of 8 bytes before each object; classes from 32 bytes on in steps of P/256; the chain of at most n frames that wastes least; classes of the same shape share zspages; an object that would fill a frame alone has its handle elsewhere |
//! | zbud | two objects a frame, from both ends, in chunks of P/64, one of them the header; first the frame with the least room that suffices |
//! | z3fold | three, the third between the two; the header takes two chunks |
//!
//! What is too long for zbud or z3fold takes a whole frame: z3fold stores it so, zbud refuses and
//! the page stays as it is.

use serde::{Deserialize, Serialize};
use zs_mm::PageSize;

/// Linux's shortest object, and the bytes of a handle.
const SHORTEST: usize = 32;
const HANDLE: usize = 8;
/// Size classes are a 256th of a frame apart; there is at most one more than steps.
const STEPS: usize = 256;
/// The longest chains that Linux can be built with: its least, its default and its most.
const CHAINS: [usize; 3] = [4, 8, 16];
/// Chunks of a frame of zbud and z3fold.
const CHUNKS: usize = 64;

/// What one of them would hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Model {
    /// Whose model it is.
    pub(super) name: String,
    /// Bytes of its page frames.
    pub(super) frame_bytes: u64,
}

/// All of them. Of fixed size: what is measured beside them is memory.
#[derive(Debug)]
pub(super) struct Models {
    page: usize,
    zsmalloc: [Zsmalloc; CHAINS.len()],
    zbud: Buddies,
    z3fold: Buddies,
}

impl Models {
    pub(super) fn new(page: PageSize) -> Self {
        let page = page.bytes();
        Self {
            page,
            zsmalloc: CHAINS.map(|chain| Zsmalloc::new(page, chain)),
            zbud: Buddies::new(page, 2, 1),
            z3fold: Buddies::new(page, 3, 2),
        }
    }

    /// One object more, of 1 byte to a page.
    pub(super) fn add(&mut self, len: usize) {
        self.zsmalloc.iter_mut().for_each(|model| model.add(len));
        self.zbud.add(len);
        self.z3fold.add(len);
    }

    pub(super) fn models(&self) -> Vec<Model> {
        let model = |name: String, frames: u64| Model {
            name,
            frame_bytes: frames * self.page as u64,
        };
        let kernels = CHAINS.iter().zip(&self.zsmalloc);
        let kernels = kernels.map(|(chain, zsmalloc)| {
            model(format!("kernel zsmalloc, chain {chain}"), zsmalloc.frames())
        });
        let others = [("zbud", &self.zbud), ("z3fold", &self.z3fold)];
        let others = others.map(|(name, buddies)| model(name.to_owned(), buddies.frames));
        kernels.chain(others).collect()
    }
}

/// The shape of a class's zspages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    frames: usize,
    slots: usize,
}

impl Shape {
    /// Returns the chain of at most `longest` frames that wastes least at its end, the shortest of
    /// those.
    fn of(size: usize, page: usize, longest: usize) -> Self {
        let waste = |frames: &usize| frames * page % size;
        let frames = (1..=longest).min_by_key(waste).unwrap_or(1);
        Self {
            frames,
            slots: frames * page / size,
        }
    }
}

/// A pool of Linux's.
#[derive(Debug)]
struct Zsmalloc {
    page: usize,
    longest: usize,
    /// Objects of each class.
    objects: [u64; STEPS + 1],
}

impl Zsmalloc {
    fn new(page: usize, longest: usize) -> Self {
        Self {
            page,
            longest,
            objects: [0; STEPS + 1],
        }
    }

    fn step(&self) -> usize {
        self.page / STEPS
    }

    /// Returns how many classes there are.
    fn classes(&self) -> usize {
        (self.page - SHORTEST).div_ceil(self.step()) + 1
    }

    fn size(&self, class: usize) -> usize {
        (SHORTEST + class * self.step()).min(self.page)
    }

    fn shape(&self, class: usize) -> Shape {
        Shape::of(self.size(class), self.page, self.longest)
    }

    fn class_of(&self, len: usize) -> usize {
        let with_handle = (len + HANDLE).max(SHORTEST);
        ((with_handle - SHORTEST).div_ceil(self.step())).min(self.classes() - 1)
    }

    fn add(&mut self, len: usize) {
        self.objects[self.class_of(len)] += 1;
    }

    /// Neighbours of the same shape share zspages.
    fn frames(&self) -> u64 {
        let classes: Vec<usize> = (0..self.classes()).collect();
        let merged = classes.chunk_by(|&one, &next| self.shape(one) == self.shape(next));
        let of = |classes: &[usize]| {
            let objects: u64 = classes.iter().map(|&class| self.objects[class]).sum();
            let Shape { frames, slots } = self.shape(classes[0]);
            objects.div_ceil(slots as u64) * frames as u64
        };
        merged.map(of).sum()
    }
}

/// Frames with a few objects each.
#[derive(Debug)]
struct Buddies {
    page: usize,
    /// Objects of a frame at most.
    most: usize,
    /// Chunks of a frame's header.
    header: usize,
    /// Frames with so many objects, and room for one more of so many chunks.
    open: [[u64; CHUNKS]; 3],
    frames: u64,
}

impl Buddies {
    fn new(page: usize, most: usize, header: usize) -> Self {
        Self {
            page,
            most,
            header,
            open: [[0; CHUNKS]; 3],
            frames: 0,
        }
    }

    fn add(&mut self, len: usize) {
        let chunks = len.div_ceil(self.page / CHUNKS);
        let room = CHUNKS - self.header;
        // Linux leaves a chunk free beside the only object, so that there is a list for the frame.
        if len > self.page - (self.header + 1) * (self.page / CHUNKS) {
            self.frames += 1;
            return;
        }
        let (objects, free) = self.take(chunks).unwrap_or_else(|| {
            self.frames += 1;
            (0, room)
        });
        if objects + 1 < self.most {
            self.open[objects + 1][free - chunks] += 1;
        }
    }

    /// Takes the frame with the least room that suffices, of those the one with most objects;
    /// returns how many, and its room.
    fn take(&mut self, chunks: usize) -> Option<(usize, usize)> {
        for free in chunks..CHUNKS {
            for objects in (1..self.most).rev() {
                if self.open[objects][free] > 0 {
                    self.open[objects][free] -= 1;
                    return Some((objects, free));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(page: PageSize, lengths: &[usize]) -> Vec<u64> {
        let mut models = Models::new(page);
        lengths.iter().for_each(|&len| models.add(len));
        let models = models.models();
        models
            .iter()
            .map(|model| model.frame_bytes / page.bytes() as u64)
            .collect()
    }

    /// Facts of Linux with chains of 8: 255 classes, 119 of them distinct, 3624 bytes the longest
    /// object that shares a frame.
    #[test]
    fn the_geometry_is_that_of_linux() {
        let model = Zsmalloc::new(4096, 8);
        assert_eq!(model.classes(), 255);
        let shapes: Vec<Shape> = (0..255).map(|class| model.shape(class)).collect();
        assert_eq!(shapes.chunk_by(|one, next| one == next).count(), 119);
        let alone = Shape {
            frames: 1,
            slots: 1,
        };
        let shape = |len| model.shape(model.class_of(len));
        assert_ne!(shape(3624), alone);
        assert_eq!(shape(3625), alone);
        assert_eq!((shape(4089), shape(4096)), (alone, alone));
        assert_eq!(model.size(model.class_of(1)), 32);
        assert_eq!(model.size(model.class_of(24)), 32);
        assert_eq!(model.size(model.class_of(25)), 48);
    }

    /// 1000 + 8 bytes are of class 1008: a frame has 4 and wastes 64 bytes, up to eight waste no
    /// less; sixteen have 65 and waste 16.
    #[test]
    fn five_objects_of_a_thousand_bytes() {
        // zbud: 16 chunks each of 63: two a frame. z3fold: 16 of 62: three.
        assert_eq!(bytes(PageSize::K4, &[1000; 5]), [2, 2, 16, 3, 2]);
        // In frames of 16 KiB, steps of 64: class 1056, of which two frames have 31 and waste 32,
        // and none wastes less.
        assert_eq!(bytes(PageSize::K16, &[1000; 5]), [2, 2, 2, 3, 2]);
    }

    /// 2100 + 8 is of class 2112: one a frame wastes 1984; two frames have 3 and waste 1856; three
    /// 5 and 1728; four 7 and 1600; eight 15 and 1088; sixteen 31 and 64.
    #[test]
    fn longer_chains_waste_less() {
        let frames = bytes(PageSize::K4, &[2100; 31]);
        assert_eq!(frames, [20, 24, 16, 31, 31]);
        // 33 chunks: two do not fit into 63.
    }

    #[test]
    fn the_frame_with_least_room_is_taken() {
        // zbud, of 63 chunks: 40 leaves 23, 30 leaves 33; 20 goes to the 40, and 33 to the 30: two
        // frames. z3fold, of 62: 40 leaves 22, 30 leaves 32; 20 to the 40, which leaves 2;
        // 33 finds none: three frames; 2 is the 40's.
        let lengths = [40, 30, 20, 33, 2].map(|chunks| chunks * 64);
        assert_eq!(bytes(PageSize::K4, &lengths)[3..], [3, 3]);
        // zbud's third frame is for the last object alone: two frames have two each.
        assert_eq!(bytes(PageSize::K4, &lengths[..4])[3..], [2, 3]);
    }

    #[test]
    fn what_is_too_long_takes_a_frame() {
        // zbud takes up to 4096 - 2 * 64, z3fold up to 4096 - 3 * 64; a frame is left with a chunk
        // of room.
        for (len, frames) in [
            (3904, [1, 1]),
            (3905, [1, 2]),
            (3968, [1, 2]),
            (3969, [2, 2]),
            (4096, [2, 2]),
        ] {
            assert_eq!(bytes(PageSize::K4, &[len, 64])[3..], frames, "{len}");
        }
        assert_eq!(bytes(PageSize::K4, &[4096]), [1; 5]);
        assert_eq!(bytes(PageSize::K4, &[]), [0; 5]);
    }
}
