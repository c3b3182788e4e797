//! Sizes, times and shares, read and written.

use serde::{Deserialize, Serialize};
use std::fmt;

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
const OTHER_UNITS: [&str; 6] = ["%", "B", "ns", "us", "ms", "s"];

/// Says whether a word is what follows a number.
pub(crate) fn is_unit(word: &str) -> bool {
    OTHER_UNITS.contains(&word) || UNITS.contains(&word)
}

/// A size for people: three digits and a binary unit.
#[derive(Clone, Copy)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // What would be written as 1000 or more is written in the next unit.
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{} {}", three_digits(value), UNITS[unit]))
    }
}

/// A time for people, from nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Time(pub(crate) f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            ns if ns < 999.5 => return f.pad(&format!("{ns:.0} ns")),
            ns if ns < 999.5e3 => (ns / 1e3, "us"),
            ns if ns < 999.5e6 => (ns / 1e6, "ms"),
            ns => (ns / 1e9, "s"),
        };
        f.pad(&format!("{} {unit}", three_digits(value)))
    }
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        // A whole number says so by having no decimals.
        value if value.fract() == 0.0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// How sizes are written, for help texts.
pub(crate) const SIZES: &str = "\
Sizes: bytes, or a number with a unit. K, M, G, T, P (also KiB or Ki, and so on) are powers of 1024; KB, MB, GB, TB, PB are \
powers of 1000. 8G is 8589934592 bytes, 8GB is 8000000000.";

/// The letters of the units; each is a thousand, or 1024, of the one before.
const PREFIXES: [char; 5] = ['k', 'm', 'g', 't', 'p'];

/// Returns the bytes of a unit, whatever the case of its letters: `G`, `Gi` and `GiB` are binary,
/// `GB` is decimal.
fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let mut letters = unit.chars();
    let Some(first) = letters.next().filter(|_| unit != "b") else {
        return Some(1);
    };
    let power = PREFIXES.iter().position(|prefix| *prefix == first)? as u32 + 1;
    match letters.as_str() {
        "" | "i" | "ib" => Some(1 << (10 * power)),
        "b" => Some(1000_u64.pow(power)),
        _ => None,
    }
}

/// Reads a size: `65536`, `512K`, `64M`, `64MiB`, `1.5G`, `4GB`. [`SIZES`] tells the units.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is no size: expected bytes, or a number with K, M, G, T or P as in 64M \
             (powers of 1024), or with KB, MB, GB, TB or PB as in 64MB (powers of 1000)"
        )
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit_bytes(unit).ok_or_else(wrong)?;
    let too_large = || format!("{text} is too large: no size is above 16 EiB");
    if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() {
        let number = number.parse::<u64>().map_err(|_| too_large())?;
        return number.checked_mul(unit).ok_or_else(too_large);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * unit as f64;
    if bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err(too_large())
    }
}

/// A share of a whole: 0 to 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Share(f64);

impl Share {
    /// So much of `whole`, to the nearest.
    pub(crate) fn of(self, whole: usize) -> usize {
        (whole as f64 * self.0 / 100.0).round() as usize
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// Reads a share: `50%`, `12.5%`, and `50 %` as it is displayed.
pub(crate) fn parse_share(text: &str) -> Result<Share, String> {
    let wrong = |what| {
        Err(format!(
            "{text:?} {what}: expected 0% to 100%, as in 50% or 12.5%"
        ))
    };
    let before_sign = text.strip_suffix('%');
    let number = before_sign.map_or(text, str::trim_end);
    let magnitude = number.strip_prefix('-').unwrap_or(number);
    let is_decimal = magnitude
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match magnitude.parse() {
        Ok(_) if is_decimal && before_sign.is_none() => wrong("has no percent sign"),
        Ok(_) if is_decimal && magnitude.len() < number.len() => wrong("is negative"),
        Ok(percent) if is_decimal && percent > 100.0 => wrong("is more than the whole"),
        Ok(percent) if is_decimal => Ok(Share(percent)),
        _ => wrong("is no share"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (4096, "4 KiB"),
            (1536, "1.50 KiB"),
            (1_022_975, "999 KiB"),
            (1_023_999, "0.98 MiB"),
            (16_646_144, "15.9 MiB"),
            (6_506_000, "6.20 MiB"),
            (67_108_864, "64 MiB"),
            (24_139_729, "23.0 MiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text, "{bytes}");
        }
        assert_eq!(format!("{:>8}|", Size(4096)), "   4 KiB|");
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (ns, text) in [
            (0.4, "0 ns"),
            (853.2, "853 ns"),
            (1597.0, "1.60 us"),
            (12_345.0, "12.3 us"),
            (999_600.0, "1.00 ms"),
            (6_000.0, "6 us"),
            (6_001.0, "6.00 us"),
            (2.5e9, "2.50 s"),
        ] {
            assert_eq!(Time(ns).to_string(), text, "{ns}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("512K", 512 << 10),
            ("64M", 64 << 20),
            ("64m", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5G", 3 << 29),
            ("1T", 1 << 40),
            ("4g", 4 << 30),
            ("8Gi", 8 << 30),
            ("8GiB", 8 << 30),
            ("1P", 1 << 50),
            ("1pib", 1 << 50),
            ("4GB", 4_000_000_000),
            ("4gb", 4_000_000_000),
            ("1.5kB", 1500),
            ("512B", 512),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "M", "-1", "+1", "1e3", "64 M", "64Mbit", "64X", "64E", "64iB", ".", "1.2.3", "٣",
            "inf", "NaN",
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains("expected bytes"), "{text}: {error}");
        }
        for text in ["99999999999999999999", "99999999T", "99999999.5T", "16384P"] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains("too large"), "{text}: {error}");
        }
    }

    #[test]
    fn shares_are_read_and_written() {
        for (text, written, of_eight) in [
            ("0%", "0 %", 0),
            ("50%", "50 %", 4),
            ("50 %", "50 %", 4),
            ("12.5%", "12.5 %", 1),
            ("93.7%", "93.7 %", 7),
            ("93.8%", "93.8 %", 8),
            ("100%", "100 %", 8),
        ] {
            let share = parse_share(text).unwrap();
            assert_eq!(share.to_string(), written);
            assert_eq!(parse_share(written), Ok(share), "{text}");
            assert_eq!(share.of(8), of_eight, "{text}");
        }
        let whole = 1_234_567_891;
        assert_eq!(parse_share("100%").unwrap().of(whole), whole);
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for (text, part) in [
            ("50", "\"50\" has no percent sign"),
            ("0.5", "has no percent sign"),
            ("-50", "has no percent sign"),
            ("-5%", "is negative"),
            ("-0%", "is negative"),
            ("100.1%", "is more than the whole"),
            ("1000000%", "is more than the whole"),
            ("half", "is no share"),
            ("", "is no share"),
            ("%", "is no share"),
            (".%", "is no share"),
            ("+5%", "is no share"),
            ("--5%", "is no share"),
            ("1e1%", "is no share"),
            ("50%%", "is no share"),
            (" 50%", "is no share"),
            ("NaN%", "is no share"),
            ("inf%", "is no share"),
            ("٣%", "is no share"),
            ("1/2", "is no share"),
        ] {
            let error = parse_share(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.contains("expected 0% to 100%"), "{error}");
        }
    }
}
