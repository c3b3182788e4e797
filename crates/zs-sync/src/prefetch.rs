//! A hint to the processor.

/// Asks for the cache line at the start of `value`, which will be used soon. A hint: it changes
/// nothing, and does nothing on machines other than x86-64.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, which changes nothing and never faults,
    // whatever the address.
    unsafe {
        let place = core::ptr::from_ref(value).cast();
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place);
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
