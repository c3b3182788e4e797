//! Hostile compressed pages, and round trips of any bytes.

use std::cell::RefCell;
use zcomp::{Compressed, Error, Stream};

/// The longest page that the first bytes can choose.
const LONGEST: usize = 0xffff << 3;

/// What one input met: seeds must meet all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodecReport {
    /// The bytes were a compressed page of the length that was asked for.
    pub decompressed: bool,
    /// They were one of a shorter page.
    pub short: bool,
    /// They were none.
    pub corrupt: bool,
    /// The page fitted into the room that was chosen.
    pub fitted: bool,
    /// It did not.
    pub unfitted: bool,
}

/// Any bytes as a compressed page and as a page, by lz4.
///
/// Byte 0: the stream's level, where there are several (bits 0-1), by how much the length is
/// shifted (2-3), whether the page is the bytes repeated to about that length (7). Bytes 1-2: the
/// length. Bytes 3-4: the room to compress into. The rest is first a compressed page, then a page.
///
/// # Panics
/// If a promise of [`Stream`] is broken.
pub fn lz4(bytes: &[u8]) -> CodecReport {
    thread_local! {
        static STREAMS: RefCell<Vec<Stream>> = streams(&["lz4"]);
    }
    STREAMS.with_borrow_mut(|streams| both_ways(streams, bytes))
}

/// As [`lz4`], by zstd. The levels share one format: the slow ones would show nothing more.
///
/// # Panics
/// If a promise of [`Stream`] is broken.
pub fn zstd(bytes: &[u8]) -> CodecReport {
    thread_local! {
        static STREAMS: RefCell<Vec<Stream>> = streams(&["zstd", "zstd:-7", "zstd:3"]);
    }
    STREAMS.with_borrow_mut(|streams| both_ways(streams, bytes))
}

/// Streams are kept from run to run, as their users keep them: after any bytes they must go on.
#[expect(clippy::expect_used, reason = "fixed names and a valid length")]
fn streams(names: &[&str]) -> RefCell<Vec<Stream>> {
    let stream = |name: &&str| {
        let algorithm = name.parse().expect("an algorithm");
        Stream::new(algorithm, LONGEST).expect("memory for a stream")
    };
    RefCell::new(names.iter().map(stream).collect())
}

fn both_ways(streams: &mut [Stream], bytes: &[u8]) -> CodecReport {
    let mut report = CodecReport::default();
    let Some((&[kind, low, high, room_low, room_high], body)) = bytes.split_first_chunk() else {
        return report;
    };
    let which = usize::from(kind & 3) % streams.len();
    let stream = &mut streams[which];
    let len = usize::from(u16::from_le_bytes([low, high])) << (kind >> 2 & 3);
    let room = usize::from(u16::from_le_bytes([room_low, room_high]));
    decompress(stream, body, len, &mut report);
    if kind >> 7 == 0 {
        round_trip(stream, body, room, &mut report);
    } else {
        let mut page = body.repeat(len / body.len().max(1));
        page.truncate(len);
        round_trip(stream, &page, room, &mut report);
    }
    report
}

/// Twice into buffers that hold different bytes: one answer, and no byte that was there before.
fn decompress(stream: &mut Stream, src: &[u8], len: usize, report: &mut CodecReport) {
    let mut filled = |byte: u8| {
        // A vector of its own: the sanitizer watches both of its ends.
        let mut page = vec![byte; len];
        let answer = stream.decompress(src, &mut page);
        (answer, page)
    };
    let (answer, page) = filled(0);
    let (again, other) = filled(0xff);
    assert_eq!(answer, again, "two answers to the same bytes");
    match answer {
        Ok(()) => {
            assert!(page == other, "bytes of the page were not written");
            report.decompressed = true;
        }
        Err(Error::Short { expected, actual }) => {
            assert!(expected == len && actual < len, "{actual} for {len} bytes");
            report.short = true;
        }
        Err(error) => {
            assert_eq!(error, Error::Corrupt, "{len} bytes");
            report.corrupt = true;
        }
    }
}

/// What was compressed decompresses to itself, whatever the room was if it fitted.
fn round_trip(stream: &mut Stream, page: &[u8], room: usize, report: &mut CodecReport) {
    let enough = stream.algorithm().max_compressed_len(page.len());
    for room in [room, enough] {
        let mut compressed = vec![0; room];
        let answer = stream.compress(page, &mut compressed);
        let Ok(Compressed::Fits(len)) = answer else {
            assert_eq!(answer, Ok(Compressed::DoesNotFit));
            assert!(room < enough, "the worst case's room is not enough");
            report.unfitted = true;
            continue;
        };
        compressed.truncate(len);
        compressed.shrink_to_fit();
        let mut back = vec![0xa5; page.len()];
        let answer = stream.decompress(&compressed, &mut back);
        assert_eq!(answer, Ok(()), "a page of {} bytes", page.len());
        assert!(back == page, "a page of {} bytes differs", page.len());
        report.fitted |= room != enough;
    }
}
