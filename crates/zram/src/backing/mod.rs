//! The file that blocks are written back to.
//!
//! | module | responsibility |
//! |---|---|
//! | `attached` | a store's backing, and the bounds of what is written to it |
//! | `file` | the file or device |
//! | `place` | the file in use: parts taken and freed, holes punched |
//! | `punching` | the hole under way, which outlives a store |
//! | `extents`, `dead` | which parts are taken, and which hold nothing any more |
//! | `record` | what a block looks like there |
//! | `writers` | the threads that write |

pub(crate) mod attached;
pub(crate) mod dead;
pub(crate) mod extents;
pub(crate) mod file;
pub(crate) mod lock;
pub(crate) mod place;
pub(crate) mod punching;
pub(crate) mod record;
pub(crate) mod writers;
