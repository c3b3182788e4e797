//! Blocks of one repeated word.

/// Returns the 8-byte word (in the machine's order of bytes) of which the block is made, if it is
/// made of one.
pub(crate) fn same_filled(block: &[u8]) -> Option<u64> {
    let (words, rest) = block.as_chunks::<8>();
    debug_assert!(rest.is_empty(), "blocks are whole words");
    let (first, last) = (words.first()?, words.last()?);
    // Most blocks that are not same-filled differ here.
    if first != last || words.iter().any(|word| word != first) {
        return None;
    }
    Some(u64::from_ne_bytes(*first))
}

/// Fills a part of a block of one word, beginning `at` bytes into it.
pub(crate) fn fill(pattern: u64, at: usize, out: &mut [u8]) {
    if pattern == 0 {
        out.fill(0);
        return;
    }
    let bytes = pattern.to_ne_bytes();
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = bytes[(at + index) % 8];
    }
}
