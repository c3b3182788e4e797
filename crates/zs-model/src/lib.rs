//! Operation enum, reference model and driver that tests, fuzzers and random schedules share
