//! Rust source as tokens: what it names and where it says `unsafe`.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// A path as it is written, with the trees of `use` spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: String,
    pub(super) line: usize,
}

/// What the rules want to know about one source file.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) paths: Vec<Named>,
    /// Lines with the keyword `unsafe`.
    pub(super) unsafe_lines: Vec<usize>,
}

impl Scan {
    pub(super) fn of(source: &str) -> Result<Self> {
        let tokens: TokenStream = source
            .parse()
            .map_err(|error| anyhow!("cannot be read as Rust: {error}"))?;
        let mut scan = Self::default();
        scan.walk(tokens, "");
        Ok(scan)
    }

    /// Walks one level; `prefix` is the path in front of the braces of a `use` tree.
    fn walk(&mut self, tokens: TokenStream, prefix: &str) {
        let mut path = Path::default();
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if name == "unsafe" {
                        self.unsafe_lines.push(name.span().start().line);
                    }
                    if !path.continues() {
                        self.paths.extend(path.take());
                        path.start(prefix);
                    }
                    if !before_root(&name) {
                        path.push(&name);
                    }
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => path.colons += 1,
                TokenTree::Group(group) => {
                    let tree = group.delimiter() == Delimiter::Brace && path.continues();
                    let inner = if tree {
                        path.text.clone()
                    } else {
                        String::new()
                    };
                    self.paths.extend(path.take());
                    self.walk(group.stream(), &inner);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.paths.extend(path.take()),
            }
        }
        self.paths.extend(path.take());
    }
}

/// Whether a path that begins with `::` may follow this word without being joined to it.
fn before_root(name: &Ident) -> bool {
    ["use", "as", "in", "mut", "dyn", "impl", "return"]
        .iter()
        .any(|word| name == word)
}

/// The path being read.
#[derive(Debug, Default)]
struct Path {
    text: String,
    line: usize,
    /// Colons since the last name; two of them join the next name.
    colons: usize,
}

impl Path {
    fn continues(&self) -> bool {
        self.colons == 2 && !self.text.is_empty()
    }

    fn start(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.text);
    }

    fn push(&mut self, name: &Ident) {
        if !self.text.is_empty() {
            self.text.push_str("::");
        }
        self.text.push_str(&name.to_string());
        self.line = name.span().start().line;
        self.colons = 0;
    }

    fn take(&mut self) -> Option<Named> {
        let done = std::mem::take(self);
        (!done.text.is_empty()).then_some(Named {
            path: done.text,
            line: done.line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str, path: &str) -> bool {
        let scan = Scan::of(source).expect("the source parses");
        scan.paths.iter().any(|named| named.path == path)
    }

    #[test]
    fn paths_are_found_in_every_spelling() {
        assert!(names(
            "use core::cell::UnsafeCell;",
            "core::cell::UnsafeCell"
        ));
        assert!(names("use ::core::cell::Cell;", "core::cell::Cell"));
        assert!(names("fn f(x: &mut ::libc::stat) {}", "libc::stat"));
        let tree = "use core::{fmt, sync::{atomic::{AtomicU8, Ordering}}};";
        assert!(names(tree, "core::sync::atomic::Ordering"));
        assert!(names(tree, "core::fmt"));
        assert!(names(
            "fn f(x: &std::sync::Mutex<u8>) {}",
            "std::sync::Mutex"
        ));
        assert!(names("m! { a => loom::model(f) }", "loom::model"));
    }

    #[test]
    fn names_are_joined_by_two_colons_only() {
        assert!(!names("struct S { core: sync }", "core::sync"));
        assert!(names("let a: core::fmt::Error;", "core::fmt::Error"));
    }

    #[test]
    fn comments_and_strings_say_nothing() {
        let source = "//! unsafe\n/* unsafe */ #![forbid(unsafe_code)]\n\
                      const A: &str = \"unsafe { core::cell::UnsafeCell }\"; /// unsafe\nfn f() {}";
        let scan = Scan::of(source).expect("the source parses");
        assert!(scan.unsafe_lines.is_empty());
        assert!(!names(source, "core::cell::UnsafeCell"));
    }

    #[test]
    fn unsafe_is_found_with_its_line() {
        let source = "fn f() {\n    g(unsafe { h() });\n}\nunsafe impl Send for T {}\n";
        let scan = Scan::of(source).expect("the source parses");
        assert_eq!(scan.unsafe_lines, [2, 4]);
    }
}
