//! What was compressed comes back, for every algorithm, page length and kind of page.

mod common;

use common::{algorithms, pages};
use proptest::{collection::vec, prelude::*, sample::select};
use zcomp::{Algorithm, Compressed, Error, MAX_PAGE_LEN, Stream};

/// Compresses into the worst case's room and decompresses; the compressed length.
#[expect(clippy::panic, clippy::unwrap_used, reason = "a helper of tests")]
fn round_trip(stream: &mut Stream, page: &[u8]) -> usize {
    let mut room = vec![0; stream.algorithm().max_compressed_len(page.len())];
    let Ok(Compressed::Fits(len)) = stream.compress(page, &mut room) else {
        panic!(
            "{} bytes of {stream:?} do not fit the worst case's room",
            page.len()
        );
    };
    let mut back = vec![0xa5; page.len()];
    stream.decompress(&room[..len], &mut back).unwrap();
    assert!(back == page, "{} bytes changed by {stream:?}", page.len());
    len
}

#[test]
fn pages_of_every_kind() {
    for algorithm in algorithms() {
        for len in [1, 2, 12, 13, 255, 4096, 16384, 65535, 65536] {
            let mut stream = Stream::new(algorithm, len).unwrap();
            for page in pages(len) {
                round_trip(&mut stream, &page);
            }
        }
    }
}

#[test]
fn pages_of_several_blocks() {
    for algorithm in algorithms() {
        for len in [131_073, MAX_PAGE_LEN] {
            let mut stream = Stream::new(algorithm, len).unwrap();
            for page in pages(len).iter().skip(2).step_by(4) {
                round_trip(&mut stream, page);
            }
        }
    }
}

#[test]
fn shorter_pages_than_the_stream_was_made_for() {
    for algorithm in algorithms() {
        let mut stream = Stream::new(algorithm, 65536).unwrap();
        for round in 0..300 {
            let len = if round % 150 == 149 { 65536 } else { round };
            round_trip(&mut stream, &pages(len)[5]);
        }
    }
}

#[test]
fn an_empty_page_is_no_bytes() {
    for algorithm in algorithms() {
        for page_len in [0, 4096] {
            let mut stream = Stream::new(algorithm, page_len).unwrap();
            assert_eq!(stream.compress(&[], &mut []), Ok(Compressed::Fits(0)));
            assert_eq!(stream.decompress(&[], &mut []), Ok(()));
            assert_eq!(stream.decompress(&[0], &mut []), Err(Error::Corrupt));
        }
    }
}

#[test]
fn every_level_compresses_text() {
    let page = &pages(4096)[5];
    for level in (-7..=22).filter_map(zcomp::ZstdLevel::new) {
        let mut stream = Stream::new(Algorithm::Zstd(level), 4096).unwrap();
        assert!(round_trip(&mut stream, page) < 2048);
    }
}

#[test]
fn what_is_too_long_is_refused() {
    for algorithm in algorithms() {
        let error = Stream::new(algorithm, MAX_PAGE_LEN + 1).unwrap_err();
        assert_eq!(
            error,
            Error::TooLong {
                len: MAX_PAGE_LEN + 1,
                max: MAX_PAGE_LEN
            }
        );

        let mut stream = Stream::new(algorithm, 4096).unwrap();
        let refusal = Error::TooLong {
            len: 4097,
            max: 4096,
        };
        assert_eq!(stream.compress(&[0; 4097], &mut [0; 5000]), Err(refusal));
        assert_eq!(stream.decompress(&[0; 4097], &mut [0; 4097]), Err(refusal));
    }
}

/// Pages between order and noise: short pieces, each repeated some times.
fn page() -> impl Strategy<Value = Vec<u8>> {
    let piece = (vec(any::<u8>(), 1..64), 1usize..100);
    (select(&[4096usize, 16384, 65536][..]), vec(piece, 1..200)).prop_map(|(len, pieces)| {
        let bytes = pieces
            .iter()
            .flat_map(|(piece, times)| piece.repeat(*times));
        bytes
            .collect::<Vec<_>>()
            .into_iter()
            .cycle()
            .take(len)
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn any_page(page in page(), algorithm in select(algorithms())) {
        round_trip(&mut Stream::new(algorithm, page.len()).unwrap(), &page);
    }

    #[test]
    fn noise(page in vec(any::<u8>(), 1..20_000), algorithm in select(algorithms())) {
        round_trip(&mut Stream::new(algorithm, page.len()).unwrap(), &page);
    }
}
