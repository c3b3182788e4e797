//! Answers to options.

use super::option::name;
use crate::device::Context;
use crate::lengths::to_u32;
use crate::refusals::Refusals;

const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Kinds of answers.
pub(super) mod rep {
    pub(in crate::proto) const ACK: u32 = 1;
    pub(in crate::proto) const SERVER: u32 = 2;
    pub(in crate::proto) const INFO: u32 = 3;
    pub(in crate::proto) const META_CONTEXT: u32 = 4;
    pub(in crate::proto) const UNSUP: u32 = 0x8000_0001;
    pub(in crate::proto) const POLICY: u32 = 0x8000_0002;
    pub(in crate::proto) const INVALID: u32 = 0x8000_0003;
    pub(in crate::proto) const TLS_REQD: u32 = 0x8000_0005;
    pub(in crate::proto) const UNKNOWN: u32 = 0x8000_0006;
    pub(in crate::proto) const BLOCK_SIZE_REQD: u32 = 0x8000_0008;
    pub(in crate::proto) const EXT_HEADER_REQD: u32 = 0x8000_000a;

    /// Returns the name of an error.
    pub(super) const fn name(error: u32) -> &'static str {
        match error {
            UNSUP => "NBD_REP_ERR_UNSUP",
            POLICY => "NBD_REP_ERR_POLICY",
            INVALID => "NBD_REP_ERR_INVALID",
            TLS_REQD => "NBD_REP_ERR_TLS_REQD",
            UNKNOWN => "NBD_REP_ERR_UNKNOWN",
            BLOCK_SIZE_REQD => "NBD_REP_ERR_BLOCK_SIZE_REQD",
            EXT_HEADER_REQD => "NBD_REP_ERR_EXT_HEADER_REQD",
            _ => "an error",
        }
    }
}

/// Items of `NBD_REP_INFO`.
pub(super) mod item {
    pub(in crate::proto) const EXPORT: u16 = 0;
    pub(in crate::proto) const NAME: u16 = 1;
    pub(in crate::proto) const DESCRIPTION: u16 = 2;
    pub(in crate::proto) const BLOCK_SIZE: u16 = 3;
}

/// The buffer for the answers to an option.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    pub(super) option: u32,
    pub(super) refusals: &'a Refusals,
    pub(super) out: &'a mut Vec<u8>,
}

impl Answers<'_> {
    pub(super) fn send(&mut self, kind: u32, data: &[&[u8]]) {
        let len: usize = data.iter().map(|part| part.len()).sum();
        self.out.extend(REPLY_MAGIC.to_be_bytes());
        self.out.extend(self.option.to_be_bytes());
        self.out.extend(kind.to_be_bytes());
        self.out.extend(to_u32(len).to_be_bytes());
        for part in data {
            self.out.extend_from_slice(part);
        }
    }

    pub(super) fn refuse(&mut self, kind: u32, why: &str) {
        self.refusals.note(name(self.option), rep::name(kind), why);
        self.send(kind, &[why.as_bytes()]);
    }

    pub(super) fn context(&mut self, id: u32, context: Context) {
        let name = context.name().as_bytes();
        self.send(rep::META_CONTEXT, &[&id.to_be_bytes(), name]);
    }
}
