//! Any bytes as a file of pages and as a `.zst` file.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::unpack);
