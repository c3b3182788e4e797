//! Any bytes as a compressed page, and as a page, by lz4.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::lz4(bytes);
});
