//! Wall and CPU time of a page.

use super::sizes::PAGE;
use crate::machine::thread_cpu;
use anyhow::{Context as _, Result};
use std::time::{Duration, Instant};

/// Nanoseconds a page of [`PAGE`] bytes, however large the requests are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    pub(super) wall: f64,
    /// Of all threads together, in the program and in the system.
    pub(super) cpu: f64,
}

impl Cost {
    fn new(bytes: usize, wall: Duration, cpu: Duration) -> Self {
        let each = |time: Duration| time.as_nanos() as f64 / (bytes / PAGE) as f64;
        Self {
            wall: each(wall),
            cpu: each(cpu),
        }
    }
}

/// When one thread was at work, and its CPU time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worked {
    start: Instant,
    end: Instant,
    cpu: Duration,
}

/// What a pass of the calling thread takes.
pub(super) fn worked(pass: impl FnOnce() -> Result<()>) -> Result<Worked> {
    let (cpu, start) = (thread_cpu(), Instant::now());
    pass()?;
    let end = Instant::now();
    let cpu = thread_cpu() - cpu;
    Ok(Worked { start, end, cpu })
}

/// What threads took together: from the first one's start to the last one's end.
pub(super) fn together(bytes: usize, threads: &[Worked]) -> Result<Cost> {
    let start = threads.iter().map(|worked| worked.start).min();
    let end = threads.iter().map(|worked| worked.end).max();
    let (start, end) = start.zip(end).context("nobody worked")?;
    let cpu = threads.iter().map(|worked| worked.cpu).sum();
    Ok(Cost::new(bytes, end - start, cpu))
}

/// A pass of the calling thread over so many bytes.
pub(super) fn cost(bytes: usize, pass: impl FnOnce() -> Result<()>) -> Result<Cost> {
    together(bytes, &[worked(pass)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_overlap_in_wall_time_and_add_up_in_cpu_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let worked = |from, to, cpu| Worked {
            start: at(from),
            end: at(to),
            cpu: Duration::from_millis(cpu),
        };
        let cost = together(10 * PAGE, &[worked(1, 5, 3), worked(0, 4, 4)]).unwrap();
        assert_eq!((cost.wall, cost.cpu), (500_000.0, 700_000.0));
        assert!(together(PAGE, &[]).is_err());
    }
}
