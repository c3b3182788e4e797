//! No import circles between the files of a crate, and folders in the order that it says.
//!
//! source files -> imports (`imports`) -> files that import one another in a circle
//!
//! A crate whose documentation has a table of folders lists them in order: a folder imports only
//! from its own row and those above.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Findings;
use super::imports::{Crate, Module, module_of, shown};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result};

/// The heading of a table of folders.
const FOLDERS: &str = "//! | folder |";

/// Checks every crate; returns the number of modules.
pub(super) fn check(workspace: &Workspace, found: &mut Findings) -> Result<usize> {
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for file in workspace.rust_files()? {
        let name = file.to_string_lossy();
        let Some((root, inside)) = name.split_once("/src/") else {
            continue;
        };
        let text = workspace.read(&file)?;
        let module = module_of(Path::new(inside));
        let source = crates.entry(root.to_owned()).or_default();
        let read = source.read(&module, &text);
        read.with_context(|| name.to_string())?;
        if inside == "lib.rs" {
            source.rows = rows_of(&text);
        }
    }
    for (root, source) in &crates {
        for wrong in upward(source) {
            found.errors.push(format!("{root}/src: {wrong}"));
        }
        for circle in circles(&source.imports()) {
            let files: Vec<String> = circle.iter().map(shown).collect();
            found.errors.push(format!(
                "{root}/src: these files import one another in a circle: {}",
                files.join(", ")
            ));
        }
    }
    Ok(crates.values().map(|source| source.paths.len()).sum())
}

/// Returns the rows of a table of folders, by the names in its first column.
fn rows_of(text: &str) -> BTreeMap<String, usize> {
    let table = text.lines().skip_while(|line| !line.starts_with(FOLDERS));
    let lines = table.take_while(|line| line.starts_with("//! |"));
    let mut rows = BTreeMap::new();
    for (row, line) in lines.enumerate() {
        let names = line.split('|').nth(1).unwrap_or_default();
        // Every second part lies between backticks.
        for name in names.split('`').skip(1).step_by(2) {
            rows.insert(name.to_owned(), row);
        }
    }
    rows
}

/// Returns each import from a lower row of the table of folders, and each module in no row.
fn upward(source: &Crate) -> Vec<String> {
    if source.rows.is_empty() {
        return Vec::new();
    }
    let row = |module: &Module| source.rows.get(module.first()?);
    let mut wrong = Vec::new();
    for (module, targets) in source.imports() {
        let is_test = module.iter().any(|part| part == "tests");
        if module.is_empty() || is_test {
            continue;
        }
        let Some(own) = row(&module) else {
            wrong.push(format!(
                "{} is in no row of the table of folders",
                shown(&module)
            ));
            continue;
        };
        let above = |target: &&Module| row(target).is_none_or(|row| row > own);
        for target in targets.iter().filter(above) {
            let (from, to) = (shown(&module), shown(target));
            wrong.push(format!(
                "{from} imports from {to}, which is below it in the table of folders"
            ));
        }
    }
    wrong
}

/// Returns the modules of each circle: those that reach one another.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = imports
        .keys()
        .map(|module| (module, reached_from(module, imports)))
        .collect();
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for (module, others) in &reached {
        if others.contains(module) && seen.insert(*module) {
            let in_circle = |other: &&&Module| reached[**other].contains(module);
            let circle: Vec<&Module> = others.iter().filter(in_circle).copied().collect();
            seen.extend(circle.iter().copied());
            circles.push(circle.into_iter().cloned().collect());
        }
    }
    circles
}

/// Returns the modules that a module imports from, itself or by others.
fn reached_from<'a>(
    module: &Module,
    imports: &'a BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = imports[module].iter().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(imports.get(module).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let mut source = Crate::default();
        for (file, text) in files {
            source
                .read(&module_of(Path::new(file)), text)
                .expect("source");
        }
        let all = circles(&source.imports());
        all.iter()
            .map(|circle| circle.iter().map(shown).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn a_circle_is_found_through_what_a_parent_hands_on() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("a/mod.rs", "mod inner; pub use inner::A;"),
            ("a/inner.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "use crate::c::C; pub struct B(C);"),
            ("c.rs", "pub struct C; fn f(_: crate::A) {}"),
        ];
        assert_eq!(circles_of(&files), ["a/inner b c"]);
    }

    #[test]
    fn a_folder_imports_from_its_row_and_those_above() {
        let lib = "//! | folder | what |\n//! |---|---|\n//! | `ids`, `error` | numbers |\n\
                   //! | `low` | a |\n//! | `high` | b |\nmod ids; mod error; mod low; mod high; mod odd;";
        let mut source = Crate::default();
        let files = [
            ("lib.rs", lib),
            ("ids.rs", "use crate::error::Error; pub struct Id(Error);"),
            ("error.rs", "pub struct Error;"),
            ("low/mod.rs", "mod part;"),
            ("low/part.rs", "use crate::ids::Id; use crate::high::High;"),
            (
                "high.rs",
                "use crate::low::part::Part; use crate::ids::Id; pub struct High;",
            ),
            ("odd.rs", ""),
        ];
        for (file, text) in files {
            source
                .read(&module_of(Path::new(file)), text)
                .expect("source");
        }
        source.rows = rows_of(lib);
        assert_eq!(
            upward(&source),
            [
                "low/part imports from high, which is below it in the table of folders",
                "odd is in no row of the table of folders"
            ]
        );
        assert!(rows_of("//! no table\n//! | `a` | b |").is_empty());
    }

    #[test]
    fn parents_and_tests_make_no_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; use a::A; fn f(_: A) {}"),
            (
                "a.rs",
                "use std::fmt; pub struct A; #[cfg(test)] mod tests { use crate::b::B; }",
            ),
            (
                "b.rs",
                "use crate::a::A; pub struct B(A); #[cfg(test)] use crate::b::tests;",
            ),
            ("b/tests.rs", "use super::B; use crate::a::A;"),
        ];
        assert_eq!(circles_of(&files), Vec::<String>::new());
    }

    #[test]
    fn a_child_that_imports_from_its_parent_is_a_circle_if_the_parent_imports_from_it() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a.rs", "mod child; use child::Child; pub struct A(Child);"),
            (
                "a/child.rs",
                "use super::A; pub struct Child; fn f(_: A) {}",
            ),
        ];
        assert_eq!(circles_of(&files), ["a a/child"]);
    }
}
