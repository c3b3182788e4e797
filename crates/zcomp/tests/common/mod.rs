//! What the tests compress, and with what.

use zcomp::Algorithm;

/// Every codec; zstd at levels with different match finders.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
pub(crate) fn algorithms() -> Vec<Algorithm> {
    let names = [
        "lz4",
        "lz4hc:3",
        "lz4hc",
        "lz4hc:12",
        "zstd:-7",
        "zstd",
        "zstd:3",
        "zstd:16",
        "deflate:1",
        "deflate",
        "deflate:12",
        "none",
    ];
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Pages of `len` bytes, from all zero to random, with this test's own machine code in between.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
pub(crate) fn pages(len: usize) -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let mut fill = |mut word: Box<dyn FnMut(u64, u64) -> u64>| -> Vec<u8> {
        let words = (0..len as u64).step_by(8).map(|i| word(i, random.next()));
        words.flat_map(u64::to_le_bytes).take(len).collect()
    };
    let mut pages = vec![
        fill(Box::new(|_, _| 0)),
        fill(Box::new(|i, _| i)),
        fill(Box::new(|_, r| r)),
        // Pointers into one heap, a sparse page, text of eight words, and one with a random end.
        fill(Box::new(|_, r| 0x7f3a_5c00_0000 | (r & 0xf_fff8))),
        fill(Box::new(|_, r| if r.is_multiple_of(16) { r } else { 0 })),
        fill(Box::new(|_, r| {
            u64::from_le_bytes(*b"the page") << (r & 0x38)
        })),
        fill(Box::new(move |i, r| if i < len as u64 / 2 { 7 } else { r })),
    ];
    let code = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let every = code.len() / 8;
    pages.extend((0..8).filter_map(|i| code.get(i * every..)?.get(..len).map(<[u8]>::to_vec)));
    pages
}

/// Random enough numbers, the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
