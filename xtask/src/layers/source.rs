//! Rules about single source files.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Findings;
use super::order::{SYSTEM_CALLERS, is_tool};
use super::tokens::Scan;
use crate::workspace::Workspace;

/// Files that may say `unsafe`, one a line with its reason.
const UNSAFE_LIST: &str = "xtask/unsafe-modules.txt";

/// Crates that take atomics, cells and locks from zs-sync only.
const FACADE_USERS: [&str; 2] = ["zs-mm", "zsmalloc"];

/// What only zs-sync may choose.
const FACADE_ONLY: [&str; 6] = [
    "core::sync",
    "std::sync",
    "core::cell::UnsafeCell",
    "std::cell::UnsafeCell",
    "loom",
    "parking_lot",
];

/// Paths that lead to system calls.
const SYSTEM: [&str; 3] = ["libc", "rustix", "nix"];

const LONG_FILE: usize = 400;
const TOO_LONG_FILE: usize = 600;

/// Columns of a comment, but for a row of a table and an address.
const WIDTH: usize = 100;

/// Checks every Rust file and returns how many there are.
pub(super) fn check(workspace: &Workspace, found: &mut Findings) -> Result<usize> {
    let listed = parse_list(&workspace.read(Path::new(UNSAFE_LIST))?, found);
    let files = workspace.rust_files()?;
    let mut with_unsafe = Vec::new();
    for file in &files {
        let text = workspace.read(file)?;
        let name = file.to_string_lossy();
        check_length(&name, text.lines().count(), found);
        check_width(&name, &text, found);
        let Some(krate) = source_of(&name) else {
            continue;
        };
        let scan = Scan::of(&text).with_context(|| name.to_string())?;
        check_paths(&name, krate, &scan, found);
        let Some(line) = scan.unsafe_lines.first() else {
            continue;
        };
        if !listed.iter().any(|listed| *listed == name) {
            found.errors.push(format!(
                "{name}:{line}: unsafe code in a file that {UNSAFE_LIST} does not list"
            ));
        }
        with_unsafe.push(name.into_owned());
    }
    for stale in listed.iter().filter(|file| !with_unsafe.contains(file)) {
        found.errors.push(format!(
            "{UNSAFE_LIST}: {stale} has no unsafe code or is no source file of a crate"
        ));
    }
    Ok(files.len())
}

/// The crate of a file below `crates/*/src` or `examples/*/src`; tests and benchmarks belong to no
/// layer.
fn source_of(file: &str) -> Option<&str> {
    let below = ["crates/", "examples/"];
    let file = below.iter().find_map(|folder| file.strip_prefix(folder))?;
    let (krate, rest) = file.split_once('/')?;
    rest.starts_with("src/").then_some(krate)
}

/// Paths of the list; each needs a reason behind it.
fn parse_list(text: &str, found: &mut Findings) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (path, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let at = format!("{UNSAFE_LIST}:{}", index + 1);
        if reason.trim().is_empty() {
            found.errors.push(format!("{at}: {path} has no reason"));
        }
        if paths.iter().any(|known| known == path) {
            found.errors.push(format!("{at}: {path} is listed twice"));
        }
        paths.push(path.to_owned());
    }
    paths
}

fn check_length(file: &str, lines: usize, found: &mut Findings) {
    if lines > TOO_LONG_FILE {
        found
            .errors
            .push(format!("{file}: {lines} lines, over {TOO_LONG_FILE}"));
    } else if lines > LONG_FILE {
        found
            .warnings
            .push(format!("{file}: {lines} lines, over {LONG_FILE}"));
    }
}

fn check_width(file: &str, text: &str, found: &mut Findings) {
    for (index, line) in text.lines().enumerate() {
        let comment = line.trim_start();
        let may_be_wide = comment.contains("| ") || comment.contains("://");
        if comment.starts_with("//") && !may_be_wide && line.chars().count() > WIDTH {
            let at = index + 1;
            found.errors.push(format!(
                "{file}:{at}: a comment of more than {WIDTH} columns"
            ));
        }
    }
}

fn check_paths(file: &str, krate: &str, scan: &Scan, found: &mut Findings) {
    let facade = FACADE_USERS.contains(&krate);
    let system = !SYSTEM_CALLERS.contains(&krate) && !is_tool(krate);
    for named in &scan.paths {
        let broken = if facade && FACADE_ONLY.iter().any(|rule| leads_to(&named.path, rule)) {
            "only zs-sync chooses atomics, cells and locks"
        } else if system && SYSTEM.iter().any(|rule| leads_to(&named.path, rule)) {
            "system calls belong to zs-os"
        } else {
            continue;
        };
        found
            .errors
            .push(format!("{file}:{}: `{}`: {broken}", named.line, named.path));
    }
}

/// Whether `path` is `rule` or lies below it. A single name is a variable as often as a crate, so
/// a rule of one name needs something below it.
fn leads_to(path: &str, rule: &str) -> bool {
    match path.strip_prefix(rule) {
        Some("") => rule.contains("::"),
        Some(rest) => rest.starts_with("::"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(krate: &str, source: &str) -> usize {
        let mut found = Findings::default();
        let scan = Scan::of(source).expect("the source parses");
        check_paths("file.rs", krate, &scan, &mut found);
        found.errors.len()
    }

    #[test]
    fn atomics_are_chosen_by_zs_sync_alone() {
        let source = "use core::sync::atomic::AtomicU8;";
        assert_eq!(complaints("zs-mm", source), 1);
        assert_eq!(complaints("zs-sync", source), 0);
        assert_eq!(complaints("zsmalloc", "use zs_sync::atomic::AtomicU8;"), 0);
        assert_eq!(complaints("zsmalloc", "fn f() { loom::model(g) }"), 1);
        assert_eq!(complaints("zsmalloc", "use core::cell::Cell;"), 0);
    }

    #[test]
    fn system_calls_belong_to_zs_os() {
        let source = "fn f() { libc::getpid(); }";
        assert_eq!(complaints("zcomp", source), 1);
        assert_eq!(complaints("zs-os", source), 0);
        assert_eq!(complaints("zcomp", "fn f(libc: u8) { g(libc) }"), 0);
    }

    #[test]
    fn only_sources_of_crates_have_a_layer() {
        assert_eq!(source_of("crates/zs-mm/src/a/b.rs"), Some("zs-mm"));
        assert_eq!(source_of("examples/kernel/src/b.rs"), Some("kernel"));
        assert_eq!(source_of("crates/zs-mm/tests/a.rs"), None);
        assert_eq!(source_of("xtask/src/main.rs"), None);
    }

    #[test]
    fn the_list_wants_reasons() {
        let mut found = Findings::default();
        let text = "# files\n\ncrates/a/src/b.rs raw memory\ncrates/a/src/c.rs\n";
        let paths = parse_list(text, &mut found);
        assert_eq!(paths, ["crates/a/src/b.rs", "crates/a/src/c.rs"]);
        assert_eq!(found.errors.len(), 1);
    }

    #[test]
    fn long_files_are_told_apart() {
        let mut found = Findings::default();
        check_length("a.rs", 400, &mut found);
        check_length("b.rs", 401, &mut found);
        check_length("c.rs", 601, &mut found);
        assert_eq!((found.warnings.len(), found.errors.len()), (1, 1));
    }
}
