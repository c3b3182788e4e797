//! The whole store to a file, and back.
//!
//! ```text
//! header:  "zramsnap" | version: 4 | block size: 4 | size: 8 | four algorithms | checksum: 4
//! algorithm:  length of name: 1 (0: none) | name | length of dictionary: 4 | dictionary
//! record:  tag 1: same-filled | block: 4 | pattern: 8 | checksum: 4
//!          tag 2: object | block: 4 | form: 1 | length: 4 | bytes | checksum: 4
//!          tag 0: end | number of records: 4 | checksum: 4
//! ```
//!
//! Little-endian; patterns in the order of their bytes. Blocks come in order, each once; what is
//! not there is a hole. A checksum (CRC-32) covers its header or record. Objects are as they are
//! stored, so the algorithms with their dictionaries are part of it. Written-back blocks are read
//! back, shared ones written each; marks are left out.
//!
//! | module | responsibility |
//! |---|---|
//! | `save` | a store written |
//! | `load` | a store made, from bytes that may be anything |

mod load;
mod save;

pub use load::SnapshotOptions;

pub(crate) const MAGIC: [u8; 8] = *b"zramsnap";
pub(crate) const VERSION: u32 = 1;

const TAG_END: u8 = 0;
const TAG_SAME: u8 = 1;
const TAG_OBJECT: u8 = 2;
