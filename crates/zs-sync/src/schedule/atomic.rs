//! Atomics that pass a point before each operation.

use super::{Kind, access, fails_spuriously, point};
use core::sync::atomic::{self, Ordering};

macro_rules! atomic {
    ($name:ident, $int:ident) => {
        /// The atomic of `core`, with a scheduling point before each operation.
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name(atomic::$name);

        #[expect(
            missing_docs,
            reason = "each method is that of the same name in `core`"
        )]
        #[expect(clippy::missing_errors_doc, reason = "as above")]
        impl $name {
            pub const fn new(value: $int) -> Self {
                Self(atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $int {
                point(Kind::Load);
                self.0.load(order)
            }

            pub fn store(&self, value: $int, order: Ordering) {
                point(Kind::Store);
                self.0.store(value, order);
            }

            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                point(Kind::Change);
                self.0.swap(value, order)
            }

            pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                point(Kind::Change);
                self.0.fetch_add(value, order)
            }

            pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                point(Kind::Change);
                self.0.fetch_sub(value, order)
            }

            pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                point(Kind::Change);
                self.0.fetch_and(value, order)
            }

            pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                point(Kind::Change);
                self.0.fetch_or(value, order)
            }

            pub fn fetch_xor(&self, value: $int, order: Ordering) -> $int {
                point(Kind::Change);
                self.0.fetch_xor(value, order)
            }

            pub fn fetch_max(&self, value: $int, order: Ordering) -> $int {
                point(Kind::Change);
                self.0.fetch_max(value, order)
            }

            pub fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                point(Kind::Change);
                self.0.compare_exchange(current, new, success, failure)
            }

            /// Fails now and then for no reason.
            pub fn compare_exchange_weak(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                if fails_spuriously() {
                    return Err(self.load(failure));
                }
                self.compare_exchange(current, new, success, failure)
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut next: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                let mut seen = self.load(fetch);
                while let Some(new) = next(seen) {
                    match self.compare_exchange_weak(seen, new, set, fetch) {
                        Ok(before) => return Ok(before),
                        Err(found) => seen = found,
                    }
                }
                Err(seen)
            }

            /// Returns the atomic itself, without points.
            pub(crate) fn native(&self) -> &atomic::$name {
                &self.0
            }

            /// Passes a point before an access that a lock guards; then returns the atomic itself.
            pub(crate) fn guarded(&self, write: bool) -> &atomic::$name {
                let place = core::ptr::from_ref(self).addr();
                access(place, size_of::<Self>(), write);
                self.native()
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
