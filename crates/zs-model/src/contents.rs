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
