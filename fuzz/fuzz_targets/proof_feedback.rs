//! A seeded fault: see `fuzz::over_read`.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::over_read);
