//! Snapshots and dictionaries of stores.

use zcomp::{Algorithm, Compressed, Dictionary, Stream};
use zram::{SnapshotOptions, Store};
use zs_os::{HOST, testing::HeapBacking};

/// Memory that a loaded store may take, and the largest that is accepted.
const LIMIT: u64 = 8 << 20;
const LARGEST: u64 = 1 << 20;

/// Any bytes as a snapshot. With byte 0 even the rest is the file; with it odd the rest is parts,
/// each a length (one byte, 0 for 256) and so many bytes, which get the checksums that the format
/// asks for: only so does anything get past them. Returns whether it was loaded.
///
/// # Panics
/// If a store was loaded that is not valid, or whose own snapshot does not load to the same.
#[expect(clippy::expect_used, reason = "a fuzzer learns of a find by a panic")]
pub fn snapshot(bytes: &[u8]) -> Option<bool> {
    let (&kind, body) = bytes.split_first()?;
    let file = if kind % 2 == 0 {
        body.to_vec()
    } else {
        sealed(body)
    };
    let Some(store) = load(&file) else {
        return Some(false);
    };
    store.validate().expect("a loaded store is valid");
    let mut again = Vec::new();
    store.snapshot(&mut again).expect("memory holds it");
    let copy = load(&again).expect("its own snapshot");
    let mut both = [Vec::new(), Vec::new()];
    for (store, bytes) in [&store, &copy].into_iter().zip(&mut both) {
        bytes.resize(store.size() as usize, 0);
        store.read(0, bytes).expect("what was loaded can be read");
    }
    assert!(both[0] == both[1], "a store and its copy differ");
    Some(true)
}

fn load(file: &[u8]) -> Option<Store<HeapBacking>> {
    let mut options = SnapshotOptions::default();
    options.limit = Some(LIMIT);
    options.max_size = Some(LARGEST);
    options.largest = Some(LARGEST);
    Store::load_with_backing(HeapBacking::new(4096), &HOST, file, &options).ok()
}

fn sealed(mut body: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    while let Some((&len, rest)) = body.split_first() {
        let len = if len == 0 { 256 } else { usize::from(len) };
        let (part, rest) = rest.split_at(len.min(rest.len()));
        file.extend_from_slice(part);
        file.extend_from_slice(&crc32fast::hash(part).to_le_bytes());
        body = rest;
    }
    file
}

/// Any bytes as a dictionary, behind a byte that says whether zstd's magic number is put before
/// them. Returns whether it was accepted.
///
/// # Panics
/// If an accepted dictionary does not give a page back.
#[expect(clippy::expect_used, reason = "a fuzzer learns of a find by a panic")]
pub fn dictionary(bytes: &[u8]) -> Option<bool> {
    let (&kind, body) = bytes.split_first()?;
    let mut whole = Vec::new();
    if kind % 2 == 1 {
        whole.extend_from_slice(&0xec30_a437_u32.to_le_bytes());
    }
    whole.extend_from_slice(body);
    let Ok(dictionary) = Dictionary::from_bytes(&whole) else {
        return Some(false);
    };
    let algorithm: Algorithm = "zstd".parse().expect("an algorithm");
    // The compressing side may refuse what the other took.
    let Ok(mut stream) = Stream::with_dictionary(algorithm, 4096, Some(&dictionary)) else {
        return Some(false);
    };
    let page: Vec<u8> = whole.iter().copied().cycle().take(4096).collect();
    let mut room = vec![0; algorithm.max_compressed_len(4096)];
    let fits = stream.compress(&page, &mut room).expect("a page");
    let Compressed::Fits(len) = fits else {
        return Some(true);
    };
    let mut back = vec![0; 4096];
    stream
        .decompress(&room[..len], &mut back)
        .expect("its own page");
    assert!(back == page, "another page came back");
    // Any bytes with the dictionary: an answer.
    let _ = stream.decompress(body, &mut back);
    Some(true)
}
