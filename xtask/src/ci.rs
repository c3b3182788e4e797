//! `ci`: every step in order, cheap ones first.

use std::time::Instant;

use clap::ValueEnum as _;

use crate::cli::{CiArgs, Step};
use crate::report;
use crate::workspace::Workspace;

/// Runs the steps and says whether all of them passed.
pub(crate) fn run(workspace: &Workspace, args: &CiArgs) -> bool {
    let start = Instant::now();
    // The order of the enum is the order of the run.
    let steps: Vec<Step> = Step::value_variants()
        .iter()
        .copied()
        .filter(|step| !args.skip.contains(step))
        .collect();
    let mut passed = 0;
    let mut failed = Vec::new();
    let mut times = Vec::new();
    for step in &steps {
        println!("== {}", step.name());
        let begun = Instant::now();
        if report::step(step.name(), || step.run(workspace)) {
            passed += 1;
        } else {
            failed.push(step.name());
        }
        times.push((step.name(), begun.elapsed().as_secs_f64()));
        if !failed.is_empty() && !args.keep_going {
            break;
        }
    }
    println!("== times");
    for (name, seconds) in &times {
        let verdict = if failed.contains(name) {
            "FAIL"
        } else {
            "PASS"
        };
        println!("{verdict} {name:<9} {seconds:>7.1} s");
    }
    println!("total {:>13.1} s", start.elapsed().as_secs_f64());
    println!("{}", closing_line(passed, failed.len(), steps.len()));
    failed.is_empty()
}

fn closing_line(passed: usize, failed: usize, steps: usize) -> String {
    match steps - passed - failed {
        0 => format!("ci: {passed} passed, {failed} failed"),
        rest => format!("ci: {passed} passed, {failed} failed, {rest} not run"),
    }
}

#[cfg(test)]
mod tests {
    use super::closing_line;

    #[test]
    fn the_closing_line_tells_what_did_not_run() {
        assert_eq!(closing_line(11, 0, 11), "ci: 11 passed, 0 failed");
        assert_eq!(closing_line(3, 1, 11), "ci: 3 passed, 1 failed, 7 not run");
    }
}
