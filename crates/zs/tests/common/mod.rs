//! What the tests of the tool share: the program, a folder, pages of known kinds.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod memory;
pub(crate) mod nbd;
pub(crate) mod openmetrics;
pub(crate) mod server;
pub(crate) mod users;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The tool.
pub(crate) const ZS: &str = env!("CARGO_BIN_EXE_zs");

/// Held and resident agree within 1 % or so many bytes.
pub(crate) const AGREEMENT: u64 = 256 << 10;

/// A folder of its own for each test.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn zs(arguments: &[&str]) -> Command {
    let mut command = Command::new(ZS);
    command.args(arguments);
    command
}

/// `zs estimate --file PATH` with further arguments.
pub(crate) fn estimate(path: &Path, arguments: &[&str]) -> Output {
    let mut command = zs(&["estimate", "--file"]);
    command.arg(path).args(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// The object that `--json` prints; nothing else may be printed.
pub(crate) fn json_of(output: &Output) -> Value {
    assert_eq!(stderr(output), "");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The codecs that are measured.
pub(crate) const CODECS: [&str; 2] = ["lz4", "zstd"];

#[track_caller]
pub(crate) fn number(object: &Value, member: &str) -> u64 {
    let value = &object[member];
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{member}: {value}"))
}

#[track_caller]
pub(crate) fn fraction(object: &Value, member: &str) -> f64 {
    let value = &object[member];
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{member}: {value}"))
}

/// What `zs estimate --json` says of a file.
#[track_caller]
pub(crate) fn json(path: &Path, arguments: &[&str]) -> Value {
    let output = estimate(path, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    json_of(&output)
}

/// What is printed when the tool fails with `code`: nothing on standard output, and `zs: ...`.
#[track_caller]
pub(crate) fn failure(output: &Output, code: i32) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(stdout(output), "", "{text}");
    assert!(text.starts_with("zs: "), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text.to_owned()
}

/// A small generator of numbers, the same on every machine (xorshift64*).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// One page of a kind.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Zero,
    SameFilled,
    Text,
    Pointers,
    Records,
    Random,
}

pub(crate) fn page(kind: Kind, numbers: &mut Numbers, len: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "page ", "frame ", "the ", "of ", "memory ", "is ", "held ", "class ", "and ", "pool ",
        "arena ", "object ", "to ", "a ", "handle ", "slot ",
    ];
    let mut page = Vec::with_capacity(len + 64);
    let seed = numbers.next();
    while page.len() < len {
        let number = numbers.next();
        match kind {
            Kind::Zero => page.extend([0; 8]),
            Kind::SameFilled => page.extend(seed.to_ne_bytes()),
            // A number among the words, now and then: how often differs from page to page.
            Kind::Text if number % 64 < seed % 24 => page.extend(number.to_string().bytes()),
            Kind::Text => page.extend(WORDS[(number >> 32) as usize % 16].bytes()),
            Kind::Pointers => {
                let offset = (number >> 40) * 16;
                page.extend((0x0000_7f00_0000_0000 | offset).to_ne_bytes());
            }
            Kind::Records => {
                page.extend((number % 1000).to_ne_bytes());
                page.extend([0; 24]);
                page.extend(&number.to_ne_bytes()[..(seed % 9) as usize]);
            }
            Kind::Random => page.extend(number.to_ne_bytes()),
        }
    }
    page.truncate(len);
    page
}

/// Pages of all kinds in shares like those of running programs.
pub(crate) fn mixture(seed: u64, pages: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(pages << 12);
    for _ in 0..pages {
        let kind = match numbers.below(100) {
            0..3 => Kind::Zero,
            3..5 => Kind::SameFilled,
            5..45 => Kind::Text,
            45..60 => Kind::Pointers,
            60..94 => Kind::Records,
            _ => Kind::Random,
        };
        bytes.extend(page(kind, &mut numbers, 4096));
    }
    bytes
}
