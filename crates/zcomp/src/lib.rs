//! Compression backends and per-thread streams: a page in, fewer bytes out, and back.
//!
//! LZ4 blocks, zstd frames, deflate streams and plain copies behind one [`Stream`]. A stream owns
//! its working memory, so a call allocates nothing; a result that does not fit the caller's buffer
//! is an answer, not an error; whatever bytes are handed to [`Stream::decompress`], it returns.
//!
//! ```text
//! "zstd:3" -> Algorithm -> Stream (one thread's state) -> Compressed::Fits(length) | Compressed::DoesNotFit
//!                          Streams (a stream for whichever thread asks)
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `algorithm` | [`Algorithm`]: its names, its levels, its worst case |
//! | `stream` | [`Stream`], and the trait that each codec implements |
//! | `streams` | [`Streams`]: as many streams as threads compress at once |
//! | `lz4`, `lz4hc`, `zstd`, `deflate`, `none` | one codec each |
//! | `dictionary` | [`Dictionary`]: what pages have in common, for zstd |
//! | `error` | [`Error`] |
//!
//! A codec joins with a file of its own, a variant of [`Algorithm`], and an arm in each `match` on
//! it.
//!
//! ```
//! use zcomp::{Algorithm, Compressed, Stream};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let page = [7u8; 4096];
//! let mut stream = Stream::new("lz4".parse()?, page.len())?;
//!
//! let mut room = [0u8; 4095];
//! let Compressed::Fits(len) = stream.compress(&page, &mut room)? else {
//!     return Err("better kept as it is".into());
//! };
//! let mut back = [0u8; 4096];
//! stream.decompress(&room[..len], &mut back)?;
//! assert_eq!(back, page);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod algorithm;
mod codec;
mod deflate;
mod dictionary;
mod error;
mod levels;
mod lz4;
mod lz4hc;
mod none;
mod stream;
mod streams;
mod zstd;

pub use algorithm::{Algorithm, ParseAlgorithmError};
pub use codec::{Compressed, MAX_PAGE_LEN};
pub use dictionary::{Dictionary, MAX_DICTIONARY_LEN};
pub use error::Error;
pub use levels::{DeflateLevel, Lz4hcLevel, ZstdLevel};
pub use stream::Stream;
pub use streams::Streams;
