//! Streams of requests, cut anywhere. The answers are the same as for the whole stream at once, and
//! the same as from a plain array.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;

use client::{
    EXTENDED, FLUSH, GO, READ, SET_CONTEXT, STATUS, STRUCTURED, TRIM, Take, WRITE, ZEROES, exports,
    extended, go, option, queries, request, write,
};
use proptest::prelude::*;
use std::sync::Arc;
use zs_nbd::{Dialogue, MemoryDevice};

const SIZE: u64 = 512 << 10;

#[derive(Clone, Debug)]
enum Request {
    Write(u64, Vec<u8>),
    Read(u64, u32),
    Zero(u64, u32, bool),
    Trim(u64, u32),
    Status(u64, u32),
    Flush,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let at = 0..SIZE + 5000;
    let len = prop_oneof![0..10_000_u32, Just(4096), Just(200_000), Just(u32::MAX)];
    // Now and then a request that needs a buffer of its own.
    let payload = prop_oneof![
        9 => prop::collection::vec(1..=255_u8, 0..9000),
        1 => (130_000..200_000_usize).prop_map(|len| (0..len).map(|n| n as u8 | 1).collect()),
    ];
    let one = prop_oneof![
        (at.clone(), payload).prop_map(|(at, payload)| Request::Write(at, payload)),
        (at.clone(), len.clone()).prop_map(|(at, len)| Request::Read(at, len)),
        (at.clone(), len.clone(), any::<bool>())
            .prop_map(|(at, len, keep)| Request::Zero(at, len, keep)),
        (at.clone(), len.clone()).prop_map(|(at, len)| Request::Trim(at, len)),
        (at, len).prop_map(|(at, len)| Request::Status(at, len)),
        Just(Request::Flush),
    ];
    prop::collection::vec(one, 0..20)
}

fn encode(list: &[Request], wide: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (cookie, one) in list.iter().enumerate() {
        let cookie = cookie as u64;
        let (command, flags, offset, len) = match one {
            Request::Write(at, payload) if !wide => {
                bytes.extend(write(cookie, *at, payload));
                continue;
            }
            Request::Write(at, payload) => (WRITE, 32, *at, payload.len() as u32),
            Request::Read(at, len) => (READ, 0, *at, *len),
            Request::Zero(at, len, keep) => (ZEROES, u16::from(*keep) * 2, *at, *len),
            Request::Trim(at, len) => (TRIM, 0, *at, *len),
            Request::Status(at, len) => (STATUS, 0, *at, *len),
            Request::Flush => (FLUSH, 0, 0, 0),
        };
        if wide {
            bytes.extend(extended(command, flags, cookie, offset, u64::from(len)));
        } else {
            bytes.extend(request(command, flags, cookie, offset, len));
        }
        if let Request::Write(_, payload) = one {
            bytes.extend(payload);
        }
    }
    bytes
}

fn opening(mode: u32) -> Vec<u8> {
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    if mode > 0 {
        bytes.extend(option(mode, &[]));
        bytes.extend(option(SET_CONTEXT, &queries("disk", &["base:allocation"])));
    }
    bytes.extend(option(GO, &go("disk", &[])));
    bytes
}

/// Returns all answers to a stream that arrives in parts of these lengths, repeated.
fn talk(stream: &[u8], pieces: &[usize]) -> Vec<u8> {
    let exports = exports(Arc::new(MemoryDevice::new(SIZE).unwrap()));
    let mut out = Vec::new();
    let mut dialogue = Dialogue::new(&exports, &mut out);
    let mut rest = stream;
    for len in pieces.iter().cycle() {
        let (piece, later) = rest.split_at((*len).min(rest.len()));
        dialogue.feed(piece, &mut out).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    out
}

/// Returns the answer of a plain array: the data of a read, or whether a write is in range.
fn check(list: &[Request], replies: &[u8]) {
    let mut array = vec![0_u8; SIZE as usize];
    let mut replies = Take(replies);
    for (cookie, one) in list.iter().enumerate() {
        let fits = |at: u64, len: u64| at + len <= SIZE;
        let (error, told) = replies.simple();
        assert_eq!(told, cookie as u64);
        let mut put = |at: u64, len: u64, bytes: Option<&[u8]>| {
            assert_eq!(error == 0, fits(at, len), "{one:?}: {error}");
            if error == 0 {
                let range = &mut array[at as usize..(at + len) as usize];
                match bytes {
                    Some(bytes) => range.copy_from_slice(bytes),
                    None => range.fill(0),
                }
            }
        };
        match one {
            Request::Write(at, payload) => put(*at, payload.len() as u64, Some(payload)),
            Request::Zero(at, len, _) | Request::Trim(at, len) => put(*at, u64::from(*len), None),
            Request::Read(at, len) => {
                assert_eq!(error == 0, fits(*at, u64::from(*len)));
                if error == 0 {
                    let from = *at as usize;
                    assert!(replies.bytes(*len as usize) == &array[from..from + *len as usize]);
                }
            }
            Request::Status(..) => assert_eq!(error, 22, "no context in this mode"),
            Request::Flush => assert_eq!(error, 0),
        }
    }
    assert!(replies.0.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_change_nothing(
        list in requests(),
        mode in prop_oneof![Just(0), Just(STRUCTURED), Just(EXTENDED)],
        pieces in prop::collection::vec(1..5000_usize, 1..9),
    ) {
        let mut stream = opening(mode);
        stream.extend(encode(&list, mode == EXTENDED));
        prop_assert!(talk(&stream, &pieces) == talk(&stream, &[usize::MAX]));
    }

    #[test]
    fn reads_see_what_was_written(list in requests()) {
        let start = talk(&opening(0), &[usize::MAX]).len();
        let mut stream = opening(0);
        stream.extend(encode(&list, false));
        check(&list, &talk(&stream, &[usize::MAX])[start..]);
    }
}

/// A short stream of every kind of message, cut at every byte.
#[test]
fn cut_at_every_byte() {
    let list = [
        Request::Write(10, vec![1, 2, 3]),
        Request::Read(9, 6),
        Request::Zero(0, 4096, true),
        Request::Status(0, 8192),
        Request::Trim(0, 1),
        Request::Read(SIZE, 1),
        Request::Flush,
    ];
    for mode in [0, STRUCTURED, EXTENDED] {
        let mut stream = opening(mode);
        stream.extend(encode(&list, mode == EXTENDED));
        let whole = talk(&stream, &[usize::MAX]);
        for cut in 1..stream.len() {
            assert!(talk(&stream, &[cut, usize::MAX]) == whole, "cut at {cut}");
        }
        assert!(talk(&stream, &[1]) == whole);
    }
}
