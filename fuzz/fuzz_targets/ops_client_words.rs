//! Operations on pools whose words are the client's own, against the model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::client_words(bytes);
});
