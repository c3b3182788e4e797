//! Operations on handle pools, against the model.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::handle_pools);
