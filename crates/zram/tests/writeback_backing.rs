//! What may be a backing (R14).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "tests"
)]

mod common;

use common::bare;
use zram::*;

#[test]
fn r14_backings_that_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backing");
    let refusal =
        |path: &std::path::Path| BackingFile::open(path).expect_err("refused").to_string();
    assert!(refusal(&path).contains("opening the backing"));
    std::fs::write(&path, b"").expect("a file");
    assert!(refusal(&path).contains("is empty"));
    assert!(refusal(folder.path()).contains("neither a file nor a block device"));
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let store = bare();
    store
        .set_backing(BackingFile::open(&path).expect("a file"))
        .expect("the first");
    assert!(refusal(&path).contains("somebody else"));
    let second = BackingFile::temporary(folder.path(), 1 << 20).expect("a file");
    assert!(matches!(store.set_backing(second), Err(Error::Busy(_))));
    store.reset().expect("nobody is attached");
    // Let go by the reset, and by a refusal.
    let short = BackingFile::open(&path).expect("free again");
    drop(short);
    std::fs::write(&path, vec![0; 100]).expect("a file");
    let short = BackingFile::open(&path).expect("a file");
    assert!(matches!(store.set_backing(short), Err(Error::Invalid(_))));
    drop(BackingFile::open(&path).expect("free again"));
}
