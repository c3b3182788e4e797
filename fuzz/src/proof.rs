//! Seeded faults: a fuzzer that does not find them in a bounded number of runs is broken.

use crate::ops::drive;
use core::hint::black_box;
use zs_model::{Environment, World};
use zsmalloc::HandleTable;
use zstd_safe::zstd_sys::ZSTD_getFrameContentSize;

/// Tells libzstd of 8 bytes more than there are, if the first bytes are "zspage".
///
/// The bytes are compared one by one: blind tries would need 2^48 runs, a fuzzer that sees each
/// further branch needs some ten thousand. The read is made by C code: it is reported only if that
/// was built with the sanitizer, too.
pub fn over_read(bytes: &[u8]) {
    let [b'z', rest @ ..] = bytes else { return };
    let [b's', rest @ ..] = rest else { return };
    let [b'p', rest @ ..] = rest else { return };
    let [b'a', rest @ ..] = rest else { return };
    let [b'g', rest @ ..] = rest else { return };
    let [b'e', rest @ ..] = rest else { return };
    // SAFETY: none. This is the seeded fault.
    let size = unsafe { ZSTD_getFrameContentSize(rest.as_ptr().cast(), rest.len() + 8) };
    black_box(size);
}

/// Operations on handle pools, in an environment that never admits the faults that it injected: the
/// driver must then find a lack of memory that nothing explains.
///
/// # Panics
/// When the seeded fault is found.
pub fn forgotten_faults(bytes: &[u8]) {
    drive::<HandleTable, _>(bytes, Forgetful);
}

/// A world that forgets which calls it made to fail.
struct Forgetful(World);

impl Environment for Forgetful {
    fn fail_commits(&self, after: u64, lasting: bool) {
        self.0.fail_commits(after, lasting);
    }

    fn clear_faults(&self) {
        self.0.clear_faults();
    }
}
