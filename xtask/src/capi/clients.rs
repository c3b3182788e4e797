//! Programs of earlier days, as they were compiled then: a library with the same name in its soname
//! must run them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::CRATE;
use super::programs::{all, passes};
use crate::workspace::Workspace;

/// Binaries for x86-64, in a folder for each commit that they are of, by the names of their
/// sources.
const FOLDER: &str = "tests/clients";

pub(super) fn run(workspace: &Workspace, prefix: &Path) -> Result<String> {
    if !cfg!(target_arch = "x86_64") {
        return Ok("no old clients for this machine".to_owned());
    }
    let folder = workspace.root().join(CRATE).join(FOLDER);
    let mut count = 0;
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let of_a_day = entry?.path();
        if !of_a_day.is_dir() {
            continue;
        }
        for client in fs::read_dir(&of_a_day)? {
            let client = client?.path();
            let arguments = all()
                .iter()
                .find(|program| program.source.file_stem() == client.file_stem())
                .map_or(&[][..], |program| program.arguments);
            // Copied, as what a program says is kept beside it.
            let copy = workspace
                .target_dir("capi")
                .join("programs")
                .join("old-client");
            fs::copy(&client, &copy).with_context(|| client.display().to_string())?;
            passes(workspace, prefix, &copy, arguments)
                .with_context(|| format!("old client {}", client.display()))?;
            count += 1;
        }
    }
    if count == 0 {
        bail!("{} has no old client", folder.display());
    }
    Ok(format!("{count} old clients passed"))
}
