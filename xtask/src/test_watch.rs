//! A limit of time for every test.
//!
//! Data model: `what the test harness prints -> which test is over its limit`. The harness itself
//! says when a test has been running for a minute. Where it runs one test at a time it does not,
//! but prints the test's name before it begins: then the unfinished line tells.

use std::time::{Duration, Instant};

/// What a test may take, in a run of the usual length.
const LIMIT: Duration = Duration::from_secs(60);

/// Tests that may take longer: the end of the name, the limit, and why.
const LONGER: [(&str, Duration, &str); 1] = [(
    "z28_resident_after_1_s_and_after_90",
    Duration::from_secs(180),
    "in a long run it looks again after 90 seconds, when khugepaged has been there",
)];

/// The tests of one run that may still be over their limits.
#[derive(Debug)]
pub(crate) struct TestWatch {
    /// Tests that the harness called slow, and when each must have ended.
    slow: Vec<(String, Instant)>,
    /// The test that runs alone, and when it must have ended.
    alone: Option<(String, Instant)>,
    /// What a test may take that is not on the list.
    limit: Duration,
}

impl TestWatch {
    /// Begins to watch a run whose tests are `factor` times as long as usual.
    pub(crate) fn new(factor: u32) -> Self {
        Self {
            slow: Vec::new(),
            alone: None,
            limit: LIMIT * factor.max(1),
        }
    }

    /// Takes note of a whole line.
    pub(crate) fn line(&mut self, line: &str, now: Instant) {
        self.alone = None;
        let line = line.trim_end();
        if line.starts_with("running ") {
            self.slow.clear();
        }
        let Some(rest) = line.strip_prefix("test ") else {
            return;
        };
        if let Some(name) = rest.strip_suffix(" has been running for over 60 seconds") {
            self.slow
                .push((name.to_owned(), now + self.limit(name) - LIMIT));
        } else if let Some((name, _verdict)) = rest.split_once(" ... ") {
            self.slow.retain(|(slow, _)| slow != name);
        }
    }

    /// Takes note of the start of a line whose end is not there yet.
    pub(crate) fn unfinished(&mut self, start: &str, now: Instant) {
        let name = start
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "));
        self.alone = name.map(|(name, _)| (name.to_owned(), now + self.limit(name)));
    }

    /// Returns a test that is over its limit.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&str> {
        self.slow
            .iter()
            .chain(&self.alone)
            .find(|(_, end)| now >= *end)
            .map(|(name, _)| name.as_str())
    }

    /// Returns what a test may take.
    pub(crate) fn limit(&self, name: &str) -> Duration {
        let longer = LONGER.iter().find(|(end, _, _)| name.ends_with(end));
        longer.map_or(self.limit, |(_, limit, _)| self.limit.max(*limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(1);
    const SLOW: &str = "test a::b has been running for over 60 seconds\n";

    #[test]
    fn a_test_that_the_harness_calls_slow_is_overdue_until_it_ends() {
        let now = Instant::now();
        let mut watch = TestWatch::new(1);
        watch.line("running 2 tests\n", now);
        assert_eq!(watch.overdue(now), None);
        watch.line(SLOW, now);
        assert_eq!(watch.overdue(now), Some("a::b"));
        watch.line("test a::c ... ok\n", now);
        assert_eq!(watch.overdue(now), Some("a::b"));
        watch.line("test a::b ... ok\n", now);
        assert_eq!(watch.overdue(now), None);
    }

    #[test]
    fn a_longer_run_gets_more_time() {
        let now = Instant::now();
        let mut watch = TestWatch::new(3);
        watch.line(SLOW, now);
        assert_eq!(watch.overdue(now + Duration::from_secs(119)), None);
        assert_eq!(watch.overdue(now + Duration::from_secs(120)), Some("a::b"));
    }

    #[test]
    fn a_test_on_the_list_gets_more_time() {
        let (name, limit, _) = LONGER[0];
        let now = Instant::now();
        let mut watch = TestWatch::new(1);
        watch.line(
            &format!("test slow::{name} has been running for over 60 seconds"),
            now,
        );
        assert_eq!(watch.overdue(now + limit - LIMIT - LOOK), None);
        assert!(watch.overdue(now + limit - LIMIT).is_some());
    }

    #[test]
    fn a_test_that_runs_alone_is_overdue_when_its_line_stays_unfinished() {
        let now = Instant::now();
        let mut watch = TestWatch::new(1);
        watch.unfinished("test a::b ... ", now);
        assert_eq!(watch.overdue(now + Duration::from_secs(59)), None);
        assert_eq!(watch.overdue(now + LIMIT), Some("a::b"));
        watch.line("test a::b ... ok\n", now);
        assert_eq!(watch.overdue(now + LIMIT), None);
    }

    #[test]
    fn other_text_is_nobodys_test() {
        let now = Instant::now();
        let mut watch = TestWatch::new(1);
        watch.unfinished("   Compiling zs", now);
        watch.line("testing for over 60 seconds", now);
        assert_eq!(watch.overdue(now + 2 * LIMIT), None);
    }

    #[test]
    fn a_new_program_has_nothing_to_do_with_the_last_ones_tests() {
        let now = Instant::now();
        let mut watch = TestWatch::new(1);
        watch.line(SLOW, now);
        watch.line("running 1 test\n", now);
        assert_eq!(watch.overdue(now), None);
    }
}
