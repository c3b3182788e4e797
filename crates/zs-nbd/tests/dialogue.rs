//! The protocol without a socket: every request, right and wrong.

#[macro_use]
mod client;

use client::talk::{SIZE, Talk, disk, error};
use client::{
    CACHE, DISCONNECT, ERR, EXTENDED, FLUSH, GO, READ, SET_CONTEXT, STATUS, STRUCTURED, TRIM, Take,
    WRITE, ZEROES, exports, extended, go, queries, request, write,
};
use std::sync::Arc;
use zs_nbd::{
    BlockSizes, Content, Context, Device, Errno, Extents, MemoryDevice, Progress, Space, Violation,
};

#[test]
fn structured_replies() {
    let exports = disk();
    let mut talk = Talk::structured(&exports);
    let mut payload = vec![7; 4096];
    payload[9] = 9;
    assert_eq!(Take(talk.say(&write(5, 8192, &payload))).simple(), (0, 5));
    let (flags, kind, cookie, data) = Take(talk.say(&request(READ, 0, 6, 8192, 4096))).chunk();
    assert_eq!((flags, kind, cookie), (1, 1, 6));
    assert_eq!(data[..8], 8192_u64.to_be_bytes());
    assert_eq!(data[8..], payload);
    let (_, kind, _, hole) = Take(talk.say(&request(READ, 0, 6, 0, 8192))).chunk();
    assert_eq!((kind, hole), (2, &b"\0\0\0\0\0\0\0\0\0\0\x20\0"[..]));
    // With DF, zeroes are sent as data.
    let (_, kind, _, zeroes) = Take(talk.say(&request(READ, 4, 6, 0, 8192))).chunk();
    assert_eq!((kind, zeroes.len()), (1, 8 + 8192));
    assert!(zeroes.iter().all(|byte| *byte == 0));
    let (_, kind, _, status) = Take(talk.say(&request(STATUS, 0, 6, 4096, 1 << 16))).chunk();
    assert_eq!(kind, 5);
    let extents = [1_u32, 4096, 3, 4096, 0, (1 << 16) - 8192, 3];
    assert_eq!(status, extents.map(u32::to_be_bytes).concat());
    let (_, _, _, one) = Take(talk.say(&request(STATUS, 8, 6, 4096, 1 << 16))).chunk();
    assert_eq!(one, [1_u32, 4096, 3].map(u32::to_be_bytes).concat());
}

/// Returns the answer to a large read from offset 1000 on, with cookie 6: kind, offset and length
/// of data and holes, with neighbours of one kind joined. The read is executed in pieces, and its
/// end is a chunk of its own.
fn parts(answer: &[u8], wide: bool) -> Vec<(u16, u64, u64)> {
    let mut replies = Take(answer);
    let mut joined: Vec<(u16, u64, u64)> = Vec::new();
    loop {
        let (flags, kind, data) = match wide {
            true => {
                let (flags, kind, cookie, offset, data) = replies.extended();
                assert_eq!((cookie, offset), (6, 1000));
                (flags, kind, data)
            }
            false => {
                let (flags, kind, cookie, data) = replies.chunk();
                assert_eq!(cookie, 6);
                (flags, kind, data)
            }
        };
        if (flags, kind) == (1, 0) {
            assert!(data.is_empty() && replies.0.is_empty());
            return joined;
        }
        assert_eq!(flags, 0);
        let mut data = Take(data);
        let offset = data.u64();
        let len = match kind {
            1 => data.0.len() as u64,
            _ => u64::from(data.u32()),
        };
        if kind == 1 {
            let is = |(at, byte): (usize, &u8)| {
                let inside = (300_000..310_000).contains(&(offset + at as u64));
                *byte == u8::from(inside) * 7
            };
            assert!(data.0.iter().enumerate().all(is));
        }
        match joined.last_mut() {
            Some(last) if last.0 == kind && last.1 + last.2 == offset => last.2 += len,
            _ => joined.push((kind, offset, len)),
        }
    }
}

/// A disk of 2 MiB that is written in one block, pages 0 and 1 of it: data, holes and the rest of a
/// page.
#[test]
fn holes_among_data_are_not_sent() {
    let exports = disk();
    for (wide, head) in [(false, 28), (true, 40)] {
        let mut talk = Talk::new(&exports);
        talk.ask(if wide { EXTENDED } else { STRUCTURED }, &[]);
        talk.ask(GO, &go("disk", &[]));
        let read = |flags: u16, offset: u64, len: u32| match wide {
            true => extended(READ, flags, 6, offset, u64::from(len)),
            false => request(READ, flags, 6, offset, len),
        };
        if !wide {
            talk.say(&write(5, 300_000, &[7; 10_000]));
        }
        // From inside a hole to behind the data, and a few zeroes, which are too few for a hole.
        let bytes = read(0, 1000, SIZE as u32 - 2000);
        let answer = talk.say(&bytes).to_vec();
        // Pages from 299 008 to 311 296 have data in them.
        let end = SIZE - 1000;
        let data = (299_008, 311_296 - 299_008);
        let expected = [
            (2, 1000, 299_008 - 1000),
            (1, data.0, data.1),
            (2, 311_296, end - 311_296),
        ];
        assert_eq!(parts(&answer, wide), expected);
        assert!(answer.len() < 13_000);
        // In one piece; with data at both ends; and with data only.
        for (flags, offset, len, holes) in [
            (4, 0, SIZE as u32, 0),
            (0, 309_999, 5000, 0),
            (0, 300_000, 10_000, 0),
            (0, 309_999, 6000, 1),
        ] {
            let bytes = read(flags, offset, len);
            let plain = len as usize + head;
            let sent = talk.say(&bytes).len();
            assert_eq!(sent < plain, holes > 0, "{sent} for {len} at {offset}");
            assert!(holes > 0 || sent == plain);
        }
    }
}

/// A device with stored sizes: two contexts in one answer, with numbers beyond 32 bits.
#[derive(Debug)]
struct Sizes;

impl Device for Sizes {
    fn size(&self) -> u64 {
        8192
    }
    fn zeroes_fast(&self) -> bool {
        true
    }
    fn knows(&self, _: Context) -> bool {
        true
    }
    fn read(&self, _: u64, _: &mut [u8]) -> Result<Content, Errno> {
        Ok(Content::Zeroes)
    }
    changes_nothing!();
    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn block_status(&self, _: u64, found: &mut Extents, context: Context) -> Result<(), Errno> {
        match context {
            Context::Allocation => found.push(8192, Extents::DATA),
            Context::StoredSize => found.push(4096, 77) && found.push(4096, 1 << 40),
        };
        Ok(())
    }
}

#[test]
fn two_contexts_in_one_status() {
    let exports = exports(Arc::new(Sizes));
    let both = queries("disk", &["x-zs:stored-size", "base:allocation"]);
    let mut talk = Talk::new(&exports);
    talk.ask(STRUCTURED, &[]);
    assert_eq!(talk.ask(SET_CONTEXT, &both).len(), 3);
    talk.ask(GO, &go("disk", &[]));
    let mut replies = Take(talk.say(&request(STATUS, 0, 6, 0, 8192)));
    let (flags, kind, _, data) = replies.chunk();
    assert_eq!((flags, kind), (0, 5), "more follows");
    assert_eq!(data, [1_u32, 8192, 0].map(u32::to_be_bytes).concat());
    let (flags, kind, _, data) = replies.chunk();
    assert_eq!((flags, kind), (1, 5));
    let sizes = [2, 4096, 77, 4096, u32::MAX];
    assert_eq!(data, sizes.map(u32::to_be_bytes).concat());
    assert!(replies.0.is_empty());
    let mut talk = Talk::new(&exports);
    talk.ask(EXTENDED, &[]);
    talk.ask(SET_CONTEXT, &both);
    talk.ask(GO, &go("disk", &[]));
    let mut replies = Take(talk.say(&extended(STATUS, 0, 6, 0, 8192)));
    assert_eq!(replies.extended().1, 6);
    let (flags, _, _, _, data) = replies.extended();
    let sizes = [4096_u64, 77, 4096, 1 << 40].map(u64::to_be_bytes).concat();
    assert_eq!((flags, &data[8..]), (1, &sizes[..]));
}

/// Fast zeroes are offered only for a device that is fast at them, and refused for others.
#[test]
fn zeroes_are_fast_or_refused() {
    const FAST: u16 = 16;
    for (device, fast) in [
        (Arc::new(Sizes) as Arc<dyn Device>, true),
        (Arc::new(MemoryDevice::new(SIZE).unwrap()), false),
    ] {
        let exports = exports(device);
        let mut talk = Talk::new(&exports);
        let info = talk.ask(GO, &go("disk", &[]));
        let offered = Take(&info[0].1[10..]).u16() & (1 << 11) != 0;
        assert_eq!(offered, fast);
        let errno = if fast { 0 } else { 95 };
        let mut replies = Take(talk.say(&request(ZEROES, FAST, 6, 0, 4096)));
        assert_eq!(replies.simple(), (errno, 6));
    }
}

#[test]
fn bad_requests_are_answered_and_the_connection_lives() {
    let exports = disk();
    let mut talk = Talk::structured(&exports);
    let end = SIZE - 4096;
    for (command, errno) in [
        (READ, 22),
        (TRIM, 22),
        (ZEROES, 28),
        (CACHE, 22),
        (STATUS, 22),
    ] {
        for (offset, len) in [(end + 1, 4096), (u64::MAX, 2), (u64::MAX - 4096, u32::MAX)] {
            assert_eq!(
                error(&mut talk, &request(command, 0, 1, offset, len)),
                errno
            );
        }
        assert_eq!(error(&mut talk, &request(command, 1 << 15, 1, 0, 1)), 22);
    }
    assert_eq!(error(&mut talk, &request(READ, 0, 1, 0, u32::MAX)), 22);
    assert_eq!(error(&mut talk, &write(1, end + 1, &[1; 4096])), 28);
    assert_eq!(error(&mut talk, &write(1, u64::MAX, &[1; 4096])), 28);
    assert_eq!(error(&mut talk, &request(STATUS, 0, 1, 0, 0)), 22);
    assert_eq!(error(&mut talk, &request(READ, 0, 1, SIZE + 1, 0)), 22);
    // The server cannot know whether a payload follows.
    assert_eq!(error(&mut talk, &request(READ, 32, 1, 0, 1)), 22);
    assert_eq!(error(&mut talk, &request(99, 0, 1, 0, 1)), 22);
    assert_eq!(error(&mut talk, &request(FLUSH, 2, 1, 0, 0)), 22);
    assert_eq!(Take(talk.say(&request(FLUSH, 1, 1, 0, 0))).simple(), (0, 1));
    for command in [TRIM, ZEROES, CACHE] {
        let bytes = request(command, 1, 4, 0, SIZE as u32);
        assert_eq!(Take(talk.say(&bytes)).simple(), (0, 4));
    }
}

#[test]
fn hostile_requests_end() {
    let exports = disk();
    let mut out = Vec::new();
    let mut talk = Talk::structured(&exports);
    let huge = request(WRITE, 0, 1, 0, (32 << 20) + 1);
    assert!(matches!(
        talk.dialogue.feed(&huge, &mut out),
        Err(Violation::Payload { len, most }) if len == most + 1
    ));
    let mut talk = Talk::structured(&exports);
    // The requests before it are answered.
    let two = [request(FLUSH, 0, 8, 0, 0), vec![b'x'; 28]].concat();
    let broken = talk.dialogue.feed(&two, &mut out);
    assert_eq!(broken, Err(Violation::RequestMagic(0x7878_7878)));
    assert_eq!(Take(&out).simple(), (0, 8));
    let mut talk = Talk::structured(&exports);
    let bye = talk
        .dialogue
        .feed(&request(DISCONNECT, 0, 1, 0, 0), &mut out);
    assert_eq!(bye, Ok(Progress::Over));
}

#[test]
fn extended_headers() {
    let exports = disk();
    let mut talk = Talk::new(&exports);
    talk.ask(EXTENDED, &[]);
    talk.ask(SET_CONTEXT, &queries("disk", &["base:allocation"]));
    talk.ask(GO, &go("disk", &[]));
    let mut bytes = extended(WRITE, 32, 1, 4096, 3);
    bytes.extend(b"abc");
    bytes.extend(extended(READ, 0, 2, 4095, 5));
    bytes.extend(extended(ZEROES, 2, 3, 0, SIZE));
    bytes.extend(extended(STATUS, 0, 4, 0, SIZE));
    let mut replies = Take(talk.say(&bytes));
    assert_eq!(replies.extended(), (1, 0, 1, 4096, &b""[..]));
    let (_, kind, _, offset, data) = replies.extended();
    assert_eq!((kind, offset), (1, 4095));
    assert_eq!(&data[8..], b"\0abc\0");
    assert_eq!(replies.extended(), (1, 0, 3, 0, &b""[..]));
    let (_, kind, _, _, status) = replies.extended();
    let mut status = Take(status);
    assert_eq!((kind, status.u32(), status.u32()), (6, 1, 1));
    assert_eq!((status.u64(), status.u64()), (SIZE, 2));
    // A payload of a command that has none is taken off the stream.
    let mut bytes = extended(FLUSH, 32, 6, 0, 4);
    bytes.extend(b"junk");
    bytes.extend(extended(ZEROES, 0, 7, 1, u64::MAX));
    let mut replies = Take(talk.say(&bytes));
    for (cookie, errno) in [(6, 22), (7, 28)] {
        let (_, kind, told, _, data) = replies.extended();
        assert_eq!((kind, told, Take(data).u32()), (0x8001, cookie, errno));
    }
    let mut out = Vec::new();
    for flags in [0, 32] {
        let mut talk = Talk::new(&exports);
        talk.ask(EXTENDED, &[]);
        talk.ask(GO, &go("disk", &[]));
        let huge = extended(WRITE, flags, 8, 0, u64::MAX);
        assert!(matches!(
            talk.dialogue.feed(&huge, &mut out),
            Err(Violation::Payload { len: u64::MAX, .. })
        ));
    }
}

/// The payload is skipped whatever its length and contents: here it holds writes, which must not be
/// executed.
#[test]
fn the_payload_of_a_refused_large_request_is_no_request() {
    for command in [READ, TRIM, STATUS] {
        let exports = disk();
        let mut talk = Talk::new(&exports);
        talk.ask(EXTENDED, &[]);
        talk.ask(GO, &go("disk", &[]));
        let len = 200 << 10;
        let mut bad = extended(WRITE, 32, 9, 0, 4096);
        bad.resize(bad.len() + 4096, 7);
        let payload: Vec<u8> = bad.into_iter().cycle().take(len).collect();
        let mut bytes = extended(command, 32, 1, 0, len as u64);
        bytes.extend(payload);
        bytes.extend(extended(READ, 0, 2, 0, 4096));
        let answer = talk.say(&bytes);
        let mut replies = Take(answer);
        let (_, kind, cookie, _, data) = replies.extended();
        assert_eq!((kind, cookie, Take(data).u32()), (0x8001, 1, 22));
        let (_, kind, cookie, _, hole) = replies.extended();
        assert_eq!(
            (kind, cookie, hole.len()),
            (2, 2, 12),
            "nothing was written"
        );
    }
}

/// A device with blocks of 512 bytes whose methods fail.
#[derive(Debug)]
struct Failing;

impl Device for Failing {
    fn size(&self) -> u64 {
        4096
    }
    fn block_sizes(&self) -> BlockSizes {
        BlockSizes {
            minimum: 512,
            ..BlockSizes::default()
        }
    }
    fn read(&self, _: u64, _: &mut [u8]) -> Result<Content, Errno> {
        Err(Errno::Io)
    }
    fn write(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::NoSpc)
    }
    fn write_zeroes(&self, _: u64, _: u64, _: Space) -> Result<(), Errno> {
        Err(Errno::NoMem)
    }
    fn trim(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::Overflow)
    }
    fn flush(&self) -> Result<(), Errno> {
        Err(Errno::Shutdown)
    }
    fn block_status(&self, _: u64, _: &mut Extents, _: Context) -> Result<(), Errno> {
        Ok(())
    }
}

#[test]
fn errors_of_the_device_reach_the_client() {
    let exports = exports(Arc::new(Failing));
    let mut talk = Talk::new(&exports);
    let refused = talk.ask(GO, &go("disk", &[]));
    assert_eq!(
        refused.last().unwrap().0,
        ERR + 8,
        "block sizes were not asked for"
    );
    talk.ask(GO, &go("disk", &[3]));
    let codes = [(READ, 5), (ZEROES, 12), (TRIM, 75), (FLUSH, 108)];
    for (command, errno) in codes {
        let mut replies = Take(talk.say(&request(command, 0, 3, 0, 512)));
        assert_eq!(replies.simple(), (errno, 3));
        assert!(replies.0.is_empty(), "data behind an error");
    }
    assert_eq!(Take(talk.say(&write(3, 0, &[1; 512]))).simple(), (28, 3));
    assert_eq!(Take(talk.say(&write(3, 1, &[1; 512]))).simple(), (22, 3));
    let mut talk = Talk::new(&exports);
    talk.ask(STRUCTURED, &[]);
    talk.ask(SET_CONTEXT, &queries("disk", &["base:allocation"]));
    talk.ask(GO, &go("disk", &[3]));
    assert_eq!(error(&mut talk, &request(STATUS, 0, 1, 0, 512)), 5);
    assert_eq!(error(&mut talk, &request(READ, 0, 1, 0, 512)), 5);
}

/// A device whose end cannot be read or written.
#[derive(Debug)]
struct Torn;

/// The offset from which it fails.
const TEAR: u64 = 300_000;

impl Device for Torn {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        buf.fill(7);
        match offset + buf.len() as u64 > TEAR {
            true => Err(Errno::Io),
            false => Ok(Content::Data),
        }
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        match offset + bytes.len() as u64 > TEAR {
            true => Err(Errno::NoSpc),
            false => Ok(()),
        }
    }
    fn write_zeroes(&self, _: u64, _: u64, _: Space) -> Result<(), Errno> {
        Ok(())
    }
    fn trim(&self, _: u64, _: u64) -> Result<(), Errno> {
        Ok(())
    }
    fn flush(&self) -> Result<(), Errno> {
        unreachable!("a write that failed is not flushed")
    }
    fn block_status(&self, _: u64, _: &mut Extents, _: Context) -> Result<(), Errno> {
        Ok(())
    }
}

/// Large requests that fail in the middle are answered with an error, and their clients go on.
#[test]
fn a_large_request_that_fails_in_the_middle_is_answered() {
    let exports = exports(Arc::new(Torn));
    let (large, small) = (512 << 10, 64 << 10);
    for option in [None, Some(STRUCTURED)] {
        let mut talk = Talk::new(&exports);
        if let Some(option) = option {
            talk.ask(option, &[]);
        }
        talk.ask(GO, &go("disk", &[]));
        // In one piece, because of a simple reply or of DF: an error and nothing else.
        let df = if option.is_some() { 4 } else { 0 };
        let mut replies = Take(talk.say(&request(READ, df, 1, 0, large)));
        match option {
            None => assert_eq!(replies.simple(), (5, 1)),
            Some(_) => {
                let (flags, kind, _, data) = replies.chunk();
                assert_eq!((flags, kind, Take(data).u32()), (1, 0x8001, 5));
                // In pieces: the data that could be read, then the error.
                let mut chunks = Take(talk.say(&request(READ, 0, 2, 0, large)));
                let kinds: Vec<u16> =
                    std::iter::from_fn(|| (!chunks.0.is_empty()).then(|| chunks.chunk().1))
                        .collect();
                assert_eq!(kinds, [1, 1, 0x8001]);
                replies = Take(&[]);
            }
        }
        assert!(replies.0.is_empty(), "data behind an error");
        // With FUA, which flushes what was written.
        let mut bytes = request(WRITE, 1, 3, 0, large);
        bytes.extend(vec![1; large as usize]);
        let mut replies = Take(talk.say(&bytes));
        match option {
            None => assert_eq!(replies.simple(), (28, 3)),
            Some(_) => assert_eq!(Take(replies.chunk().3).u32(), 28),
        }
        assert!(replies.0.is_empty(), "answered twice");
        assert!(talk.say(&request(READ, 0, 4, 0, small)).len() > small as usize);
    }
}

#[test]
fn read_only_exports_refuse_writes() {
    let device = MemoryDevice::new(SIZE).unwrap().into_read_only();
    let exports = exports(Arc::new(device));
    let mut talk = Talk::structured(&exports);
    assert_eq!(error(&mut talk, &write(1, 0, &[1; 512])), 1);
    assert_eq!(error(&mut talk, &request(TRIM, 0, 1, 0, 512)), 1);
    assert_eq!(error(&mut talk, &request(ZEROES, 0, 1, 0, 512)), 1);
    assert_eq!(Take(talk.say(&request(READ, 0, 1, 0, 512))).chunk().1, 2);
}
