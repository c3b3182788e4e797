//! The list of mutations: its format, and applying one replacement.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// One way to break the code. The header of `mutations.toml` explains the fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutation {
    pub(super) name: String,
    pub(super) file: String,
    find: String,
    replace: String,
    pub(super) test: TestRef,
    pub(super) cfg: Cfg,
    pub(super) why: String,
}

/// The test that must notice.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct TestRef {
    pub(super) package: String,
    /// A file in `tests/`, or `lib` for the unit tests.
    target: String,
    /// What the test harness filters names by; without it all tests of the target run.
    pub(super) filter: Option<String>,
}

/// How the tree is built.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cfg {
    None,
    Loom,
    Schedule,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mutation: Vec<Mutation>,
}

/// Reads the list; an empty one is an error, since it would pass without checking anything.
pub(super) fn parse(text: &str) -> Result<Vec<Mutation>> {
    let file: File = toml::from_str(text)?;
    if file.mutation.is_empty() {
        bail!("no [[mutation]] in the list");
    }
    for (index, mutation) in file.mutation.iter().enumerate() {
        mutation
            .check()
            .with_context(|| format!("mutation `{}`", mutation.name))?;
        let twice = file.mutation[..index]
            .iter()
            .any(|other| other.name == mutation.name);
        if twice {
            bail!("two mutations are named `{}`", mutation.name);
        }
    }
    Ok(file.mutation)
}

impl Mutation {
    fn check(&self) -> Result<()> {
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(in_name) {
            bail!("a name has letters, digits, `-` and `_`: it also names log files");
        }
        if self.name == "unchanged" {
            bail!("`unchanged` is the name of the run before all mutations");
        }
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !Path::new(&self.file).components().all(inside) {
            bail!("`{}` is not a path below the workspace", self.file);
        }
        if self.find.is_empty() || self.find == self.replace {
            bail!("`find` must be there and differ from `replace`");
        }
        if self.why.trim().is_empty() {
            bail!("`why` is empty");
        }
        Ok(())
    }

    /// The broken text. `find` must occur exactly once: a list that no longer fits the code must
    /// not silently break something else.
    pub(super) fn apply(&self, text: &str) -> Result<String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            count => bail!(
                "mutation `{}` does not apply: `find` occurs {count} times in {}",
                self.name,
                self.file
            ),
        }
    }
}

impl TestRef {
    /// Returns where the target's source lies: a folder, or a file without its ending.
    pub(super) fn source(&self) -> PathBuf {
        let package = Path::new("crates").join(&self.package);
        if self.target == "lib" {
            package.join("src")
        } else {
            package.join("tests").join(&self.target)
        }
    }

    /// The options of `cargo test` that choose the target.
    pub(super) fn target_args(&self) -> Vec<&str> {
        if self.target == "lib" {
            vec!["--lib"]
        } else {
            vec!["--test", &self.target]
        }
    }
}

impl fmt::Display for TestRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.package, self.target)?;
        match &self.filter {
            Some(filter) => write!(formatter, " {filter}"),
            None => Ok(()),
        }
    }
}

impl Cfg {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Loom => "loom",
            Self::Schedule => "schedule",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, find: &str, file: &str) -> String {
        format!(
            "[[mutation]]\nname = \"{name}\"\nfile = \"{file}\"\nfind = '{find}'\n\
             replace = 'Relaxed'\ntest = {{ package = \"p\", target = \"lib\" }}\n\
             cfg = \"none\"\nwhy = \"order\"\n"
        )
    }

    fn one(find: &str) -> Mutation {
        let mut list = parse(&entry("m", find, "a.rs")).expect("the entry parses");
        list.remove(0)
    }

    #[test]
    fn an_entry_is_read() {
        let mutation = one("Acquire");
        assert_eq!(mutation.test.to_string(), "p/lib");
        assert_eq!(mutation.test.target_args(), ["--lib"]);
        assert_eq!(mutation.cfg, Cfg::None);
    }

    #[test]
    fn empty_lists_are_refused() {
        assert!(parse("").is_err());
        assert!(parse("# only a comment\n").is_err());
    }

    #[test]
    fn bad_entries_are_refused() {
        let bad = [
            entry("m", "", "a.rs"),
            entry("m", "Relaxed", "a.rs"),
            entry("m m", "Acquire", "a.rs"),
            entry("unchanged", "Acquire", "a.rs"),
            entry("m", "Acquire", "../a.rs"),
            entry("m", "Acquire", "a.rs").repeat(2),
            entry("m", "Acquire", "a.rs").replace("why", "because"),
            entry("m", "Acquire", "a.rs").replace("\"none\"", "\"miri\""),
        ];
        for text in bad {
            assert!(parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_occurrence_is_replaced() {
        let broken = one("Acquire").apply("load(Acquire);\n");
        assert_eq!(broken.expect("it applies"), "load(Relaxed);\n");
    }

    #[test]
    fn none_or_several_occurrences_are_errors_that_name_the_mutation() {
        for text in ["load();", "load(Acquire); load(Acquire);"] {
            let error = one("Acquire").apply(text).expect_err("it does not apply");
            assert!(error.to_string().contains("mutation `m`"), "{error}");
        }
    }
}
