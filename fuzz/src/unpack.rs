//! Files of pages, plain and `.zst`.

use std::io::Write as _;
use zs_mm::PageSize;
use zs_pages::{Collector, Error};

/// Any bytes as a file of pages: byte 0 chooses the page size (bits 0-1) and whether the rest is a
/// `.zst` file (bit 7 clear) or a plain one. Returns how many bytes the pages hold, if any.
///
/// # Panics
/// If the pages are not the file's bytes and zeros, or a damaged file leaves something behind.
pub fn unpack(bytes: &[u8]) -> Option<u64> {
    let (&kind, body) = bytes.split_first()?;
    let page = PageSize::ALL[usize::from(kind & 3) % 3];
    let expected = if kind >> 7 == 0 {
        zstd::decode_all(body).ok()
    } else {
        Some(body.to_vec())
    };
    let suffix = if kind >> 7 == 0 { ".zst" } else { ".bin" };
    check(body, suffix, page, expected.as_deref())
}

/// Collects a file twice: a file that fails leaves no page, the next begins where it began.
#[expect(clippy::expect_used, reason = "a system without temporary files")]
#[expect(clippy::panic, reason = "a fuzzer learns of a find by a panic")]
fn check(body: &[u8], suffix: &str, page: PageSize, expected: Option<&[u8]>) -> Option<u64> {
    let mut file = tempfile::Builder::new()
        .suffix(suffix)
        .tempfile()
        .expect("a temporary file");
    file.write_all(body).expect("room for the input");
    let mut collector = Collector::new(page).expect("a page file");
    for _ in 0..2 {
        let before = collector.padded_len();
        let added = collector.add_file(file.path(), &mut |_| ());
        match (&added, expected) {
            (Ok(()), Some(_)) => {}
            (Err(Error::Unpack { .. }), None) => {
                assert_eq!(collector.padded_len(), before, "a damaged file left pages");
            }
            _ => panic!("{added:?}, but {:?} bytes", expected.map(<[u8]>::len)),
        }
    }
    let (file, sources) = match collector.finish() {
        Err(Error::NotPages(_)) => {
            assert!(expected.is_none_or(<[u8]>::is_empty), "all pages are lost");
            return None;
        }
        finished => finished.expect("a page file"),
    };
    let expected = expected?;
    let mapped = file.map().expect("room for a mapping");
    let mut pages = mapped.iter();
    for source in &sources {
        assert_eq!(source.bytes, expected.len() as u64, "another length");
        for chunk in expected.chunks(page.bytes()) {
            let (bytes, padding) = pages.next().expect("a page").split_at(chunk.len());
            assert!(bytes == chunk, "other bytes than the file's");
            assert!(
                padding.iter().all(|&byte| byte == 0),
                "padding of non-zeros"
            );
        }
    }
    assert!(pages.next().is_none(), "a page too many");
    Some(expected.len() as u64)
}
