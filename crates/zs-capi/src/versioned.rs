//! Structs that grow from one version of the library to the next.
//!
//! A struct crosses the border together with the caller's `sizeof`. A field is only ever added at
//! the end, and reads as zero where one side does not know it: an old program gets the part that it
//! knows, and a new one sees zeros in what an old library does not.

use crate::border::Out;
use crate::result::zs_result::ZS_NULL;
use crate::result::{invalid, zs_result};
use core::mem::{MaybeUninit, size_of};
use core::{ptr, slice};

/// A struct that may be longer on the other side.
///
/// # Safety
/// `repr(C)` without padding, and valid whatever its bytes are; all zeros mean the defaults.
pub(crate) unsafe trait Versioned: Copy {
    /// Its size in the first version: less is no such struct.
    const FIRST_SIZE: usize;
    /// Its name, for reports.
    const NAME: &str;
}

/// No version will ever be longer; a size beyond it is none.
const LONGEST: usize = 4096;

fn check_size<T: Versioned>(size: usize) -> Result<(), zs_result> {
    if !(T::FIRST_SIZE..=LONGEST).contains(&size) {
        let (name, least) = (T::NAME, T::FIRST_SIZE);
        return Err(invalid(format!(
            "size {size} of {name}: {least} (its sizeof) to {LONGEST} are allowed"
        )));
    }
    Ok(())
}

/// The options that C hands in.
///
/// # Safety
/// `options` is NULL, or `size` readable bytes are there, which nobody changes meanwhile.
pub(crate) unsafe fn options<T: Versioned>(options: *const T, size: usize) -> Result<T, zs_result> {
    if options.is_null() {
        return Err(ZS_NULL);
    }
    check_size::<T>(size)?;
    // SAFETY: 1. Readable and unchanged by contract. 2. `size` is far below `isize::MAX`.
    let given = unsafe { slice::from_raw_parts(options.cast::<u8>(), size) };
    let (known, rest) = given.split_at(size.min(size_of::<T>()));
    if let Some(at) = rest.iter().position(|&byte| byte != 0) {
        let (name, at) = (T::NAME, known.len() + at);
        return Err(invalid(format!(
            "{name}: byte {at} is set, but this version of the library knows {} bytes",
            known.len()
        )));
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` is at most as long as `copy`.
    unsafe { ptr::copy_nonoverlapping(known.as_ptr(), copy.as_mut_ptr().cast(), known.len()) };
    // SAFETY: valid whatever its bytes are.
    Ok(unsafe { copy.assume_init() })
}

/// A place for a struct in C's memory, as long as C says.
pub(crate) struct Answer<T> {
    place: Out<T>,
    size: usize,
}

impl<T: Versioned> Answer<T> {
    /// A place that must be there.
    ///
    /// # Safety
    /// `place` is NULL, or `size` bytes there are writable for as long as the value lives.
    pub(crate) unsafe fn new(place: *mut T, size: usize) -> Result<Self, zs_result> {
        // SAFETY: by this function's contract, as far as `fill` makes use of it.
        let place = unsafe { Out::new(place) }?;
        check_size::<T>(size)?;
        Ok(Self { place, size })
    }

    /// The bytes of the struct that both sides know.
    pub(crate) fn known(&self) -> u64 {
        self.size.min(size_of::<T>()) as u64
    }

    /// Writes as much of `value` as C has room for, and zeros beyond it.
    pub(crate) fn fill(&self, value: T) {
        let known = self.size.min(size_of::<T>());
        let place = self.place.as_ptr().cast::<u8>();
        // SAFETY: `known` bytes are in `value`, and writable by the contract of `new`.
        unsafe { ptr::copy_nonoverlapping((&raw const value).cast(), place, known) };
        // SAFETY: `known` is at most `size`, and so many bytes are writable.
        let rest = unsafe { place.add(known) };
        // SAFETY: these are the rest of the `size` bytes.
        unsafe { ptr::write_bytes(rest, 0, self.size - known) };
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use crate::result::zs_result::ZS_INVALID;

    #[repr(C)]
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Two {
        first: u64,
        second: u64,
    }

    // SAFETY: two numbers; `first` was there in the first version.
    unsafe impl Versioned for Two {
        const FIRST_SIZE: usize = 8;
        const NAME: &str = "two";
    }

    fn read(from: &[u64]) -> Result<Two, zs_result> {
        // SAFETY: the slice is as long as that.
        unsafe { options(from.as_ptr().cast(), size_of_val(from)) }
    }

    #[test]
    fn options_of_other_versions_are_read_as_far_as_both_sides_know_them() {
        let (first, second) = (1, 2);
        assert_eq!(read(&[1]), Ok(Two { first, second: 0 }));
        assert_eq!(read(&[1, 2]), Ok(Two { first, second }));
        assert_eq!(read(&[1, 2, 0]), Ok(Two { first, second }));
        assert_eq!(read(&[1, 2, 1 << 63]), Err(ZS_INVALID), "unknown option");
        for wrong in [0, 7, LONGEST + 1, usize::MAX] {
            // SAFETY: refused before anything is read.
            let refused = unsafe { options::<Two>([0_u64].as_ptr().cast(), wrong) };
            assert_eq!(refused, Err(ZS_INVALID));
        }
        // SAFETY: NULL.
        assert_eq!(unsafe { options::<Two>(ptr::null(), 16) }, Err(ZS_NULL));
    }

    #[test]
    fn answers_are_as_long_as_the_caller_says() {
        let value = Two {
            first: 1,
            second: 2,
        };
        for (words, expected) in [(1, [1, 9, 9]), (2, [1, 2, 9]), (3, [1, 2, 0])] {
            let mut place = [9_u64; 3];
            // SAFETY: the array has so many words.
            let answer = unsafe { Answer::<Two>::new(place.as_mut_ptr().cast(), 8 * words) };
            answer.expect("a place").fill(value);
            assert_eq!(place, expected);
        }
        // SAFETY: refused before anything is written.
        let short = unsafe { Answer::<Two>::new([0_u64].as_mut_ptr().cast(), 0) };
        assert_eq!(short.err(), Some(ZS_INVALID));
    }
}
