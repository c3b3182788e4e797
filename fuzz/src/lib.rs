//! What the fuzz targets do with the bytes that they are given: each function here is one target.
//!
//! Data model: `bytes -> a few choices (the first bytes) + operations, a compressed page or a file
//! -> what the input met, or a panic`. A panic, a report of AddressSanitizer and a hang are finds.
//! `fuzz_targets/*.rs` hand bytes from libFuzzer to these functions, `tests/corpus.rs` hands them
//! the committed seeds, and `examples/seeds.rs` writes those.
//!
//! | module | targets |
//! |---|---|
//! | `ops` | `ops`, `ops_client_words`: pools against the reference model |
//! | `codec` | `lz4`, `zstd`: hostile compressed pages, and round trips |
//! | `unpack` | `unpack`: files of pages, plain and `.zst` |
//! | `nbd` | `nbd_handshake`, `nbd_requests`: what a client sends to the NBD server |
//! | `store` | `snapshot`, `dictionary`: what block stores read |
//! | `proof` | `proof_feedback`, `proof_mismatch`: seeded faults, by which the fuzzer is proved |

mod codec;
mod nbd;
mod ops;
mod proof;
mod store;
mod unpack;

pub use codec::{CodecReport, lz4, zstd};
pub use nbd::{NbdReport, nbd_handshake, nbd_requests};
pub use ops::{client_words, handle_pools};
pub use proof::{forgotten_faults, over_read};
pub use store::{dictionary, snapshot};
pub use unpack::unpack;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;

/// Makes a function the target of the fuzzer that this program is.
///
/// libFuzzer is C++ that takes long to compile, so an ordinary build (one without `--cfg fuzzing`)
/// has a program that says so instead.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $function(bytes);
        });

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::not_for_fuzzing()
        }
    };
}

/// Tells how a fuzz target is built.
#[cfg(not(fuzzing))]
#[doc(hidden)]
#[expect(clippy::print_stderr, reason = "it is the program's only output")]
pub fn not_for_fuzzing() -> std::process::ExitCode {
    eprintln!("error: built without --cfg fuzzing; run `cargo xtask fuzz` or `cargo fuzz run`");
    std::process::ExitCode::FAILURE
}
