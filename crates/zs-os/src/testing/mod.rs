//! Backings and a host for tests: slow, strict or failing on purpose, never for production.
//!
//! They are public because the tests of other crates use them.
//!
//! | module | responsibility |
//! |---|---|
//! | `heap` | ordinary memory: any granule, any sanitizer, models; poisons what is given back |
//! | `strict` | mappings: touching memory that is not committed faults |
//! | `call` | calls to a backing |
//! | `watched` | a wrapper: its watcher sees each call, and may fail it |
//! | `fault` | a watcher: fails calls on demand, checks that no lock is held |
//! | `record` | a watcher: keeps a list of the calls |
//! | `test_host` | a host whose clock and CPU are set by hand |

mod call;
mod fault;
mod heap;
mod record;
mod strict;
mod test_host;
mod watched;

pub use call::{Call, Recorded};
pub use fault::{Fault, FaultBacking, FaultControl};
pub use heap::{HeapBacking, POISON};
pub use record::{Recording, RecordingBacking};
pub use strict::StrictBacking;
pub use test_host::TestHost;
pub use watched::{WatchedBacking, Watcher};
