//! The fixed newstyle handshake: options, until the client chooses an export.

use super::answer::{Answers, item, rep};
use super::option::{
    ABORT, EXPORT_NAME, EXTENDED_HEADERS, GO, I_HAVE_OPT, INFO, Inquiry, LIST, LIST_META_CONTEXT,
    Queries, SET_META_CONTEXT, START_TLS, STRUCTURED_REPLY, next_option,
};
use super::wire::Reader;
use super::{Mode, Violation};
use crate::device::Context;
use crate::export::{Export, Exports};
use crate::lengths::to_u32;
use crate::refusals::Refusals;
use std::sync::Arc;

mod wish;

pub(crate) use wish::{Agreement, Security, Step, Wish};
use wish::{Asked, GrantBy};

const INIT: &[u8; 8] = b"NBDMAGIC";

/// Handshake flags of both sides.
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

/// With this many bytes of answers, they are sent before the next option is read.
const FULL_BYTES: usize = 64 << 10;

/// The server's side of a handshake.
#[derive(Debug)]
pub(crate) struct Handshake<'a> {
    exports: &'a Exports,
    security: Security,
    has_flags: bool,
    zeroes: bool,
    /// The number of exports that the client listed, and may ask about one by one.
    listed: usize,
    mode: Mode,
    /// The export name and the contexts of `NBD_OPT_SET_META_CONTEXT`.
    selected: Option<(String, Vec<Context>)>,
    refusals: Arc<Refusals>,
}

impl<'a> Handshake<'a> {
    /// Begins a handshake. Appends the server's greeting to `out`.
    pub(crate) fn new(
        exports: &'a Exports,
        security: Security,
        refusals: Arc<Refusals>,
        out: &mut Vec<u8>,
    ) -> Self {
        out.extend(INIT);
        out.extend(I_HAVE_OPT.to_be_bytes());
        out.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
        Self {
            exports,
            security,
            has_flags: false,
            zeroes: true,
            listed: 0,
            mode: Mode::Simple,
            selected: None,
            refusals,
        }
    }

    /// Takes flags and whole options from the front of `input`, and appends the answers to `out`.
    /// Returns the number of bytes taken, and the next step.
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

    /// Returns the number of exports that the client listed by `NBD_OPT_LIST`.
    pub(crate) fn listed(&self) -> usize {
        self.listed
    }

    /// Notes that TLS has begun. Everything agreed before is void.
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
        let refusals = Arc::clone(&self.refusals);
        let mut answers = Answers {
            option,
            refusals: &refusals,
            out,
        };
        let plain = matches!(
            option,
            LIST | START_TLS | STRUCTURED_REPLY | EXTENDED_HEADERS
        );
        match option {
            ABORT => {
                answers.send(rep::ACK, &[]);
                return Ok(Step::End);
            }
            EXPORT_NAME => return self.export_name(data),
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

    fn export_name(&self, data: &[u8]) -> Result<Step, Violation> {
        let name = std::str::from_utf8(data).ok();
        let may = self.security != Security::Wanted && self.mode != Mode::Extended;
        let export = name
            .filter(|_| may)
            .and_then(|name| self.exports.find(name));
        let export = export.ok_or(Violation::NoSuchExport)?;
        Ok(Step::Begin(self.wish(export, GrantBy::ExportName)))
    }

    /// Appends the answer that grants a wish. It describes the export as it is now.
    pub(crate) fn grant(&self, wish: &Wish, out: &mut Vec<u8>) {
        let export = &wish.agreement.export;
        match wish.grant {
            GrantBy::ExportName => {
                out.extend(export.device().size().to_be_bytes());
                out.extend(self.transmission_flags(export).to_be_bytes());
                if self.zeroes {
                    out.extend([0; 124]);
                }
            }
            GrantBy::Go(asked) => {
                let mut answers = self.answers(GO, out);
                self.describe(export, asked, &mut answers);
                answers.send(rep::ACK, &[]);
            }
        }
    }

    /// Appends the answer that denies a wish. Returns false if there is no such answer: then the
    /// connection must be closed.
    pub(crate) fn deny(&self, wish: &Wish, why: &str, out: &mut Vec<u8>) -> bool {
        if let GrantBy::Go(_) = wish.grant {
            // The caller reports the denial, so it is not noted here.
            self.answers(GO, out).send(rep::POLICY, &[why.as_bytes()]);
            return true;
        }
        false
    }

    fn answers<'o>(&'o self, option: u32, out: &'o mut Vec<u8>) -> Answers<'o> {
        Answers {
            option,
            refusals: &self.refusals,
            out,
        }
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

    fn list(&mut self, answers: &mut Answers<'_>) {
        self.listed = self.exports.list().len();
        for export in self.exports.list() {
            let name = export.name().as_bytes();
            let len = to_u32(name.len()).to_be_bytes();
            let description = export.description().as_bytes();
            answers.send(rep::SERVER, &[&len, name, description]);
        }
        answers.send(rep::ACK, &[]);
    }

    fn inform(&self, data: &[u8], answers: &mut Answers<'_>) -> Step {
        let inquiry = match Inquiry::parse(data) {
            Ok(inquiry) => inquiry,
            Err(malformed) => {
                answers.refuse(rep::INVALID, malformed.text());
                return Step::More;
            }
        };
        let Some(export) = self.exports.find(inquiry.export) else {
            answers.refuse(rep::UNKNOWN, "there is no export of this name");
            return Step::More;
        };
        let asked = Asked {
            name: inquiry.asks_for(item::NAME),
            description: inquiry.asks_for(item::DESCRIPTION),
            sizes: inquiry.asks_for(item::BLOCK_SIZE),
        };
        if answers.option != GO {
            self.describe(export, asked, answers);
            answers.send(rep::ACK, &[]);
            return Step::More;
        }
        if export.device().block_sizes().minimum > 1 && !asked.sizes {
            self.describe(export, asked, answers);
            answers.refuse(rep::BLOCK_SIZE_REQD, "ask for NBD_INFO_BLOCK_SIZE");
            return Step::More;
        }
        Step::Begin(self.wish(export, GrantBy::Go(asked)))
    }

    fn describe(&self, export: &Export, asked: Asked, answers: &mut Answers<'_>) {
        let device = export.device();
        let kind = item::EXPORT.to_be_bytes();
        let size = device.size().to_be_bytes();
        let flags = self.transmission_flags(export).to_be_bytes();
        answers.send(rep::INFO, &[&kind, &size, &flags]);
        let texts = [
            (asked.name, item::NAME, export.name()),
            (asked.description, item::DESCRIPTION, export.description()),
        ];
        for (_, kind, text) in texts.into_iter().filter(|(wanted, ..)| *wanted) {
            answers.send(rep::INFO, &[&kind.to_be_bytes(), text.as_bytes()]);
        }
        let sizes = device.block_sizes();
        if asked.sizes || sizes.minimum > 1 {
            let sizes = [sizes.minimum, sizes.preferred, sizes.maximum].map(u32::to_be_bytes);
            let kind = item::BLOCK_SIZE.to_be_bytes();
            answers.send(rep::INFO, &[&kind, &sizes[0], &sizes[1], &sizes[2]]);
        }
    }

    fn contexts(&mut self, data: &[u8], answers: &mut Answers<'_>) {
        let selects = answers.option == SET_META_CONTEXT;
        if selects {
            self.selected = None;
        }
        if selects && self.mode == Mode::Simple {
            return answers.refuse(rep::INVALID, "structured replies first");
        }
        let queries = match Queries::parse(data) {
            Ok(queries) => queries,
            Err(malformed) => return answers.refuse(rep::INVALID, malformed.text()),
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

    fn wish(&self, export: &Export, grant: GrantBy) -> Wish {
        let selected = self.selected.as_ref();
        let contexts = selected.filter(|(name, _)| name == export.name());
        let agreement = Agreement {
            export: export.clone(),
            mode: self.mode,
            contexts: contexts.map_or_else(Vec::new, |(_, contexts)| contexts.clone()),
        };
        Wish { agreement, grant }
    }
}

/// Says whether a query matches a context: by its name, or, unless `exactly`, by its namespace and
/// a colon.
fn matches(query: &str, context: Context, exactly: bool) -> bool {
    let name = context.name();
    let namespace = name.split_once(':').map(|(before, _)| before);
    query == name || (!exactly && query.strip_suffix(':') == namespace)
}

#[cfg(test)]
mod tests;
