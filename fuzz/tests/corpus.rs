//! The committed seeds, run by the ordinary compiler: none is a find, and together they reach what
//! the targets are about.

use fuzz::CodecReport;
use std::path::Path;
use std::{fs, io};
use zs_model::Report;

fn seeds(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    fs::read_dir(folder.join(target))?
        .map(|entry| fs::read(entry?.path()))
        .collect()
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn operations(target: &str, run: fn(&[u8]) -> Report) {
    let mut met = Report::default();
    for seed in seeds(target).unwrap() {
        met.add(&run(&seed));
    }
    let counts = [
        met.inserted,
        met.replaced,
        met.read,
        met.spanning,
        met.mapped,
        met.freed,
        met.deferred,
        met.busy,
        met.stale,
        met.no_memory,
        met.scribbled,
    ];
    assert!(counts.iter().all(|&count| count > 0), "{met:?}");
}

#[test]
fn seeds_of_handle_pools() {
    operations("ops", fuzz::handle_pools);
}

#[test]
fn seeds_of_client_words() {
    operations("ops_client_words", fuzz::client_words);
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn compressed(target: &str, run: fn(&[u8]) -> CodecReport) {
    let met: Vec<CodecReport> = seeds(target)
        .unwrap()
        .iter()
        .map(|seed| run(seed))
        .collect();
    let answers: [fn(&CodecReport) -> bool; 5] = [
        |met| met.decompressed,
        |met| met.short,
        |met| met.corrupt,
        |met| met.fitted,
        |met| met.unfitted,
    ];
    assert!(answers.iter().all(|is| met.iter().any(is)), "{met:?}");
}

#[test]
fn seeds_of_lz4() {
    compressed("lz4", fuzz::lz4);
}

#[test]
fn seeds_of_zstd() {
    compressed("zstd", fuzz::zstd);
}

#[test]
fn seeds_of_unpack() {
    let seeds = seeds("unpack").unwrap();
    let mut lengths: Vec<_> = seeds.iter().map(|seed| fuzz::unpack(seed)).collect();
    lengths.sort_unstable();
    let three_blocks = 3 * (0x10_0000 >> 3);
    let expected = [
        None,
        None,
        Some(900),
        Some(6000),
        Some(12_000),
        Some(70_000),
        Some(three_blocks),
    ];
    assert_eq!(lengths, expected);
}

#[test]
fn seeds_of_nbd() {
    for (target, run) in [
        (
            "nbd_handshake",
            fuzz::nbd_handshake as fn(&[u8]) -> fuzz::NbdReport,
        ),
        ("nbd_requests", fuzz::nbd_requests),
    ] {
        let seeds = seeds(target).unwrap();
        let met: Vec<_> = seeds.iter().map(|seed| run(seed)).collect();
        assert!(
            met.iter().any(|met| met.over && met.answers > 200),
            "{met:?}"
        );
        assert!(met.iter().any(|met| !met.over || met.broken), "{met:?}");
    }
}

/// The seeded faults, as `cargo xtask fuzz --prove` looks for them: one is there, the other waits
/// for its six bytes.
#[test]
fn the_seeded_faults() {
    fuzz::over_read(b"zspagE and more");
    // All commits fail, and an insert needs one.
    let forgotten = [0, 0, 61, 0, 0, 0, 0, 0, 0x60, 0, 0, 1];
    let found = std::panic::catch_unwind(|| fuzz::forgotten_faults(&forgotten));
    assert!(found.is_err(), "the seeded mismatch is none");
    assert_eq!(fuzz::handle_pools(&forgotten).no_memory, 1);
}

#[test]
fn seeds_of_snapshots() {
    let met: Vec<_> = seeds("snapshot")
        .unwrap()
        .iter()
        .map(|seed| fuzz::snapshot(seed))
        .collect();
    assert_eq!(
        met.iter().filter(|met| **met == Some(true)).count(),
        3,
        "{met:?}"
    );
    assert!(met.contains(&Some(false)));
}

#[test]
fn seeds_of_dictionaries() {
    let met: Vec<_> = seeds("dictionary")
        .unwrap()
        .iter()
        .map(|seed| fuzz::dictionary(seed))
        .collect();
    assert!(
        met.contains(&Some(true)) && met.contains(&Some(false)),
        "{met:?}"
    );
}
