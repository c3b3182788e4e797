//! Reading what the test harness prints.

/// Sums over every test binary in one output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// From the lines `running N tests`.
    pub(crate) announced: u64,
    /// From the lines `test result:`.
    pub(crate) passed: u64,
    pub(crate) ignored: u64,
    /// Some binary printed `test result: FAILED`.
    pub(crate) failed: bool,
}

impl Counts {
    pub(crate) fn read(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines() {
            let line = line.trim();
            if let Some(number) = announced(line) {
                counts.announced += number;
            } else if let Some(result) = line.strip_prefix("test result: ") {
                counts.failed |= result.starts_with("FAILED");
                counts.passed += number_before(result, " passed");
                counts.ignored += number_before(result, " ignored");
            }
        }
        counts
    }
}

/// Returns which test of an output failed first, where, and what it said.
pub(crate) fn first_failure(output: &str) -> Option<String> {
    let mut lines = output.lines();
    let name = lines.find_map(|line| {
        line.strip_prefix("---- ")?
            .strip_suffix(" stdout ----")
            .map(str::to_owned)
    });
    let Some(name) = name else {
        let failed = |line: &str| {
            let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
            Some(format!("test {name} failed"))
        };
        return output.lines().find_map(failed);
    };
    let place = lines.find_map(|line| line.split_once(" panicked at "));
    Some(match (place, lines.next()) {
        (Some((_, place)), Some(words)) => format!("test {name} failed at {place} {words}"),
        _ => format!("test {name} failed"),
    })
}

/// N of `running N tests`.
fn announced(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("running ")?;
    let number = rest
        .strip_suffix(" tests")
        .or_else(|| rest.strip_suffix(" test"))?;
    number.parse().ok()
}

fn number_before(text: &str, word: &str) -> u64 {
    text.split(word)
        .next()
        .and_then(|head| head.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_binaries_add_up() {
        let output = "\nrunning 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 0 ignored; \
                      0 measured; 0 filtered out; finished in 0.00s\n\nrunning 1 test\n\
                      test result: FAILED. 0 passed; 1 failed; 3 ignored; 0 measured;\n";
        let expected = Counts {
            announced: 3,
            passed: 2,
            ignored: 3,
            failed: true,
        };
        assert_eq!(Counts::read(output), expected);
    }

    #[test]
    fn the_first_failure_is_told_with_its_place_and_words() {
        let output = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\n\
                      thread 'a::b' (7) panicked at src/a.rs:3:5:\nassertion failed: x\nnote: no\n";
        let expected = "test a::b failed at src/a.rs:3:5: assertion failed: x";
        assert_eq!(first_failure(output).as_deref(), Some(expected));
        let bare = first_failure("test a::b ... FAILED\n");
        assert_eq!(bare.as_deref(), Some("test a::b failed"));
        assert_eq!(first_failure("test a::b ... ok\n"), None);
    }

    #[test]
    fn other_lines_count_nothing() {
        let output = "running late tests\nrunning 5 hours\ntest result\n";
        assert_eq!(Counts::read(output), Counts::default());
    }
}
