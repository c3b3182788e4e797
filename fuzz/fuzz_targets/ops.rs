//! Operations on handle pools, against the model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::handle_pools(bytes);
});
