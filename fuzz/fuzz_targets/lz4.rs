//! Any bytes as a compressed page, and as a page, by lz4.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::lz4);
