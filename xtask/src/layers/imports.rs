//! The imports of a crate's files.
//!
//! source file -> its `use` trees and qualified paths -> the file that defines each name
//!
//! A name that a parent only hands on (`pub use`) counts as its file's. Code under `#[cfg(test)]`
//! does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree};

/// A module's path within its crate: empty for the root.
pub(super) type Module = Vec<String>;
/// A name and the module that it is taken from.
type Name = (Module, String);

/// The files of one crate.
#[derive(Debug, Default)]
pub(super) struct Crate {
    /// What each module names, as it is written there.
    pub(super) paths: BTreeMap<Module, Vec<Vec<String>>>,
    /// What each module hands on: the name there, and the path that it has.
    exports: BTreeMap<Name, Vec<String>>,
    /// The row of each folder and file in the crate's table; empty without one.
    pub(super) rows: BTreeMap<String, usize>,
}

/// Returns the module that a file below `src` defines.
pub(super) fn module_of(file: &Path) -> Module {
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

/// Returns a module as it is named to people.
pub(super) fn shown(module: &Module) -> String {
    if module.is_empty() {
        "the root".to_owned()
    } else {
        module.join("/")
    }
}

impl Crate {
    /// Reads the source of a module.
    pub(super) fn read(&mut self, module: &Module, text: &str) -> Result<()> {
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
    pub(super) fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
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
        // Paths of an inline module begin there, so that they would be taken for others. It is a
        // part of its file: tests, an arm of the code, a trait that is sealed.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_for_tests_is_left_out() {
        let item = |text: &str| syn::parse_str::<ItemUse>(text).expect("an import");
        for text in [
            "#[cfg(test)] use a;",
            "#[cfg(all(test, not(zs_loom)))] use a;",
        ] {
            assert!(is_for_tests(&item(text).attrs), "{text}");
        }
        for text in ["#[cfg(unix)] use a;", "#[cfg(not(test))] use a;", "use a;"] {
            assert!(!is_for_tests(&item(text).attrs), "{text}");
        }
    }
}
