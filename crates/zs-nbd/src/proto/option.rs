//! The data of options.

use super::Violation;
use super::wire::Reader;
use crate::export::MAX_STRING;

/// The magic number at the start of an option.
pub(super) const I_HAVE_OPT: u64 = 0x4948_4156_454f_5054;
/// The most bytes of data of an option.
const MAX_DATA: u32 = 64 << 10;

pub(super) const EXPORT_NAME: u32 = 1;
pub(super) const ABORT: u32 = 2;
pub(super) const LIST: u32 = 3;
pub(super) const START_TLS: u32 = 5;
pub(super) const INFO: u32 = 6;
pub(super) const GO: u32 = 7;
pub(super) const STRUCTURED_REPLY: u32 = 8;
pub(super) const LIST_META_CONTEXT: u32 = 9;
pub(super) const SET_META_CONTEXT: u32 = 10;
pub(super) const EXTENDED_HEADERS: u32 = 11;

/// Returns the name of an option.
pub(super) const fn name(option: u32) -> &'static str {
    match option {
        EXPORT_NAME => "NBD_OPT_EXPORT_NAME",
        ABORT => "NBD_OPT_ABORT",
        LIST => "NBD_OPT_LIST",
        START_TLS => "NBD_OPT_STARTTLS",
        INFO => "NBD_OPT_INFO",
        GO => "NBD_OPT_GO",
        STRUCTURED_REPLY => "NBD_OPT_STRUCTURED_REPLY",
        LIST_META_CONTEXT => "NBD_OPT_LIST_META_CONTEXT",
        SET_META_CONTEXT => "NBD_OPT_SET_META_CONTEXT",
        EXTENDED_HEADERS => "NBD_OPT_EXTENDED_HEADERS",
        _ => "another option",
    }
}

/// Takes the next whole option from the front of `input`. Returns `None` if it is not whole yet.
pub(super) fn next_option<'a>(
    input: &mut Reader<'a>,
) -> Result<Option<(u32, &'a [u8])>, Violation> {
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

/// A fault in the data of an option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Malformed {
    Lengths,
    NotUtf8,
    LongName,
}

impl Malformed {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Lengths => "lengths that do not add up",
            Self::NotUtf8 => "a name that is not UTF-8",
            Self::LongName => "a name of more than 4096 bytes",
        }
    }
}

/// The data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
    pub(super) export: &'a str,
    items: Reader<'a>,
}

impl<'a> Inquiry<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut data = Reader(data);
        let export = export_name(&mut data)?;
        let count = usize::from(data.u16().ok_or(Malformed::Lengths)?);
        if data.0.len() != 2 * count {
            return Err(Malformed::Lengths);
        }
        Ok(Self {
            export,
            items: data,
        })
    }

    pub(super) fn asks_for(&self, item: u16) -> bool {
        let mut items = self.items.clone();
        std::iter::from_fn(|| items.u16()).any(|asked| asked == item)
    }
}

/// The data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
#[derive(Debug)]
pub(super) struct Queries<'a> {
    pub(super) export: &'a str,
    pub(super) list: Vec<&'a str>,
}

impl<'a> Queries<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut data = Reader(data);
        let export = export_name(&mut data)?;
        // The count comes from the client and is not trusted: the list ends with the data, which is
        // bounded.
        let count = data.u32().ok_or(Malformed::Lengths)?;
        let mut list = Vec::new();
        while !data.is_empty() {
            list.push(text(&mut data)?);
        }
        if list.len() as u64 != u64::from(count) {
            return Err(Malformed::Lengths);
        }
        Ok(Self { export, list })
    }
}

fn text<'a>(data: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let bytes = data.counted().ok_or(Malformed::Lengths)?;
    std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)
}

fn export_name<'a>(data: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let name = text(data)?;
    if name.len() > MAX_STRING {
        return Err(Malformed::LongName);
    }
    Ok(name)
}
