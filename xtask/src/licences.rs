//! `licences`: every dependency's licence expression must be satisfiable by an allow-list.
//!
//! Counted are all packages that any member, or the freestanding program, can reach with any
//! feature on any platform, for building, testing or running. A package with a licence file only is
//! refused: nobody read it.

use anyhow::{Context as _, Result, bail};
use spdx::{Expression, Licensee, ParseMode};

use crate::freestanding;
use crate::workspace::{MANIFEST, Workspace};

/// Licences that ask for no more than notices. GPL, LGPL and MPL are left out on purpose.
const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

pub(crate) fn run(workspace: &Workspace) -> Result<String> {
    let allowed = allowed()?;
    let mut packages = workspace.dependencies(MANIFEST)?.packages;
    packages.extend(workspace.dependencies(freestanding::MANIFEST)?.packages);
    // The program's own crates are members, too.
    packages.sort_by(|a, b| a.id.cmp(&b.id));
    packages.dedup_by(|a, b| a.id == b.id);
    let mut refused = 0;
    for package in &packages {
        if let Err(reason) = judge(package.license.as_deref(), &allowed) {
            println!("{} {}: {reason}", package.name, package.version);
            refused += 1;
        }
    }
    if refused > 0 {
        bail!("{refused} of {} packages refused", packages.len());
    }
    Ok(format!("{} packages", packages.len()))
}

fn allowed() -> Result<Vec<Licensee>> {
    ALLOWED
        .iter()
        .map(|name| Licensee::parse(name).with_context(|| format!("allow-list entry {name}")))
        .collect()
}

fn judge(licence: Option<&str>, allowed: &[Licensee]) -> Result<(), String> {
    let text = licence.ok_or("no licence expression")?;
    // Old packages write `MIT/Apache-2.0`.
    let expression = Expression::parse_mode(text, ParseMode::LAX)
        .map_err(|error| format!("`{text}` is no licence expression: {}", error.reason))?;
    if expression.evaluate(|needed| allowed.iter().any(|have| have.satisfies(needed))) {
        Ok(())
    } else {
        Err(format!("`{text}` is not allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(licence: &str) -> bool {
        let allowed = allowed().expect("the allow-list parses");
        judge(Some(licence), &allowed).is_ok()
    }

    #[test]
    fn permissive_licences_pass() {
        assert!(ok("MIT"));
        assert!(ok("MIT/Apache-2.0"));
        assert!(ok("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
        assert!(ok("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(ok("GPL-2.0-only OR BSD-3-Clause"));
    }

    #[test]
    fn copyleft_licences_are_refused() {
        assert!(!ok("GPL-3.0-only"));
        assert!(!ok("LGPL-2.1-or-later"));
        assert!(!ok("MPL-2.0"));
        assert!(!ok("MIT AND GPL-2.0-or-later"));
    }

    #[test]
    fn unknown_and_missing_licences_are_refused() {
        let allowed = allowed().expect("the allow-list parses");
        assert!(judge(None, &allowed).is_err());
        assert!(judge(Some("Do what you like"), &allowed).is_err());
    }
}
