//! Bytes that are told apart by a seed.

/// `len` bytes that follow from `seed`; none of them is 0, and no two seeds or offsets look alike.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < len {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(seed | 1);
        // The lowest bit of every byte is set: no byte is 0.
        bytes.extend_from_slice(&(state ^ state >> 29 | 0x0101_0101_0101_0101).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A generator of numbers that look random, and are the same in every run of a seed.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Returns the generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn draw(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns the next number, below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    /// `len` bytes: what [`Op::decode`](crate::Op::decode) makes operations of.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.draw() >> 32) as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn patterns_differ_by_seed_and_have_no_zero() {
        let (one, two) = (pattern(1, 4096), pattern(2, 4096));
        assert_ne!(one, two);
        assert!(one.iter().chain(&two).all(|&byte| byte != 0));
        assert_eq!(one[..100], pattern(1, 100));
        assert_ne!(one[..2048], one[2048..]);
    }
}
