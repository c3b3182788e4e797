//! Objects that are longer than what is stored in them: what became shorter when there was no
//! memory for a shorter object.
//!
//! ```text
//! compressed bytes | unused | [padding: 2] | 1 to 62, or 63: see before << 2, algorithm: 2 bits
//! ```
//!
//! The last byte tells how many bytes the padding has, itself included. So what is one byte shorter
//! can be padded, too.

use crate::block::content::Form;

/// The number that says that the two bytes before tell it.
const LONG: usize = 63;

/// Fills an object that begins with the `len` bytes which this algorithm compressed. False if it is
/// no longer than that: it needs no padding.
pub(crate) fn pad(object: &mut [u8], len: usize, algorithm: u8) -> bool {
    let padding = object.len() - len;
    let Some((last, rest)) = object[len..].split_last_mut() else {
        return false;
    };
    rest.fill(0);
    let told = padding.min(LONG);
    *last = (told << 2) as u8 | algorithm & 3;
    if told == LONG
        && let Some(long) = rest.last_chunk_mut()
    {
        // Less than a block.
        *long = (padding as u16).to_le_bytes();
    }
    true
}

/// Returns the algorithm of a padded object, and the bytes that it compressed; `None` if it is
/// none.
pub(crate) fn unpad(object: &[u8]) -> Option<(Form, &[u8])> {
    let (last, rest) = object.split_last()?;
    let padding = match usize::from(last >> 2) {
        LONG => u16::from_le_bytes(*rest.last_chunk()?).into(),
        told => told,
    };
    let len = object.len().checked_sub(padding)?;
    (padding > 0).then_some((Form::Compressed(last & 3), &object[..len]))
}

/// Returns what is stored, without padding.
pub(crate) fn strip(form: Form, object: &[u8]) -> (Form, &[u8]) {
    match form {
        Form::Padded => unpad(object).unwrap_or((form, object)),
        _ => (form, object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_padded_is_found_again() {
        for len in [1, 2, 63, 64, 65, 66, 4000, 65_534] {
            for longer in [1, 2, 61, 62, 63, 64, 65, 66, 500, 65_535 - len] {
                for algorithm in 0..4 {
                    let mut object = vec![7; len + longer];
                    assert!(pad(&mut object, len, algorithm));
                    let found = unpad(&object).expect("padded");
                    assert_eq!(found, (Form::Compressed(algorithm), &vec![7; len][..]));
                }
            }
            assert!(!pad(&mut vec![7; len], len, 0));
        }
    }

    #[test]
    fn what_is_not_padded_is_refused() {
        for object in [&[][..], &[0], &[3], &[2 << 2], &[63 << 2], &[9, 9, 63 << 2]] {
            assert_eq!(unpad(object), None, "{object:?}");
        }
    }
}
