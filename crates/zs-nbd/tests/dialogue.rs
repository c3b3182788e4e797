//! The protocol without a socket: every option and request, right and wrong.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;

use client::{
    ABORT, ACK, CACHE, DISCONNECT, ERR, EXPORT_NAME, EXTENDED, FLUSH, GO, GREETING, INFO, LIST,
    LIST_CONTEXT, READ, SET_CONTEXT, START_TLS, STATUS, STRUCTURED, TRIM, Take, WRITE, ZEROES,
    exports, extended, go, option, queries, request, write,
};
use std::sync::Arc;
use zs_nbd::{
    BlockSizes, Content, Context, Device, Dialogue, Errno, Export, Exports, Extents, MemoryDevice,
    Progress, Space, Violation,
};

const SIZE: u64 = 1 << 20;

fn disk() -> Exports {
    exports(Arc::new(MemoryDevice::new(SIZE).unwrap()))
}

/// A dialogue beyond the client's flags, and what it sent since.
struct Talk<'a> {
    dialogue: Dialogue<'a>,
    out: Vec<u8>,
}

impl<'a> Talk<'a> {
    fn new(exports: &'a Exports) -> Self {
        let mut out = Vec::new();
        let dialogue = Dialogue::new(exports, &mut out);
        assert_eq!(&out[..16], b"NBDMAGICIHAVEOPT");
        assert_eq!(out.len(), GREETING);
        let mut talk = Self { dialogue, out };
        talk.say(&3_u32.to_be_bytes());
        talk
    }

    fn say(&mut self, bytes: &[u8]) -> &[u8] {
        self.out.clear();
        let progress = self.dialogue.feed(bytes, &mut self.out).unwrap();
        assert_eq!(progress, Progress::Open);
        &self.out
    }

    fn ask(&mut self, code: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut answers = Take(self.say(&option(code, data)));
        let mut list = Vec::new();
        while !answers.0.is_empty() {
            let (kind, data) = answers.answer(code);
            list.push((kind, data.to_vec()));
        }
        list
    }

    fn error_of(&mut self, code: u32, data: &[u8]) -> u32 {
        let answers = self.ask(code, data);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(!answers[0].1.is_empty(), "an error without a text");
        answers[0].0
    }

    fn structured(exports: &'a Exports) -> Self {
        let mut talk = Self::new(exports);
        assert_eq!(talk.ask(STRUCTURED, &[])[0].0, ACK);
        let selected = talk.ask(SET_CONTEXT, &queries("disk", &["base:allocation"]));
        assert_eq!(selected.len(), 2);
        assert_eq!(talk.ask(GO, &go("disk", &[])).last().unwrap().0, ACK);
        talk
    }
}

#[test]
fn options_inform() {
    let exports = disk();
    let mut talk = Talk::new(&exports);
    let list = talk.ask(LIST, &[]);
    assert_eq!(list[0], (2, b"\0\0\0\x04diskof a test".to_vec()));
    assert_eq!(list[1].0, ACK);
    let info = talk.ask(INFO, &go("", &[1, 2, 3]));
    let kinds: Vec<u8> = info[..4].iter().map(|(_, data)| data[1]).collect();
    assert_eq!(kinds, [0, 1, 2, 3]);
    assert_eq!(info[0].1[2..10], SIZE.to_be_bytes());
    assert_eq!(&info[1].1[2..], b"disk");
    let sizes = [1_u32, 4096, 32 << 20].map(u32::to_be_bytes).concat();
    assert_eq!(info[3].1[2..], sizes);
    assert_eq!(info[4].0, ACK);
}

#[test]
fn options_refuse() {
    let exports = disk();
    let mut talk = Talk::new(&exports);
    assert_eq!(talk.error_of(77, b"data"), ERR + 1);
    assert_eq!(talk.error_of(START_TLS, &[]), ERR + 2);
    for code in [LIST, START_TLS, STRUCTURED, EXTENDED] {
        assert_eq!(talk.error_of(code, b"x"), ERR + 3);
    }
    assert_eq!(talk.error_of(GO, &go("other", &[])), ERR + 6);
    for broken in [&b""[..], b"\xff\xff\xff\xff", b"\0\0\0\x01d\0\x02\0\0"] {
        assert_eq!(talk.error_of(GO, broken), ERR + 3);
    }
    // Contexts without structured replies.
    assert_eq!(talk.error_of(SET_CONTEXT, &queries("disk", &[])), ERR + 3);
    talk.ask(EXTENDED, &[]);
    assert_eq!(talk.error_of(STRUCTURED, &[]), ERR + 10);
    let mut many = queries("disk", &["base:"]);
    many[11] = 2;
    assert_eq!(talk.error_of(LIST_CONTEXT, &many), ERR + 3);
}

#[test]
fn contexts_are_listed_and_selected() {
    let exports = disk();
    let mut talk = Talk::new(&exports);
    talk.ask(STRUCTURED, &[]);
    let found = |answers: Vec<(u32, Vec<u8>)>| answers.len() - 1;
    assert_eq!(found(talk.ask(LIST_CONTEXT, &queries("disk", &[]))), 1);
    assert_eq!(
        found(talk.ask(LIST_CONTEXT, &queries("disk", &["base:"]))),
        1
    );
    assert_eq!(
        found(talk.ask(LIST_CONTEXT, &queries("disk", &["qemu:x"]))),
        0
    );
    assert_eq!(
        found(talk.ask(SET_CONTEXT, &queries("disk", &["base:"]))),
        0
    );
    let selected = talk.ask(SET_CONTEXT, &queries("", &["x:y", "base:allocation"]));
    assert_eq!(found(selected.clone()), 1);
    assert_eq!(&selected[0].1[4..], b"base:allocation");
}

#[test]
fn hostile_handshakes_end() {
    let exports = disk();
    let start = |bytes: &[u8]| {
        let mut out = Vec::new();
        Dialogue::new(&exports, &mut out).feed(bytes, &mut out)
    };
    let with = |rest: &[u8]| start(&[&3_u32.to_be_bytes(), rest].concat());
    assert_eq!(start(&[0, 0, 0, 8]), Err(Violation::ClientFlags(8)));
    let magic = u64::from_be_bytes(*b"GET / HT");
    assert_eq!(with(b"GET / HTTP/1.1"), Err(Violation::OptionMagic(magic)));
    let huge = [&b"IHAVEOPT\0\0\0\x09"[..], &u32::MAX.to_be_bytes()].concat();
    assert!(matches!(
        with(&huge),
        Err(Violation::OptionLength { len: u32::MAX, .. })
    ));
    let name = option(EXPORT_NAME, b"other");
    assert_eq!(with(&name), Err(Violation::NoSuchExport));
    let endless = option(LIST, &[]).repeat(1001);
    assert_eq!(with(&endless), Err(Violation::Options(1000)));
    assert_eq!(with(&option(ABORT, b"why not")), Ok(Progress::Over));
}

#[test]
fn old_clients_get_zeroes_unless_they_decline() {
    let exports = disk();
    for (flags, len) in [(1_u32, 8 + 2 + 124), (3, 8 + 2)] {
        let mut out = Vec::new();
        let mut dialogue = Dialogue::new(&exports, &mut out);
        out.clear();
        let bytes = [&flags.to_be_bytes()[..], &option(EXPORT_NAME, b"disk")].concat();
        assert_eq!(dialogue.feed(&bytes, &mut out), Ok(Progress::Open));
        assert_eq!(out.len(), len);
    }
}

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
    // With DF, zeroes are sent.
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

/// Errors of structured replies: the number, and that there is a text.
fn error(talk: &mut Talk<'_>, bytes: &[u8]) -> u32 {
    let mut replies = Take(talk.say(bytes));
    let (flags, kind, _, data) = replies.chunk();
    assert_eq!((flags, kind), (1, 0x8001));
    assert!(replies.0.is_empty());
    assert!(data.len() > 6, "an error without a text");
    Take(data).u32()
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
        assert_eq!(error(&mut talk, &request(command, 0, 1, 0, 0)), 22);
        assert_eq!(error(&mut talk, &request(command, 1 << 15, 1, 0, 1)), 22);
    }
    assert_eq!(error(&mut talk, &request(READ, 0, 1, 0, u32::MAX)), 22);
    assert_eq!(error(&mut talk, &write(1, end + 1, &[1; 4096])), 28);
    assert_eq!(error(&mut talk, &write(1, u64::MAX, &[1; 4096])), 28);
    assert_eq!(error(&mut talk, &write(1, 0, &[])), 22);
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
    // What came before is answered.
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
    // A write without the flag that announces its payload; a payload where none belongs: both are taken off the stream.
    let inside = extended(TRIM, 0, 99, 0, SIZE);
    let mut bytes = extended(WRITE, 0, 5, 0, inside.len() as u64);
    bytes.extend(&inside);
    bytes.extend(extended(FLUSH, 32, 6, 0, 4));
    bytes.extend(b"junk");
    bytes.extend(extended(ZEROES, 0, 7, 1, u64::MAX));
    let mut replies = Take(talk.say(&bytes));
    for (cookie, errno) in [(5, 22), (6, 22), (7, 28)] {
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

/// A device with blocks of 512 bytes, that fails.
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

#[test]
fn exports_have_names() {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(0).unwrap());
    let named = |name: &str| Export::new(name, "", Arc::clone(&device));
    assert!(named(&"x".repeat(4097)).is_err());
    assert!(named("a\0b").is_err());
    assert!(Exports::new(Vec::new()).is_err());
    let twice = vec![named("a").unwrap(), named("a").unwrap()];
    assert!(Exports::new(twice).is_err());
}
