//! Any bytes as a file of pages and as a `.zst` file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::unpack(bytes);
});
