//! Measurements in a process that does nothing else.
//!
//! `job, pages -> this program once more, its pages at standard input -> figures from its standard
//! output`

use crate::figures::Figures;
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::io;
use std::process::{Command, Stdio};
use zs_pages::PageFile;

/// Has `verb` of this program measure a job.
pub(crate) fn by_a_child(verb: &str, job: &impl Serialize, pages: &PageFile) -> Result<Figures> {
    let said = Command::new("/proc/self/exe")
        .args([verb, &serde_json::to_string(job)?])
        // The pages travel as standard input: a descriptor that is inherited without further ado.
        .stdin(Stdio::from(pages.descriptor()?))
        .stderr(Stdio::inherit())
        .output()
        .context("the measuring child cannot be started")?;
    if !said.status.success() {
        bail!("the measuring child ended with {}", said.status);
    }
    serde_json::from_slice(&said.stdout).context("the measuring child said something else")
}

/// Writes what the child has to say.
pub(crate) fn say(figures: &Figures) -> Result<()> {
    serde_json::to_writer(io::stdout().lock(), figures).context("the parent is gone")
}
