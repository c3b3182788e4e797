//! Any bytes as a dictionary.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::dictionary);
