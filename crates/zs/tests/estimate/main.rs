//! `zs estimate`, and what `zs capture` has in common with it.
//!
//! | module | of what |
//! |---|---|
//! | `figures` | files: what is measured and printed |
//! | `after_free` | `--free` |
//! | `sparse` | files with holes |
//! | `places` | what is missing or shut in the system |
//! | `mounts` | the tool among mounts of its own |
//! | `processes` | processes that run |
//! | `shared_memory` | their shared memory |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what they skip"
)]

#[path = "../common/mod.rs"]
mod common;

mod after_free;
mod figures;
mod mounts;
mod places;
mod processes;
mod shared_memory;
mod sparse;
