//! The protocol without a socket: every option, right and wrong.

mod client;

use client::talk::{SIZE, Talk, disk};
use client::{
    ABORT, ACK, ERR, EXPORT_NAME, EXTENDED, FLUSH, GO, INFO, LIST, LIST_CONTEXT, SET_CONTEXT,
    START_TLS, STRUCTURED, Take, go, option, queries, request,
};
use std::sync::Arc;
use zs_nbd::{Device, Dialogue, Export, Exports, MemoryDevice, Progress, Violation};

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
    for broken in [&b"\0\0\0\x01\xff\0\0"[..], b"\0\0\0\x02d\xc3\0\0"] {
        let answers = talk.ask(GO, broken);
        let text = String::from_utf8_lossy(&answers[0].1);
        assert_eq!(
            (answers[0].0, &*text),
            (ERR + 3, "a name that is not UTF-8")
        );
    }
    // Without structured replies, contexts can be listed but not selected.
    assert_eq!(talk.ask(LIST_CONTEXT, &queries("disk", &[])).len(), 2);
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
    assert_eq!(with(&option(ABORT, b"why not")), Ok(Progress::Over));
}

#[test]
fn old_clients_get_zeroes_unless_they_decline() {
    let exports = disk();
    let (zeroes, none) = (8 + 2 + 124, 8 + 2);
    for (flags, len) in [(0_u32, zeroes), (1, zeroes), (2, none), (3, none)] {
        let mut out = Vec::new();
        let mut dialogue = Dialogue::new(&exports, &mut out);
        out.clear();
        let bytes = [&flags.to_be_bytes()[..], &option(EXPORT_NAME, b"disk")].concat();
        assert_eq!(dialogue.feed(&bytes, &mut out), Ok(Progress::Open));
        assert_eq!(out.len(), len);
        assert!(out[10..].iter().all(|byte| *byte == 0));
        let answered = dialogue.feed(&request(FLUSH, 0, 1, 0, 0), &mut out);
        assert_eq!(answered, Ok(Progress::Open));
        assert_eq!(Take(&out[len..]).simple(), (0, 1));
    }
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

/// A client may ask about each of many exports. Once, more than 1000 options ended a connection,
/// which was too few for 500 exports.
#[test]
fn as_many_exports_as_there_are_can_be_asked_about() {
    const EXPORTS: usize = 20_000;
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(SIZE).unwrap());
    let named = |number| Export::new(format!("disk {number}"), "", Arc::clone(&device)).unwrap();
    let exports = Exports::new((0..EXPORTS).map(named).collect()).unwrap();
    let mut talk = Talk::new(&exports);
    assert_eq!(talk.ask(STRUCTURED, &[])[0].0, ACK);
    let list = talk.ask(LIST, &[]);
    assert_eq!(list.len(), EXPORTS + 1);
    for (_, entry) in &list[..EXPORTS] {
        let name = str::from_utf8(&entry[4..]).unwrap();
        assert_eq!(talk.ask(INFO, &go(name, &[1, 3])).last().unwrap().0, ACK);
        let contexts = talk.ask(LIST_CONTEXT, &queries(name, &[]));
        assert_eq!(contexts.last().unwrap().0, ACK);
    }
    assert_eq!(talk.ask(GO, &go("disk 19999", &[])).last().unwrap().0, ACK);
}
