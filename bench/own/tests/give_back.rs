//! `give-back` on this very program, from the command line to the CSV file.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end the test"
)]

use std::process::{Command, Output};

fn give_back(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-own"));
    let output = command.arg("give-back").args(arguments).output();
    output.expect("the program starts")
}

/// A field of the first data line.
fn field(csv: &str, name: &str) -> f64 {
    let mut lines = csv.lines().filter(|line| !line.starts_with('#'));
    let names = lines.next().expect("names").split(',');
    let values = lines.next().expect("values").split(',');
    let found = names.zip(values).find(|(column, _)| *column == name);
    let (_, value) = found.unwrap_or_else(|| panic!("no column {name}"));
    value.parse().expect("a number")
}

#[test]
fn memory_goes_back_and_every_byte_is_compared() {
    let folder = std::env::temp_dir().join(format!("bench-own-{}.csv", std::process::id()));
    let path = folder.to_str().expect("UTF-8");
    let output = give_back(&[
        "--copies",
        "2",
        "--free",
        "80%",
        "--settle",
        "0",
        "--readers",
        "1",
        "--csv",
        path,
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // No bar is for this share, so that only the holds have one.
    assert!(text.contains("class lock hold, p99.9"), "{text}");
    assert!(!text.contains("resident over payload after"), "{text}");

    let csv = std::fs::read_to_string(path).expect("the CSV file");
    std::fs::remove_file(path).expect("the CSV file goes");
    assert!(field(&csv, "objects_moved") > 0.0);
    assert!(field(&csv, "frames_freed") > field(&csv, "frames_attached"));
    assert!(field(&csv, "reads_idle_per_window") > 0.0);
    assert!(field(&csv, "reads_moving_per_window") > 0.0);
    assert!(field(&csv, "moved_with_readers") > 0.0);
    assert!(field(&csv, "held_bytes_freed") > 2.0 * field(&csv, "held_bytes_after_0s"));
    let (held, resident) = (
        field(&csv, "held_bytes_after_0s"),
        field(&csv, "resident_bytes_after_0s"),
    );
    let allowed = (held / 100.0).max(256.0 * 1024.0);
    assert!(
        (held - resident).abs() <= allowed,
        "held {held}, resident {resident}"
    );
}

#[test]
fn what_cannot_be_measured_is_said() {
    for (arguments, part) in [
        (["--pages", "/nonexistent"], "/nonexistent"),
        (["--pages", "/proc/self/stat"], "at least 100 are needed"),
        (["--free", "100"], "1 to 99 percent"),
        (["--copies", "0"], "not in 1..=4096"),
    ] {
        let output = give_back(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains(part), "{errors}");
    }
}
