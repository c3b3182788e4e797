//! What is in the data of an option.

use super::wire::Reader;
use crate::export::MAX_STRING;

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

/// `NBD_OPT_INFO` and `NBD_OPT_GO`.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
    pub(super) export: &'a str,
    items: Reader<'a>,
}

impl<'a> Inquiry<'a> {
    /// `None` if the lengths do not add up, or the name is none.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let mut data = Reader(data);
        let export = name(&mut data)?;
        let count = usize::from(data.u16()?);
        (data.0.len() == 2 * count).then_some(Self {
            export,
            items: data,
        })
    }

    pub(super) fn asks_for(&self, item: u16) -> bool {
        let mut items = self.items.clone();
        std::iter::from_fn(|| items.u16()).any(|asked| asked == item)
    }
}

/// `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
#[derive(Debug)]
pub(super) struct Queries<'a> {
    pub(super) export: &'a str,
    pub(super) list: Vec<&'a str>,
}

impl<'a> Queries<'a> {
    /// `None` if the lengths do not add up, or a text is none.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let mut data = Reader(data);
        let export = name(&mut data)?;
        // The count is the client's word; the data, which is bounded, decides.
        let count = usize::try_from(data.u32()?).ok()?;
        let mut list = Vec::new();
        while !data.is_empty() {
            list.push(data.text()?);
        }
        (list.len() == count).then_some(Self { export, list })
    }
}

fn name<'a>(data: &mut Reader<'a>) -> Option<&'a str> {
    data.text().filter(|name| name.len() <= MAX_STRING)
}
