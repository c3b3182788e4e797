//! Files with holes: zeros that are neither read nor written.

use crate::common::*;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use tempfile::TempDir;

/// Bytes of the file, of which a mixture of so many pages lies in the middle.
const LEN: u64 = 100 << 30;
const PAGES: usize = 1000;

/// The file; `None`, and that is said, where files have no holes.
fn sparse(folder: &TempDir) -> Option<PathBuf> {
    let path = folder.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(LEN).unwrap();
    if rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)).is_ok() {
        println!("skipped: the file system of {path:?} knows no holes");
        return None;
    }
    file.write_all_at(&mixture(5, PAGES), LEN / 2).unwrap();
    Some(path)
}

#[test]
fn a_sparse_file_of_100_gib_costs_what_its_data_do() {
    let folder = folder();
    let Some(path) = sparse(&folder) else {
        return;
    };
    // With what the holes would take uncompressed no limit would be enough.
    let report = json(&path, &["--limit", "16M", "--free", "50%"]);
    let alone = json(&write(&folder, "alone", &mixture(5, PAGES)), &[]);
    assert_eq!(report["limit_reached"], false);
    assert_eq!(number(&report, "bytes"), LEN);
    assert_eq!(number(&report, "pages"), LEN / 4096);
    let file = &report["files"][0];
    assert!(number(file, "hole_bytes") > LEN - (8 << 20), "{file}");
    let data = |name: &str| number(&report, "pages") - number(&report, name);
    let alone_data = |name: &str| number(&alone, "pages") - number(&alone, name);
    assert_eq!(data("zero"), alone_data("zero"));
    assert_eq!(data("same_filled"), alone_data("same_filled"));
    for codec in CODECS {
        let of = |report: &serde_json::Value, name| number(&report["codecs"][codec], name);
        for name in ["stored", "payload_bytes", "raw"] {
            assert_eq!(of(&report, name), of(&alone, name), "{codec}: {name}");
        }
        let pages = of(&report, "stored") + of(&report, "same_filled");
        assert_eq!(pages, number(&report, "pages"));
    }
}

#[test]
fn a_file_that_is_one_hole_holds_nothing() {
    let folder = folder();
    let path = folder.path().join("hole");
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let report = json(&path, &[]);
    assert_eq!(number(&report, "zero"), 1 << 18);
    for codec in CODECS {
        assert_eq!(number(&report["codecs"][codec], "stored"), 0);
    }
    let text = stdout(&estimate(&path, &[])).to_owned();
    assert!(text.contains("262144 pages of 4 KiB (1 GiB)"), "{text}");
}

#[test]
fn what_is_captured_of_a_sparse_file_is_sparse() {
    let folder = folder();
    let Some(path) = sparse(&folder) else {
        return;
    };
    let copy = folder.path().join("copy");
    let output = zs(&["capture", "-o"])
        .arg(&copy)
        .arg("--file")
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let found = fs::metadata(&copy).unwrap();
    assert_eq!(found.len(), LEN);
    assert!(found.blocks() * 512 < 16 << 20, "{} blocks", found.blocks());
    let mut bytes = vec![0; PAGES << 12];
    File::open(&copy)
        .unwrap()
        .read_exact_at(&mut bytes, LEN / 2)
        .unwrap();
    assert!(bytes == mixture(5, PAGES));
}
