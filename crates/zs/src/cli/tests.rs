use super::*;
use crate::args::{PAGE_SIZES, number_in};
use clap::CommandFactory as _;

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn page_sizes_are_written_as_they_are_displayed() {
    for size in PageSize::ALL {
        assert!(PAGE_SIZES.contains(&(size.to_string().as_str(), size)));
    }
}

#[test]
fn seeds_are_whole_numbers() {
    assert_eq!(seed("0"), Ok(0));
    assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
    for text in ["", "-1", "1.5", "one", "18446744073709551616"] {
        let error = seed(text).unwrap_err();
        assert!(
            error.contains("expected a whole number from 0 to"),
            "{error}"
        );
    }
}

#[test]
fn numbers_are_told_their_range() {
    assert_eq!(number_in(2..=3600)("2"), Ok(2));
    let text = number_in(2..=3600)("1").unwrap_err();
    assert_eq!(text, "expected a whole number from 2 to 3600");
    let text = number_in(1..=u64::MAX)("x").unwrap_err();
    assert_eq!(text, "expected a whole number from 1 on");
}

#[test]
fn examples_are_of_the_command_that_is_meant() {
    let error = "...\n\nUsage: zs serve [OPTIONS] <--size SIZE>";
    assert!(example(error).starts_with("\nFor example: zs serve --size"));
    assert_eq!(example("Usage: zs ctl disconnect <ID|all>"), "");
}

#[test]
fn process_numbers_are_above_zero() {
    assert_eq!(pid("1"), Ok(1));
    assert_eq!(pid("4194304"), Ok(4_194_304));
    for text in ["0", "-1", "", "1.5", "init", "4294967296"] {
        let error = pid(text).unwrap_err();
        assert!(
            error.contains("expected a whole number from 1 on"),
            "{error}"
        );
    }
}

#[test]
fn samples_are_sizes_above_zero() {
    assert_eq!(sample("1M"), Ok(1 << 20));
    assert!(sample("0").unwrap_err().contains("says nothing"));
    assert!(sample("some").unwrap_err().contains("is no size"));
}

#[test]
fn limits_are_those_of_an_arena() {
    assert_eq!(limit("2M"), Ok(2 << 20));
    assert_eq!(limit("1T"), Ok(1 << 40));
    for (text, part) in [
        (
            "0",
            "a limit of 0 bytes is below one pageblock (2097152 bytes)",
        ),
        ("2097151", "below one pageblock"),
        ("1025G", "above the largest arena (1099511627776 bytes)"),
        ("lots", "is no size"),
    ] {
        let error = limit(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
