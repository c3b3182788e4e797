//! Pages of one repeated word.

/// Returns the word of a page that repeats one 8-byte word. Such a page needs no storage.
///
/// The word is in the machine's byte order. Returns `None` for an empty page, and for one whose
/// length is no multiple of 8 bytes.
#[inline]
pub fn same_filled(page: &[u8]) -> Option<u64> {
    let (words, rest) = page.as_chunks::<8>();
    let (first, last) = (words.first()?, words.last()?);
    // Most pages that are not same-filled differ at their end, so the last word is compared first.
    let same = rest.is_empty() && first == last && words.iter().all(|word| word == first);
    same.then(|| u64::from_ne_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::same_filled;

    #[test]
    fn a_repeated_word_is_found() {
        assert_eq!(same_filled(&[0; 4096]), Some(0));
        assert_eq!(same_filled(&[0xab; 64]), Some(0xabab_abab_abab_abab));
        let word = 0x0123_4567_89ab_cdef_u64;
        assert_eq!(same_filled(&word.to_ne_bytes().repeat(512)), Some(word));
        assert_eq!(same_filled(&word.to_ne_bytes()), Some(word));
    }

    #[test]
    fn one_odd_byte_anywhere_is_found() {
        for at in 0..256 {
            let mut page = [7; 256];
            page[at] = 8;
            assert_eq!(same_filled(&page), None, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_row_of_words_is_not_same_filled() {
        assert_eq!(same_filled(&[]), None);
        assert_eq!(same_filled(&[0; 7]), None);
        assert_eq!(same_filled(&[0; 4097]), None);
    }
}
