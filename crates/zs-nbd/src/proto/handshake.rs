//! Fixed newstyle: options until a client and an export have come together.

use super::option::{
    ABORT, EXPORT_NAME, EXTENDED_HEADERS, GO, INFO, Inquiry, LIST, LIST_META_CONTEXT, Queries,
    SET_META_CONTEXT, START_TLS, STRUCTURED_REPLY,
};
use super::wire::Reader;
use super::{Mode, Violation};
use crate::device::Context;
use crate::export::{Export, Exports};

const INIT: &[u8; 8] = b"NBDMAGIC";
const I_HAVE_OPT: u64 = 0x4948_4156_454f_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Flags of both sides.
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

/// Most bytes of data that an option has.
const MAX_DATA: u32 = 64 << 10;
/// With so many bytes of answers, they are sent before the next option is looked at.
const FULL_BYTES: usize = 64 << 10;
/// Most options of one handshake: a client needs less than ten.
const MAX_OPTIONS: u32 = 1000;

/// Answers to options.
mod rep {
    pub(super) const ACK: u32 = 1;
    pub(super) const SERVER: u32 = 2;
    pub(super) const INFO: u32 = 3;
    pub(super) const META_CONTEXT: u32 = 4;
    pub(super) const UNSUP: u32 = 0x8000_0001;
    pub(super) const POLICY: u32 = 0x8000_0002;
    pub(super) const INVALID: u32 = 0x8000_0003;
    pub(super) const TLS_REQD: u32 = 0x8000_0005;
    pub(super) const UNKNOWN: u32 = 0x8000_0006;
    pub(super) const BLOCK_SIZE_REQD: u32 = 0x8000_0008;
    pub(super) const EXT_HEADER_REQD: u32 = 0x8000_000a;
}

/// Items of `NBD_REP_INFO`.
mod item {
    pub(super) const EXPORT: u16 = 0;
    pub(super) const NAME: u16 = 1;
    pub(super) const DESCRIPTION: u16 = 2;
    pub(super) const BLOCK_SIZE: u16 = 3;
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// It is not, and cannot be.
    Clear,
    /// It has to be first (`FORCEDTLS`).
    Wanted,
    /// It is.
    Encrypted,
}

/// What has been agreed upon.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    pub(crate) export: Export,
    pub(crate) mode: Mode,
    /// What block status tells.
    pub(crate) contexts: Vec<Context>,
}

/// What follows upon some input.
#[derive(Debug)]
pub(crate) enum Step {
    /// More input is wanted.
    More,
    /// The output is to be sent; the input has not been looked at to its end.
    Send,
    /// TLS begins, once the output is sent; then [`Handshake::encrypted`].
    StartTls,
    /// Requests begin.
    Begin(Agreement),
    /// The client wants to end.
    End,
}

/// The server's side of a handshake.
#[derive(Debug)]
pub(crate) struct Handshake<'a> {
    exports: &'a Exports,
    security: Security,
    has_flags: bool,
    zeroes: bool,
    options: u32,
    mode: Mode,
    /// Of which export, and which of its contexts.
    selected: Option<(String, Vec<Context>)>,
}

/// An answer to an option, and what it leads to.
struct Answers<'a> {
    option: u32,
    out: &'a mut Vec<u8>,
}

impl Answers<'_> {
    fn send(&mut self, kind: u32, data: &[&[u8]]) {
        let len: usize = data.iter().map(|part| part.len()).sum();
        self.out.extend(REPLY_MAGIC.to_be_bytes());
        self.out.extend(self.option.to_be_bytes());
        self.out.extend(kind.to_be_bytes());
        self.out.extend((len as u32).to_be_bytes());
        for part in data {
            self.out.extend_from_slice(part);
        }
    }

    fn refuse(&mut self, kind: u32, why: &str) {
        self.send(kind, &[why.as_bytes()]);
    }

    fn context(&mut self, id: u32, context: Context) {
        let name = context.name().as_bytes();
        self.send(rep::META_CONTEXT, &[&id.to_be_bytes(), name]);
    }
}

impl<'a> Handshake<'a> {
    /// Begins one, with the server's greeting.
    pub(crate) fn new(exports: &'a Exports, security: Security, out: &mut Vec<u8>) -> Self {
        out.extend(INIT);
        out.extend(I_HAVE_OPT.to_be_bytes());
        out.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
        Self {
            exports,
            security,
            has_flags: false,
            zeroes: true,
            options: 0,
            mode: Mode::Simple,
            selected: None,
        }
    }

    /// Takes what it understands from the front of `input`, and appends the answers. Returns how many bytes it took.
    pub(crate) fn advance(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), Violation> {
        let mut rest = Reader(input);
        loop {
            let taken = input.len() - rest.0.len();
            if !self.has_flags {
                let Some(flags) = rest.u32() else {
                    return Ok((taken, Step::More));
                };
                self.take_flags(flags)?;
                continue;
            }
            let Some((option, data)) = next_option(&mut rest)? else {
                return Ok((taken, Step::More));
            };
            self.options += 1;
            if self.options > MAX_OPTIONS {
                return Err(Violation::Options(MAX_OPTIONS));
            }
            let step = self.option(option, data, out)?;
            if matches!(step, Step::StartTls) && !rest.is_empty() {
                return Err(Violation::BehindStartTls);
            }
            let taken = input.len() - rest.0.len();
            if !matches!(step, Step::More) {
                return Ok((taken, step));
            }
            if out.len() >= FULL_BYTES {
                return Ok((taken, Step::Send));
            }
        }
    }

    /// TLS has begun: whatever was agreed upon before is void.
    pub(crate) fn encrypted(&mut self) {
        self.security = Security::Encrypted;
        self.mode = Mode::Simple;
        self.selected = None;
    }

    fn take_flags(&mut self, flags: u32) -> Result<(), Violation> {
        if flags & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
            return Err(Violation::ClientFlags(flags));
        }
        self.zeroes = flags & u32::from(NO_ZEROES) == 0;
        self.has_flags = true;
        Ok(())
    }

    fn option(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Result<Step, Violation> {
        let mut answers = Answers { option, out };
        let plain = matches!(
            option,
            LIST | START_TLS | STRUCTURED_REPLY | EXTENDED_HEADERS
        );
        match option {
            ABORT => {
                answers.send(rep::ACK, &[]);
                return Ok(Step::End);
            }
            EXPORT_NAME => return self.export_name(data, answers.out),
            _ if plain && !data.is_empty() => {
                answers.refuse(rep::INVALID, "this option has no data");
            }
            START_TLS => return Ok(self.start_tls(&mut answers)),
            _ if self.security == Security::Wanted => {
                answers.refuse(rep::TLS_REQD, "TLS first: NBD_OPT_STARTTLS");
            }
            LIST => self.list(&mut answers),
            INFO | GO => return Ok(self.inform(data, &mut answers)),
            STRUCTURED_REPLY if self.mode == Mode::Extended => {
                answers.refuse(rep::EXT_HEADER_REQD, "extended headers were agreed upon");
            }
            STRUCTURED_REPLY => {
                self.mode = Mode::Structured;
                answers.send(rep::ACK, &[]);
            }
            EXTENDED_HEADERS => {
                self.mode = Mode::Extended;
                answers.send(rep::ACK, &[]);
            }
            LIST_META_CONTEXT | SET_META_CONTEXT => self.contexts(data, &mut answers),
            _ => answers.refuse(rep::UNSUP, "this server does not know this option"),
        }
        Ok(Step::More)
    }

    fn export_name(&self, data: &[u8], out: &mut Vec<u8>) -> Result<Step, Violation> {
        let name = std::str::from_utf8(data).ok();
        let may = self.security != Security::Wanted && self.mode != Mode::Extended;
        let export = name
            .filter(|_| may)
            .and_then(|name| self.exports.find(name));
        let export = export.ok_or(Violation::NoSuchExport)?;
        out.extend(export.device().size().to_be_bytes());
        out.extend(self.transmission_flags(export).to_be_bytes());
        if self.zeroes {
            out.extend([0; 124]);
        }
        Ok(Step::Begin(self.agreement(export)))
    }

    fn start_tls(&self, answers: &mut Answers<'_>) -> Step {
        match self.security {
            Security::Clear => answers.refuse(rep::POLICY, "this server has no TLS here"),
            Security::Encrypted => answers.refuse(rep::INVALID, "TLS is on already"),
            Security::Wanted => {
                answers.send(rep::ACK, &[]);
                return Step::StartTls;
            }
        }
        Step::More
    }

    fn list(&self, answers: &mut Answers<'_>) {
        for export in self.exports.list() {
            let name = export.name().as_bytes();
            let len = (name.len() as u32).to_be_bytes();
            let description = export.description().as_bytes();
            answers.send(rep::SERVER, &[&len, name, description]);
        }
        answers.send(rep::ACK, &[]);
    }

    fn inform(&self, data: &[u8], answers: &mut Answers<'_>) -> Step {
        let Some(inquiry) = Inquiry::parse(data) else {
            answers.refuse(rep::INVALID, "lengths that do not add up");
            return Step::More;
        };
        let Some(export) = self.exports.find(inquiry.export) else {
            answers.refuse(rep::UNKNOWN, "there is no export of this name");
            return Step::More;
        };
        let device = export.device();
        let kind = item::EXPORT.to_be_bytes();
        let size = device.size().to_be_bytes();
        let flags = self.transmission_flags(export).to_be_bytes();
        answers.send(rep::INFO, &[&kind, &size, &flags]);
        let texts = [
            (item::NAME, export.name()),
            (item::DESCRIPTION, export.description()),
        ];
        for (kind, text) in texts {
            if inquiry.asks_for(kind) {
                answers.send(rep::INFO, &[&kind.to_be_bytes(), text.as_bytes()]);
            }
        }
        let sizes = device.block_sizes();
        let knows_sizes = inquiry.asks_for(item::BLOCK_SIZE);
        if knows_sizes || sizes.minimum > 1 {
            let sizes = [sizes.minimum, sizes.preferred, sizes.maximum].map(u32::to_be_bytes);
            let kind = item::BLOCK_SIZE.to_be_bytes();
            answers.send(rep::INFO, &[&kind, &sizes[0], &sizes[1], &sizes[2]]);
        }
        if sizes.minimum > 1 && !knows_sizes && answers.option == GO {
            answers.refuse(rep::BLOCK_SIZE_REQD, "ask for NBD_INFO_BLOCK_SIZE");
            return Step::More;
        }
        answers.send(rep::ACK, &[]);
        if answers.option == GO {
            return Step::Begin(self.agreement(export));
        }
        Step::More
    }

    fn contexts(&mut self, data: &[u8], answers: &mut Answers<'_>) {
        let selects = answers.option == SET_META_CONTEXT;
        if selects {
            self.selected = None;
        }
        if self.mode == Mode::Simple {
            return answers.refuse(rep::INVALID, "structured replies first");
        }
        let Some(queries) = Queries::parse(data) else {
            return answers.refuse(rep::INVALID, "lengths that do not add up");
        };
        let Some(export) = self.exports.find(queries.export) else {
            return answers.refuse(rep::UNKNOWN, "there is no export of this name");
        };
        let known = Context::ALL
            .into_iter()
            .filter(|context| export.device().knows(*context));
        let asked: Vec<Context> = known
            .filter(|context| {
                queries
                    .list
                    .iter()
                    .any(|query| matches(query, *context, selects))
            })
            .collect();
        if selects {
            for context in &asked {
                answers.context(context.id(), *context);
            }
            self.selected = Some((export.name().to_owned(), asked));
        } else if queries.list.is_empty() {
            for context in Context::ALL {
                if export.device().knows(context) {
                    answers.context(0, context);
                }
            }
        } else {
            for context in asked {
                answers.context(0, context);
            }
        }
        answers.send(rep::ACK, &[]);
    }

    fn transmission_flags(&self, export: &Export) -> u16 {
        const HAS_FLAGS: u16 = 1;
        const READ_ONLY: u16 = 1 << 1;
        const FLUSH: u16 = 1 << 2;
        const FUA: u16 = 1 << 3;
        const TRIM: u16 = 1 << 5;
        const WRITE_ZEROES: u16 = 1 << 6;
        const DF: u16 = 1 << 7;
        const MULTI_CONN: u16 = 1 << 8;
        const CACHE: u16 = 1 << 10;
        const FAST_ZERO: u16 = 1 << 11;
        let mut flags = HAS_FLAGS | FLUSH | FUA | MULTI_CONN | CACHE;
        flags |= if export.device().read_only() {
            READ_ONLY
        } else {
            TRIM | WRITE_ZEROES
        };
        if !export.device().read_only() && export.device().zeroes_fast() {
            flags |= FAST_ZERO;
        }
        if self.mode != Mode::Simple {
            flags |= DF;
        }
        flags
    }

    fn agreement(&self, export: &Export) -> Agreement {
        let selected = self.selected.as_ref();
        let contexts = selected.filter(|(name, _)| name == export.name());
        Agreement {
            export: export.clone(),
            mode: self.mode,
            contexts: contexts.map_or_else(Vec::new, |(_, contexts)| contexts.clone()),
        }
    }
}

/// The next whole option, taken from the front.
fn next_option<'a>(input: &mut Reader<'a>) -> Result<Option<(u32, &'a [u8])>, Violation> {
    let mut ahead = input.clone();
    let Some(magic) = ahead.u64() else {
        return Ok(None);
    };
    if magic != I_HAVE_OPT {
        return Err(Violation::OptionMagic(magic));
    }
    let (Some(option), Some(len)) = (ahead.u32(), ahead.u32()) else {
        return Ok(None);
    };
    if len > MAX_DATA {
        let most = MAX_DATA;
        return Err(Violation::OptionLength { option, len, most });
    }
    let Some(data) = ahead.bytes(len as usize) else {
        return Ok(None);
    };
    *input = ahead;
    Ok(Some((option, data)))
}

/// Whether a query means a context: its name, or, for a list, its namespace and a colon.
fn matches(query: &str, context: Context, exactly: bool) -> bool {
    let name = context.name();
    let namespace = name.split_once(':').map(|(before, _)| before);
    query == name || (!exactly && query.strip_suffix(':') == namespace)
}
