//! Bytes that no stream wrote: whatever they are, an error, or a page of the right length; never a
//! panic, and the stream goes on.

mod common;

use common::{Random, algorithms, pages};
use zcomp::{Algorithm, Compressed, Error, Stream};

/// A page and its compressed form.
struct Sample {
    page: Vec<u8>,
    bytes: Vec<u8>,
}

/// Some pages of 4 KiB, with the stream that compressed them.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn samples(algorithm: Algorithm) -> (Stream, Vec<Sample>) {
    let mut stream = Stream::new(algorithm, 8192).unwrap();
    let samples = pages(4096).into_iter().step_by(2).map(|page| Sample {
        bytes: compress(&mut stream, &page),
        page,
    });
    let samples = samples.collect();
    (stream, samples)
}

#[expect(clippy::panic, reason = "a helper of tests")]
fn compress(stream: &mut Stream, page: &[u8]) -> Vec<u8> {
    let mut room = vec![0; stream.algorithm().max_compressed_len(page.len())];
    let Ok(Compressed::Fits(len)) = stream.compress(page, &mut room) else {
        panic!("the worst case's room is enough");
    };
    room.truncate(len);
    room
}

/// Decompresses to `len` bytes with canaries behind them.
fn decompress(stream: &mut Stream, src: &[u8], len: usize) -> Result<(), Error> {
    let mut room = [0xa5; 8256];
    let answer = stream.decompress(src, &mut room[..len]);
    assert!(
        room[len..].iter().all(|&byte| byte == 0xa5),
        "{stream:?} wrote behind {len}"
    );
    answer
}

#[test]
fn every_flipped_bit_and_byte() {
    for algorithm in algorithms() {
        let (mut stream, samples) = samples(algorithm);
        for Sample { page, bytes } in samples {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                for flip in [0xff, 1 << (at % 8)] {
                    damaged[at] = bytes[at] ^ flip;
                    // Unnoticed damage is no error of this crate; that it stays inside is checked.
                    let _ = decompress(&mut stream, &damaged, page.len());
                }
            }
            let mut back = vec![0; page.len()];
            stream.decompress(&bytes, &mut back).unwrap();
            assert!(back == page, "after damage {stream:?} reads wrong");
            assert_eq!(
                compress(&mut stream, &page),
                bytes,
                "after damage {stream:?} writes otherwise"
            );
        }
    }
}

#[test]
fn every_truncation() {
    for algorithm in algorithms() {
        let (mut stream, samples) = samples(algorithm);
        for Sample { page, bytes } in samples {
            for len in 0..bytes.len() {
                let error = decompress(&mut stream, &bytes[..len], page.len()).unwrap_err();
                let expected = match algorithm {
                    Algorithm::None => Error::Short {
                        expected: page.len(),
                        actual: len,
                    },
                    Algorithm::Zstd(_) | Algorithm::Deflate(_) => Error::Corrupt,
                    // A block that is cut between two sequences is a block of less.
                    Algorithm::Lz4 | Algorithm::Lz4hc(_) => match error {
                        Error::Short { expected, actual } if actual < expected => error,
                        _ => Error::Corrupt,
                    },
                };
                assert_eq!(error, expected);
            }
        }
    }
}

#[test]
fn trailing_bytes() {
    let mut random = Random(2);
    // libdeflate does not tell where a stream ended.
    let tells = |algorithm: &Algorithm| !matches!(algorithm, Algorithm::Deflate(_));
    for algorithm in algorithms().into_iter().filter(tells) {
        let (mut stream, samples) = samples(algorithm);
        for Sample { page, bytes } in samples {
            // Bytes that alone are a valid form of nothing: an empty block, an empty frame, a
            // skippable frame.
            let tails: [&[u8]; 4] = [
                &[0],
                &[1, 0, 0],
                &[0, 0, 1, 0, 0],
                &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0],
            ];
            for tail in tails.into_iter().chain([&bytes[..]]) {
                let longer = [&bytes[..], tail].concat();
                assert_eq!(
                    decompress(&mut stream, &longer, page.len()),
                    Err(Error::Corrupt)
                );
            }
            for len in 1..40 {
                let mut longer = bytes.clone();
                longer.extend((0..len).map(|_| random.next() as u8));
                assert_eq!(
                    decompress(&mut stream, &longer, page.len()),
                    Err(Error::Corrupt)
                );
            }
        }
    }
}

#[test]
fn another_length_than_the_page_had() {
    for algorithm in algorithms() {
        let (mut stream, samples) = samples(algorithm);
        for Sample { bytes, .. } in samples {
            for len in [1, 100, 4095] {
                assert_eq!(decompress(&mut stream, &bytes, len), Err(Error::Corrupt));
            }
            for expected in [4097, 8192] {
                let short = Error::Short {
                    expected,
                    actual: 4096,
                };
                assert_eq!(decompress(&mut stream, &bytes, expected), Err(short));
            }
        }
    }
}

#[test]
fn noise() {
    let mut random = Random(4);
    for algorithm in algorithms() {
        let (mut stream, samples) = samples(algorithm);
        for round in 0..20_000 {
            let len = random.next() as usize % if round % 8 == 0 { 2000 } else { 40 };
            let mut noise: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            // Most noise is refused at its head: every other time it gets that of a page.
            if round % 2 == 0 {
                let head = samples[round % samples.len()]
                    .bytes
                    .iter()
                    .take(2 + round % 60);
                noise.splice(..0, head.copied());
            }
            let _ = decompress(&mut stream, &noise, random.next() as usize % 4200);
        }
        let Sample { page, bytes } = &samples[0];
        assert_eq!(decompress(&mut stream, bytes, page.len()), Ok(()));
    }
}

#[test]
fn foreign_frame_headers() {
    let mut stream = Stream::new("zstd".parse().unwrap(), 4096).unwrap();
    // Header byte and window of a page of 4 KiB, then one block: last, repeated, 4096 times the
    // byte 9.
    let block = [
        (1 | 1 << 1 | (4096u32 << 3)) as u8,
        (4096u32 << 3 >> 8) as u8,
        0,
        9,
    ];
    let frame = |header: &[u8]| [header, &block].concat();
    assert_eq!(decompress(&mut stream, &frame(&[0, 2 << 3]), 4096), Ok(()));

    let terabyte = [0, 30 << 3];
    let two_mebibytes = [0, 11 << 3];
    let content_size = [0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let right_content_size = [0x60, 0, 0x0f];
    let checksum = [4, 2 << 3];
    let dictionary = [1, 2 << 3, 1];
    let magic = [0x28, 0xb5, 0x2f, 0xfd, 0, 2 << 3];
    let refused: [&[u8]; 7] = [
        &terabyte,
        &two_mebibytes,
        &content_size,
        &right_content_size,
        &checksum,
        &dictionary,
        &magic,
    ];
    for header in refused {
        assert_eq!(
            decompress(&mut stream, &frame(header), 4096),
            Err(Error::Corrupt)
        );
    }
}
