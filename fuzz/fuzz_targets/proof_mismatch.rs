//! A seeded fault: see `fuzz::forgotten_faults`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::forgotten_faults(bytes);
});
