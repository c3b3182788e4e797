//! Any bytes as a snapshot.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::snapshot);
