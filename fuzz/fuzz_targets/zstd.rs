//! Any bytes as a compressed page, and as a page, by zstd.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::zstd(bytes);
});
