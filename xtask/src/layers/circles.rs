//! Import circles between the files of a crate: there are none.
//!
//! source file -> its `use` trees and qualified paths -> the file that defines each name -> files
//! that import one another in a circle
//!
//! A name that a parent only hands on (`pub use`) counts as its file's. Code under `#[cfg(test)]`
//! does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree};

use super::Findings;
use crate::workspace::Workspace;

/// A module's path within its crate: empty for the root.
type Module = Vec<String>;
/// A name and the module that it is taken from.
type Name = (Module, String);

/// The files of one crate.
#[derive(Debug, Default)]
struct Crate {
    /// What each module names, as it is written there.
    paths: BTreeMap<Module, Vec<Vec<String>>>,
    /// What each module hands on: the name there, and the path that it has.
    exports: BTreeMap<Name, Vec<String>>,
}

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
    }
    for (root, source) in &crates {
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

/// Returns the module that a file below `src` defines.
fn module_of(file: &Path) -> Module {
    let mut module: Module = file
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    let is_root = module.len() == 1 && ["lib", "main"].contains(&module[0].as_str());
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn shown(module: &Module) -> String {
    if module.is_empty() {
        "the root".to_owned()
    } else {
        module.join("/")
    }
}

impl Crate {
    /// Reads the source of a module.
    fn read(&mut self, module: &Module, text: &str) -> Result<()> {
        let file = syn::parse_file(text)?;
        let mut reader = Reader::default();
        reader.visit_file(&file);
        for (path, handed_on) in reader.uses {
            match (handed_on, path.last()) {
                (true, Some(name)) => {
                    let name = name.clone();
                    self.exports.insert((module.clone(), name), path);
                }
                _ => reader.paths.push(path),
            }
        }
        self.paths.insert(module.clone(), reader.paths);
        Ok(())
    }

    /// Returns the modules that each module imports from.
    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let of = |(module, paths): (&Module, &Vec<Vec<String>>)| {
            let is_test = module.iter().any(|part| part == "tests");
            let targets = paths
                .iter()
                .filter_map(|path| self.target(module, path))
                .filter(|target| target != module && !is_test);
            (module.clone(), targets.collect())
        };
        self.paths.iter().map(of).collect()
    }

    /// Returns the module that defines what a path in a module names; `None` beyond the crate.
    fn target(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut name = self.resolve(module, path)?;
        // No name is handed on more often than a crate has modules.
        for _ in 0..self.paths.len() {
            let Some(next) = self.exports.get(&name) else {
                break;
            };
            match self.resolve(&name.0, next) {
                Some(found) if found != name => name = found,
                _ => break,
            }
        }
        Some(name.0)
    }

    /// Follows a path through the modules; returns the last of them, and the name in it.
    fn resolve(&self, module: &Module, path: &[String]) -> Option<Name> {
        let mut rest = path;
        let mut at = match rest.first()?.as_str() {
            "crate" => Module::new(),
            "self" | "super" => module.clone(),
            first => {
                let child = child(module, first);
                self.paths.contains_key(&child).then(|| module.clone())?
            }
        };
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => {
                    at.pop();
                }
                part if self.paths.contains_key(&child(&at, part)) => at.push(part.to_owned()),
                _ => break,
            }
            rest = others;
        }
        Some((at, path.last()?.clone()))
    }
}

fn child(module: &Module, name: &str) -> Module {
    let mut child = module.clone();
    child.push(name.to_owned());
    child
}

/// The paths that a file names, without those of its tests.
#[derive(Debug, Default)]
struct Reader {
    paths: Vec<Vec<String>>,
    /// Paths of `use`, and whether the name is handed on.
    uses: Vec<(Vec<String>, bool)>,
}

impl Reader {
    fn add_tree(&mut self, tree: &UseTree, before: &[String], handed_on: bool) {
        let with = |ident: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(ident.to_string());
            path
        };
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident), handed_on),
            UseTree::Name(name) => self.uses.push((with(&name.ident), handed_on)),
            UseTree::Rename(rename) => self.uses.push((with(&rename.ident), handed_on)),
            UseTree::Glob(_) => self.uses.push((before.to_vec(), false)),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(tree, before, handed_on);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        // Paths in an inline module begin there: such modules are tests, or seal a trait.
        if !matches!(item, Item::Mod(_)) && !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let handed_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_tree(&item.tree, &[], handed_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if segments.len() > 1 && ["crate", "super"].contains(&segments[0].as_str()) {
            self.paths.push(segments);
        }
        visit::visit_path(self, path);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

/// Says whether an item is compiled for tests only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all (test")
        }
        _ => false,
    })
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
