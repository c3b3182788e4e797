//! Pointers that C holds, and whether they name something.
//!
//! What C has for a pointer is the address of a slot in a table of the library's: it is compared
//! with the table's bounds before anything is read, so that a wild pointer is an error and no
//! crash. A slot is used again as late as possible, so that a pointer to what was destroyed is an
//! error, too, until so many others were made.

use crate::result::zs_result;
use crate::result::zs_result::{ZS_GONE, ZS_NULL, ZS_TOO_MANY};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Up to `N` values of a type that C names by pointers.
pub(crate) struct Registry<T, const N: usize> {
    slots: [AtomicPtr<T>; N],
    /// The slot at which the search for a free one begins.
    next: AtomicUsize,
}

impl<T: Send + Sync, const N: usize> Registry<T, N> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; N],
            next: AtomicUsize::new(0),
        }
    }

    /// Takes a value in; returns the pointer that names it, whose target is nobody's business.
    pub(crate) fn insert<C>(&'static self, value: T) -> Result<*mut C, zs_result> {
        let value = Box::into_raw(Box::new(value));
        // Relaxed, here and below: only where the search begins.
        let first = self.next.load(Ordering::Relaxed);
        for step in 0..N {
            let at = (first + step) % N;
            let slot = &self.slots[at];
            // Release pairs with the Acquire in `get`: the value is seen whole.
            let empty = ptr::null_mut();
            if slot
                .compare_exchange(empty, value, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                self.next.store(at + 1, Ordering::Relaxed);
                return Ok(ptr::from_ref(slot).cast::<C>().cast_mut());
            }
        }
        // SAFETY: it came from `into_raw` above, and no slot has it.
        drop(unsafe { Box::from_raw(value) });
        Err(ZS_TOO_MANY)
    }

    /// The slot that C's pointer is the address of.
    #[inline]
    fn slot<C>(&self, name: *const C) -> Result<&AtomicPtr<T>, zs_result> {
        if name.is_null() {
            return Err(ZS_NULL);
        }
        let size = size_of::<AtomicPtr<T>>();
        let offset = name.addr().wrapping_sub(self.slots.as_ptr().addr());
        let slot = self.slots.get(offset / size).ok_or(ZS_GONE)?;
        if offset.is_multiple_of(size) {
            Ok(slot)
        } else {
            Err(ZS_GONE)
        }
    }

    /// The object that a pointer names.
    ///
    /// # Safety
    /// If it names something, nobody [takes](Self::take) that during `'a`.
    #[inline]
    pub(crate) unsafe fn get<'a, C>(&self, name: *const C) -> Result<&'a T, zs_result> {
        // Acquire pairs with the Release in `insert`.
        let value = self.slot(name)?.load(Ordering::Acquire);
        // SAFETY: not NULL, so it is from `into_raw`, and by contract not taken meanwhile; others
        // have shared references only.
        unsafe { value.as_ref() }.ok_or(ZS_GONE)
    }

    /// Takes what a pointer names out; of several threads that try, one gets it.
    ///
    /// # Safety
    /// Nobody has a reference to it from [`get`](Self::get).
    pub(crate) unsafe fn take<C>(&self, name: *const C) -> Result<T, zs_result> {
        // Acquire pairs with the Release in `insert`.
        let value = self.slot(name)?.swap(ptr::null_mut(), Ordering::Acquire);
        if value.is_null() {
            return Err(ZS_GONE);
        }
        // SAFETY: from `into_raw`; the exchange gave it to this thread alone, and by contract
        // nobody refers to it.
        Ok(*unsafe { Box::from_raw(value) })
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    struct Name;

    #[test]
    fn pointers_name_what_they_were_given_for_until_it_is_taken() {
        static FEW: Registry<u32, 3> = Registry::new();
        let one: *mut Name = FEW.insert(1).expect("room");
        let two: *mut Name = FEW.insert(2).expect("room");
        // SAFETY: nobody takes it.
        assert_eq!(unsafe { FEW.get(one) }, Ok(&1));
        // SAFETY: the reference above is gone.
        assert_eq!(unsafe { FEW.take(one) }, Ok(1));
        // SAFETY: as above.
        assert_eq!(unsafe { FEW.take(one) }, Err(ZS_GONE));
        // SAFETY: nobody takes it.
        assert_eq!(unsafe { FEW.get(one) }, Err(ZS_GONE));
        let three: *mut Name = FEW.insert(3).expect("room");
        assert_ne!(three, one, "a slot is used again as late as possible");
        let four: *mut Name = FEW.insert(4).expect("room");
        assert_eq!(four, one);
        assert_eq!(FEW.insert::<Name>(5), Err(ZS_TOO_MANY));
        // SAFETY: nobody takes it.
        assert_eq!(unsafe { FEW.get(two) }, Ok(&2));
    }

    #[test]
    fn what_is_no_slots_address_is_refused_and_not_followed() {
        static FEW: Registry<u32, 2> = Registry::new();
        let one: *mut Name = FEW.insert(1).expect("room");
        let beside = |by: isize| one.wrapping_byte_offset(by);
        let wild = [
            beside(1),
            beside(-8),
            beside(16),
            ptr::without_provenance_mut(usize::MAX),
            ptr::without_provenance_mut(1),
        ];
        for pointer in wild {
            // SAFETY: nobody takes anything.
            assert_eq!(unsafe { FEW.get(pointer) }, Err(ZS_GONE));
        }
        // SAFETY: nobody takes anything.
        assert_eq!(unsafe { FEW.get(ptr::null::<Name>()) }, Err(ZS_NULL));
    }
}
