//! The order of the crates, bottom to top.

use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Package};

use super::Findings;
use crate::workspace::Workspace;

/// The one list of layers: the first column of the table under this heading.
const LIST: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Crates, bottom to top";

/// Programs about the product. They may use anything; no product crate may use them.
const TOOLS: [&str; 3] = ["zs-model", "fuzz", "xtask"];

/// Benchmarks are tools, too, and there may be several.
const BENCH_PREFIX: &str = "bench";

/// Crates through which a system call would be made.
const SYSTEM_CRATES: [&str; 4] = ["libc", "rustix", "nix", "linux-raw-sys"];

/// Product crates that may make system calls: zs-os for memory, clocks and threads; zs-pages for
/// the files that it reads; zs-nbd for the sockets that it serves.
pub(super) const SYSTEM_CALLERS: [&str; 3] = ["zs-os", "zs-pages", "zs-nbd"];

/// A member and what it uses outside its tests.
#[derive(Debug)]
struct Member {
    name: String,
    uses: Vec<String>,
}

/// Checks every member and returns how many there are.
pub(super) fn check(workspace: &Workspace, found: &mut Findings) -> Result<usize> {
    let packages = workspace.members()?.packages;
    let members: Vec<Member> = packages.iter().map(member).collect();
    let layers = layers(&workspace.read(Path::new(LIST))?);
    for layer in &layers {
        if !members.iter().any(|member| member.name == *layer) {
            found
                .errors
                .push(format!("{LIST}: there is no crate {layer}"));
        }
    }
    for member in &members {
        found.errors.extend(misplaced(member, &members, &layers));
    }
    for package in &packages {
        if !takes_workspace_lints(package.manifest_path.as_std_path())? {
            found.errors.push(format!(
                "{}: its manifest lacks `[lints] workspace = true`",
                package.name
            ));
        }
    }
    Ok(members.len())
}

fn member(package: &Package) -> Member {
    let uses = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.clone())
        .collect();
    Member {
        name: package.name.to_string(),
        uses,
    }
}

pub(super) fn is_tool(name: &str) -> bool {
    TOOLS.contains(&name) || name.starts_with(BENCH_PREFIX)
}

/// Returns the layers that the list names, bottom to top: a crate may use, outside its tests, only
/// crates before it.
fn layers(list: &str) -> Vec<String> {
    let rows = list.lines().skip_while(|line| *line != HEADING).skip(1);
    rows.take_while(|line| !line.starts_with("## "))
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect()
}

/// What is wrong with the dependencies of one member.
fn misplaced(member: &Member, members: &[Member], layers: &[String]) -> Vec<String> {
    let name = &member.name;
    let rank = |name: &str| layers.iter().position(|layer| layer == name);
    if is_tool(name) {
        return Vec::new();
    }
    let Some(own) = rank(name) else {
        return vec![format!(
            "{name}: not in the list of layers; add it to the table of {LIST}"
        )];
    };
    let mut errors = Vec::new();
    for used in &member.uses {
        let inside = members.iter().any(|member| member.name == *used);
        if inside && rank(used).is_none_or(|rank| rank >= own) {
            errors.push(format!("{name} depends on {used}, which is not below it"));
        }
        let system = SYSTEM_CRATES.contains(&used.as_str());
        if system && !SYSTEM_CALLERS.contains(&name.as_str()) {
            errors.push(format!(
                "{name} depends on {used}; system calls belong to {}",
                SYSTEM_CALLERS.join(", ")
            ));
        }
    }
    errors
}

fn takes_workspace_lints(manifest: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(manifest)?;
    let manifest: toml::Table =
        toml::from_str(&text).with_context(|| manifest.display().to_string())?;
    let value = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool);
    Ok(value == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, uses: &[&str]) -> Member {
        Member {
            name: name.to_owned(),
            uses: uses.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn errors(name: &str, uses: &[&str]) -> usize {
        let list = format!(
            "{HEADING}\n\nText.\n\n| crate | what |\n|---|---|\n| `zs-sync` | a |\n| `zs-mm` | b |\n\
             | `zsmalloc` | c |\n| `zs-os` | d |\n| `zcomp` | e |\n| `zs` | f |\n\n## Next\n| `none` |\n"
        );
        let layers = layers(&list);
        assert_eq!(layers.len(), 6, "the table alone");
        let mut members: Vec<Member> = layers.iter().map(|name| one(name, &[])).collect();
        members.extend(TOOLS.iter().map(|name| one(name, &[])));
        misplaced(&one(name, uses), &members, &layers).len()
    }

    #[test]
    fn dependencies_point_down() {
        assert_eq!(errors("zsmalloc", &["zs-mm", "zs-sync", "bitflags"]), 0);
        assert_eq!(errors("zs-mm", &["zsmalloc"]), 1);
        assert_eq!(errors("zs-mm", &["zs-mm"]), 1);
    }

    #[test]
    fn tools_use_anything_and_nobody_uses_them() {
        assert_eq!(errors("zs-model", &["zs", "libc"]), 0);
        assert_eq!(errors("bench-rivals", &["zs"]), 0);
        assert_eq!(errors("zs", &["zs-model"]), 1);
    }

    #[test]
    fn unknown_crates_are_refused() {
        assert_eq!(errors("zs-extra", &[]), 1);
    }

    #[test]
    fn system_crates_are_for_zs_os() {
        assert_eq!(errors("zs-os", &["rustix"]), 0);
        assert_eq!(errors("zcomp", &["libc"]), 1);
    }
}
