//! A seeded fault: see `fuzz::forgotten_faults`.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::forgotten_faults);
