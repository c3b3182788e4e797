//! A seeded fault: see `fuzz::over_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::over_read(bytes);
});
