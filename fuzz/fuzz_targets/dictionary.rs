//! Any bytes as a dictionary.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::dictionary(bytes);
});
