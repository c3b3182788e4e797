//! `zs capture`: pages, written to a file.

use crate::cli::Capture;
use crate::failure::Failure;
use crate::output;
use crate::sources::{Gathered, Origin, gather};
use crate::units::Size;
use std::process::ExitCode;
use zs_pages::{PrivateFile, SampledProcess};

/// Runs the command.
pub(crate) fn run(options: &Capture) -> Result<ExitCode, Failure> {
    // First of all, so that nobody waits for a command only to hear that the file cannot be made.
    let file = PrivateFile::at(&options.output)?;
    let gathered = gather(&options.source, options.sampling(), None)?;
    file.write(&gathered.pages)?;
    output::print(&report(options, &gathered))?;
    match gathered.origin.failure() {
        Some(text) => Err(Failure::Failed(text)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn report(options: &Capture, gathered: &Gathered) -> String {
    let (pages, page) = (gathered.pages.pages(), gathered.page_size);
    let size = Size(page.bytes() as u64);
    let bytes = Size(pages << page.shift());
    let from = match &gathered.origin {
        Origin::Files(files) if files.len() == 1 => "of 1 file".to_owned(),
        Origin::Files(files) => format!("of {} files", files.len()),
        Origin::Processes(live) => {
            let all: u64 = live.processes.iter().map(SampledProcess::pages).sum();
            let plural = if live.processes.len() == 1 { "" } else { "es" };
            format!(
                "a random sample of {all} in {} process{plural} (seed {})",
                live.processes.len(),
                live.sampling.seed
            )
        }
    };
    let mut lines = vec![format!(
        "{:?}: {pages} pages of {size} ({bytes}), {from}",
        options.output
    )];
    if let Origin::Processes(live) = &gathered.origin {
        lines.extend(live.notes(page));
        lines.push(
            "it holds the memory of others, keys and passwords perhaps: only its owner may read it (mode 0600); remove it when it has served its purpose".to_owned(),
        );
    }
    let width = output::width();
    let lines = lines.iter().map(|line| output::wrap(line, width) + "\n");
    lines.collect()
}
