//! Compression backends and per-thread streams
