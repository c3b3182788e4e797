//! `allocators` on this very program, from the command line to CSV and pictures, and what is wrong
//! with its input.

#![expect(clippy::expect_used, reason = "helpers of tests, which end the test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn allocators(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-rivals"));
    let output = command.arg("allocators").args(arguments).output();
    output.expect("the program starts")
}

/// A folder of this process's own, which goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is only a few files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_allocator_goes_through_every_phase() {
    let folder = Folder::new("allocators");
    let csv = folder.file("out.csv");
    let output = allocators(&[
        "--runs=1",
        "--threads=1,2",
        "--huge",
        "--absent=jemalloc=no compiler",
        "--csv",
        &csv,
        "--pictures",
        &folder.file(""),
    ]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let csv = fs::read_to_string(csv).expect("the CSV");
    let header = "allocator,threads,phase,p50_ns,mean_ns,p99_ns,held_over_payload";
    assert!(csv.lines().any(|line| line == header), "{csv}");
    assert!(
        csv.contains("# jemalloc: not measured: no compiler"),
        "{csv}"
    );
    for name in [
        "zsmalloc",
        "zsmalloc-words",
        "glibc",
        "mimalloc",
        "zsmalloc+huge",
    ] {
        for threads in [1, 2] {
            let start = format!("{name},{threads},");
            let lines = csv.lines().filter(|line| line.starts_with(&start));
            assert_eq!(lines.count(), 12, "{start}: {csv}");
        }
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("| jemalloc | not built |"), "{text}");
    assert!(
        text.contains("churn over mimalloc's at most 1.6: "),
        "{text}"
    );
    for (name, inside) in [("memory.svg", "resident, MiB"), ("time.svg", "churn")] {
        let svg = fs::read_to_string(folder.file(name)).expect("a picture");
        assert!(svg.starts_with("<svg") && svg.contains(inside), "{name}");
        assert!(
            svg.contains("zsmalloc-words") && svg.contains("glibc"),
            "{name}"
        );
    }
}

/// A bar whose rival did not run is not met.
#[test]
fn without_its_rival_a_bar_is_not_measured() {
    let output = allocators(&["--runs=1", "--threads=1", "--only=zsmalloc"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("churn over mimalloc's at most 1.6: not measured"),
        "{text}"
    );
    assert!(!text.contains("glibc's at most 1: 0"), "{text}");
}

#[test]
fn what_is_wrong_with_the_pages_is_said() {
    let folder = Folder::new("pages");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.file(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let whole = vec![7; 1 << 16];
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &whole].concat();
    for (path, part) in [
        (write("empty", b""), "is empty"),
        (
            write("short.zst", &zstd[..100]),
            "not a whole, undamaged zstd file",
        ),
        (write("packed", &zstd), "compressed by zstd"),
        (
            write("packed.gz", &[0x1f, 0x8b, 8, 0]),
            "compressed by gzip",
        ),
        (write("few", &[9; 5000]), "at least 100 are needed"),
        (folder.file("missing"), "missing"),
    ] {
        let output = allocators(&["--runs=1", "--file", &path]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{path}");
        assert!(errors.contains(part), "{path}: {errors}");
    }
    let output = allocators(&["--only=tcmalloc"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no allocator \"tcmalloc\""), "{errors}");
    assert!(errors.contains("mimalloc"), "{errors}");
}
