//! Any bytes as a compressed page, and as a page, by zstd.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::zstd);
