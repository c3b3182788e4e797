//! What the fuzz targets do with the bytes that they are given: each function here is one target.
//!
//! Data model: `bytes -> a few choices (the first bytes) + operations, a compressed page or a file ->
//! what the input met, or a panic`. A panic, a report of AddressSanitizer and a hang are finds.
//! `fuzz_targets/*.rs` hand bytes from libFuzzer to these functions, `tests/corpus.rs` hands them the
//! committed seeds, and `examples/seeds.rs` writes those.
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
