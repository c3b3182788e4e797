//! A client of a dialogue, without a socket.

use super::{ACK, GO, GREETING, SET_CONTEXT, STRUCTURED, Take, exports, go, option, queries};
use std::sync::Arc;
use zs_nbd::{Dialogue, Exports, MemoryDevice, Progress};

pub(crate) const SIZE: u64 = 1 << 20;

pub(crate) fn disk() -> Exports {
    exports(Arc::new(MemoryDevice::new(SIZE).unwrap()))
}

/// A dialogue after the client flags, and the bytes that it sent since.
pub(crate) struct Talk<'a> {
    pub(crate) dialogue: Dialogue<'a>,
    pub(crate) out: Vec<u8>,
}

impl<'a> Talk<'a> {
    pub(crate) fn new(exports: &'a Exports) -> Self {
        let mut out = Vec::new();
        let dialogue = Dialogue::new(exports, &mut out);
        assert_eq!(&out[..16], b"NBDMAGICIHAVEOPT");
        assert_eq!(out.len(), GREETING);
        let mut talk = Self { dialogue, out };
        talk.say(&3_u32.to_be_bytes());
        talk
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> &[u8] {
        self.out.clear();
        let progress = self.dialogue.feed(bytes, &mut self.out).unwrap();
        assert_eq!(progress, Progress::Open);
        &self.out
    }

    pub(crate) fn ask(&mut self, code: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut answers = Take(self.say(&option(code, data)));
        let mut list = Vec::new();
        while !answers.0.is_empty() {
            let (kind, data) = answers.answer(code);
            list.push((kind, data.to_vec()));
        }
        list
    }

    pub(crate) fn error_of(&mut self, code: u32, data: &[u8]) -> u32 {
        let answers = self.ask(code, data);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(!answers[0].1.is_empty(), "an error without a text");
        answers[0].0
    }

    pub(crate) fn structured(exports: &'a Exports) -> Self {
        let mut talk = Self::new(exports);
        assert_eq!(talk.ask(STRUCTURED, &[])[0].0, ACK);
        let selected = talk.ask(SET_CONTEXT, &queries("disk", &["base:allocation"]));
        assert_eq!(selected.len(), 2);
        assert_eq!(talk.ask(GO, &go("disk", &[])).last().unwrap().0, ACK);
        talk
    }
}

/// Returns the number of a structured error, and checks that it has a text.
pub(crate) fn error(talk: &mut Talk<'_>, bytes: &[u8]) -> u32 {
    let mut replies = Take(talk.say(bytes));
    let (flags, kind, _, data) = replies.chunk();
    assert_eq!((flags, kind), (1, 0x8001));
    assert!(replies.0.is_empty());
    assert!(data.len() > 6, "an error without a text");
    Take(data).u32()
}
