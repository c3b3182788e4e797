//! What a run of a test says about a mutation.

use crate::command::Ended;
use crate::test_output::Counts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A test ran and failed: what every mutation must end with.
    Noticed,
    /// At least one test ran and all passed: what unchanged code must end with.
    Passed,
    NotBuilt,
    TimedOut,
    /// The target or the filter names no test.
    NoTest,
    /// It failed, but not as a test does.
    Unclear,
}

impl Verdict {
    /// Judges a run of a binary that was built.
    pub(super) fn of(ended: Ended, output: &str) -> Self {
        let counts = Counts::read(output);
        // Cargo's words for a test binary that aborted: no harness was left to print a result.
        let killed =
            output.contains("process didn't exit successfully") && output.contains("(signal: ");
        match ended {
            Ended::TimedOut => Self::TimedOut,
            _ if counts.announced == 0 => Self::NoTest,
            Ended::Passed if counts.passed == 0 => Self::NoTest,
            Ended::Passed => Self::Passed,
            Ended::Failed if counts.failed || killed => Self::Noticed,
            Ended::Failed => Self::Unclear,
        }
    }

    /// For the table.
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::Noticed => "noticed",
            Self::Passed => "NOT NOTICED",
            Self::NotBuilt => "NOT BUILT",
            Self::TimedOut => "TIMED OUT",
            Self::NoTest => "NO TEST",
            Self::Unclear => "UNCLEAR",
        }
    }

    /// For a line of its own.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Noticed => "noticed: a test failed",
            Self::Passed => "the tests passed",
            Self::NotBuilt => "it does not compile",
            Self::TimedOut => "the test did not end in time",
            Self::NoTest => "no test ran",
            Self::Unclear => "the run failed, but no test did",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = "running 1 test\n";

    fn after_start(ended: Ended, rest: &str) -> Verdict {
        Verdict::of(ended, &format!("{RUNNING}{rest}"))
    }

    #[test]
    fn a_failed_or_aborted_test_notices() {
        let failed = "test result: FAILED. 0 passed; 1 failed; 0 ignored;";
        assert_eq!(after_start(Ended::Failed, failed), Verdict::Noticed);
        let aborted = "process didn't exit successfully: `t` (signal: 6, SIGABRT: abort)";
        assert_eq!(after_start(Ended::Failed, aborted), Verdict::Noticed);
    }

    #[test]
    fn everything_else_does_not() {
        let passed = "test result: ok. 1 passed; 0 failed; 0 ignored;";
        assert_eq!(after_start(Ended::Passed, passed), Verdict::Passed);
        assert_eq!(after_start(Ended::TimedOut, ""), Verdict::TimedOut);
        assert_eq!(after_start(Ended::Failed, ""), Verdict::Unclear);
        let ignored = "test result: ok. 0 passed; 0 failed; 1 ignored;";
        assert_eq!(after_start(Ended::Passed, ignored), Verdict::NoTest);
    }

    #[test]
    fn a_run_without_tests_says_nothing() {
        let output = "running 0 tests\ntest result: ok. 0 passed; 0 failed; 0 ignored;";
        assert_eq!(Verdict::of(Ended::Passed, output), Verdict::NoTest);
        assert_eq!(
            Verdict::of(Ended::Failed, "error: linking"),
            Verdict::NoTest
        );
    }
}
