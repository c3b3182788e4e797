//! Any bytes as what a client of the NBD server sends: handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::nbd_handshake(bytes);
});
