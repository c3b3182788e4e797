//! Destinations of every length: a result that does not fit is an answer, and nothing is written
//! behind the end.

mod common;

use common::{Random, algorithms, pages};
use zcomp::{Algorithm, Compressed, Stream};

const CANARY: u8 = 0xa5;

/// How much longer than the result a destination must at most be, as documented.
fn slack(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Lz4 | Algorithm::Lz4hc(_) | Algorithm::Deflate(_) => 16,
        Algorithm::Zstd(_) => 32,
        Algorithm::None => 0,
    }
}

/// Compresses into `size` bytes with canaries behind them, and checks whatever comes out; the
/// length, if it fits.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn squeeze(stream: &mut Stream, page: &[u8], size: usize) -> Option<usize> {
    let mut room = vec![CANARY; size + 64];
    let answer = stream.compress(page, &mut room[..size]).unwrap();
    assert!(
        room[size..].iter().all(|&byte| byte == CANARY),
        "{stream:?} wrote behind {size}"
    );
    let Compressed::Fits(len) = answer else {
        return None;
    };
    assert!(len <= size);
    let mut back = vec![0; page.len()];
    stream.decompress(&room[..len], &mut back).unwrap();
    assert!(back == page);
    Some(len)
}

/// Checks the answers for these sizes against the result in the worst case's room.
#[expect(clippy::expect_used, reason = "a helper of tests")]
fn check(stream: &mut Stream, page: &[u8], sizes: impl Iterator<Item = usize>) {
    let algorithm = stream.algorithm();
    let bound = algorithm.max_compressed_len(page.len());
    let needed = squeeze(stream, page, bound).expect("the worst case's room is enough");
    for size in sizes {
        match squeeze(stream, page, size) {
            None => assert!(
                size < needed + slack(algorithm),
                "{size} of {needed} {algorithm}"
            ),
            // A codec that runs short of room may still fit it with a longer encoding, never with a
            // far shorter one.
            Some(len) => assert!(
                len + slack(algorithm) >= needed,
                "{len} {needed} {algorithm}"
            ),
        }
    }
}

#[test]
fn every_size_up_to_the_worst_case() {
    for algorithm in algorithms() {
        let mut stream = Stream::new(algorithm, 4096).unwrap();
        let bound = algorithm.max_compressed_len(4096);
        // The costliest level looks at fewer sizes.
        let step = if algorithm.to_string() == "zstd:16" {
            29
        } else {
            1
        };
        for page in pages(4096).iter().skip(2).step_by(5) {
            check(&mut stream, page, (0..=bound).step_by(step));
        }
    }
}

#[test]
fn sizes_around_the_result_and_at_random() {
    let mut random = Random(3);
    for algorithm in algorithms() {
        for len in [20, 500, 16384] {
            let mut stream = Stream::new(algorithm, len).unwrap();
            let bound = algorithm.max_compressed_len(len);
            for page in pages(len) {
                let needed = squeeze(&mut stream, &page, bound).unwrap();
                let around = needed.saturating_sub(2)..(needed + 36).min(bound);
                let anywhere = [(); 4].map(|()| random.next() as usize % (bound + 1));
                check(&mut stream, &page, around.step_by(3).chain(anywhere));
            }
        }
    }
}

#[test]
fn a_copy_fits_exactly() {
    let mut stream = Stream::new(Algorithm::None, 100).unwrap();
    assert_eq!(squeeze(&mut stream, &[1; 100], 99), None);
    assert_eq!(squeeze(&mut stream, &[1; 100], 100), Some(100));
}
