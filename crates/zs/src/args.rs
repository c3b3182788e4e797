//! Values that several options take.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::ops::RangeInclusive;
use zs_mm::PageSize;

/// The page sizes as they are written, and as [`PageSize`] displays itself.
pub(crate) const PAGE_SIZES: [(&str, PageSize); 3] = [
    ("4k", PageSize::K4),
    ("16k", PageSize::K16),
    ("64k", PageSize::K64),
];

/// Returns the parser of a size of pages.
pub(crate) fn page_size() -> impl TypedValueParser<Value = PageSize> {
    PossibleValuesParser::new(PAGE_SIZES.map(|(name, _)| name)).map(|given| {
        let named = PAGE_SIZES
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&given));
        named.map_or_else(PageSize::default, |(_, size)| size)
    })
}

/// Returns what is given to an option that takes a whole number.
pub(crate) fn number_in(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let most = match *range.end() {
                u64::MAX => "on".to_owned(),
                most => format!("to {most}"),
            };
            format!("expected a whole number from {} {most}", range.start())
        })
    }
}
