//! Verdict lines: one `PASS` or `FAIL` a step, with its time and the command that repeats it.

use std::fmt;
use std::time::Instant;

use anyhow::Result;

/// A failed command, and how to run it again by hand.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    repeat: String,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>, repeat: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            repeat: repeat.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// Runs one step, prints its verdict and says whether it passed.
pub(crate) fn step(name: &str, run: impl FnOnce() -> Result<String>) -> bool {
    let start = Instant::now();
    let outcome = run();
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(note) if note.is_empty() => println!("PASS {name} ({seconds:.1} s)"),
        Ok(note) => println!("PASS {name}: {note} ({seconds:.1} s)"),
        Err(error) => {
            println!("FAIL {name}: {error:#} ({seconds:.1} s)");
            match error.downcast_ref::<Failure>() {
                Some(failure) => println!("repeat: {}", failure.repeat),
                None => println!("repeat: cargo xtask {name}"),
            }
            return false;
        }
    }
    true
}
