//! `allocators`: the same work on these pools and on other allocators, in turn.
//!
//! Data model: `pages -> objects, in a file -> a child process for each allocator, number of
//! threads and run -> phases: times and memory -> medians -> table, CSV, pictures, bars`.
//!
//! The rivals live in the crate `bench-rivals`, which hands them in as [`Contender`]s.
//!
//! | module | responsibility |
//! |---|---|
//! | `blobs` | what an allocator must do |
//! | `zs` | this project's pools |
//! | `objects` | the objects: compressed once, mapped by every child |
//! | `phase` | what is done, and what is measured of it |
//! | `child` | one run: threads through the phases, memory between them |
//! | `worker` | one thread's operations, and their times |
//! | `timeline` | memory as time goes by |
//! | `bars` | what the figures are to be |
//! | `report` | tables and CSV |
//! | `picture` | SVG |

mod bars;
mod blobs;
mod child;
mod contender;
mod objects;
mod phase;
mod picture;
mod report;
mod timeline;
mod worker;
mod zs;

pub use contender::Contender;

pub use blobs::Blobs;
pub use child::{Job, measure};

use crate::load::Load;
use crate::note;
use anyhow::{Context as _, Result, bail};
use clap::{Args, value_parser};
use objects::{ObjectFile, PAGE};
use phase::Outcome;
use report::{Fate, Row};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zs_pages::{Collector, PageFile};

/// This project's pools: with a handle table, with words that the client owns, and one pool for
/// each thread, in one arena: what there would be to gain if threads never met in a pool.
pub const OWN: [Contender; 3] = [
    Contender {
        name: "zsmalloc",
        measure: |job| measure(job, || zs::Handles::new(job)),
        huge: Some(&[]),
        on_request: false,
    },
    Contender {
        name: "zsmalloc-words",
        measure: |job| measure(job, || zs::Words::new(job)),
        huge: Some(&[]),
        on_request: false,
    },
    Contender {
        name: "zsmalloc-pool-a-thread",
        measure: |job| measure(job, || zs::PoolAThread::new(job)),
        huge: Some(&[]),
        on_request: true,
    },
];

/// The same work on these pools and on other allocators, in turn.
///
/// Objects are LZ4-compressed pages (4 KiB each, same-filled ones left out). Every allocator and
/// run has a process of its own; memory is the growth of what is resident there.
#[derive(Debug, Clone, Args)]
pub struct Allocators {
    /// Files of pages; a .zst file is unpacked first [default: this program]
    #[arg(long, num_args = 1.., value_name = "FILE", default_value = "/proc/self/exe", hide_default_value = true)]
    pub file: Vec<PathBuf>,

    /// How many times the pages are stored; lengths of all but the first copy are jittered by up
    /// to 8 bytes
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=4096))]
    pub copies: u32,

    /// Numbers of threads [default: 1, 2 and as many as there are CPUs]
    #[arg(long, value_delimiter = ',', value_parser = value_parser!(u32).range(1..=256))]
    pub threads: Vec<u32>,

    /// Counted runs of each, after one that is not; the figures are medians
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(1..=1000))]
    pub runs: u32,

    /// The order of operations, and the jitter, follow from it
    #[arg(long, default_value = "12345")]
    pub seed: u32,

    /// Only these allocators
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub only: Vec<String>,

    /// Also with huge pages asked for, where an allocator has that option
    #[arg(long)]
    pub huge: bool,

    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Also draw memory.svg and time.svg in this folder
    #[arg(long, value_name = "FOLDER")]
    pub pictures: Option<PathBuf>,

    /// Allocators that could not be built, and why: they get a row that says so
    #[arg(long, value_name = "NAME=WHY", value_parser = absent)]
    pub absent: Vec<(String, String)>,
}

fn absent(text: &str) -> Result<(String, String), String> {
    let (name, why) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=WHY"))?;
    Ok((name.to_owned(), why.to_owned()))
}

/// Measures all contenders in turn; `child` are the arguments with which this program calls itself,
/// before the name of the contender and the job.
///
/// # Errors
/// If the pages cannot be had, there is too little memory, or a report cannot be written. An
/// allocator that fails has a row that says so.
pub fn run(options: &Allocators, contenders: &[Contender], child: &[&str]) -> Result<()> {
    let pages = collect(&options.file)?;
    let mapped = pages.map()?;
    let objects = ObjectFile::build(&mut Load::new(&mapped, options.copies, options.seed)?)?;
    enough_memory(objects.payload, zs_os::memory_available())?;
    let mut rows = rows(options, contenders)?;
    // Runs alternate, so that a machine's mood does not fall on one of them; the first only warms
    // up.
    for run in 0..=options.runs {
        for row in &mut rows {
            if let Fate::Failed(_) = row.fate {
                continue;
            }
            note(&format!("{row}: run {run} of {}", options.runs));
            let job = Job {
                count: objects.count,
                threads: row.threads,
                seed: options.seed,
                huge: row.huge,
            };
            let outcome = in_a_child(row.contender, &job, &objects.file, child);
            row.add(outcome, run > 0);
        }
    }
    let absent = options.absent.clone();
    let report = report::Report {
        source_bytes: (pages.pages() * u64::from(options.copies)) << PAGE.shift(),
        objects: objects.count,
        payload: objects.payload,
        runs: options.runs,
        rows,
        absent,
    };
    write(options, &report)
}

fn write(options: &Allocators, report: &report::Report) -> Result<()> {
    if let Some(path) = &options.csv {
        fs::write(path, report.csv()).with_context(|| path.display().to_string())?;
    }
    if let Some(folder) = &options.pictures {
        for (name, svg) in [
            ("memory.svg", picture::memory(report)?),
            ("time.svg", picture::time(report)?),
        ] {
            let path = folder.join(name);
            fs::write(&path, svg).with_context(|| path.display().to_string())?;
        }
    }
    let text = report.text() + &bars::lines(report);
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.context("standard output")
}

fn collect(files: &[PathBuf]) -> Result<PageFile> {
    let mut collector = Collector::new(PAGE)?;
    for path in files {
        refuse_packed(path)?;
        collector.add_file(path, &mut |_| ())?;
    }
    for source in collector.sources() {
        if source.bytes == 0 {
            bail!(
                "{} is empty: a file of pages is needed",
                source.path.display()
            );
        }
        if source.padding > 0 {
            note(&format!(
                "{}: {} bytes are no whole number of pages of {} bytes: the last was filled up with zeros",
                source.path.display(),
                source.bytes,
                PAGE.bytes()
            ));
        }
    }
    Ok(collector.finish()?.0)
}

/// Refuses a file that is packed by its first bytes, but does not say so by its name: its pages
/// would be measured as if memory looked like that.
fn refuse_packed(path: &Path) -> Result<()> {
    const PACKED: [(&[u8], &str); 5] = [
        (
            &[0x28, 0xb5, 0x2f, 0xfd],
            "zstd (name it .zst, and it is unpacked)",
        ),
        (&[0x1f, 0x8b], "gzip"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
        (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
        (b"BZh", "bzip2"),
    ];
    if path.extension().is_some_and(|extension| extension == "zst") || !path.is_file() {
        return Ok(());
    }
    let mut start = Vec::new();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    file.take(8)
        .read_to_end(&mut start)
        .with_context(|| path.display().to_string())?;
    match PACKED
        .into_iter()
        .find(|(magic, _)| start.starts_with(magic))
    {
        Some((_, how)) => bail!("{} is compressed by {how}: unpack it first", path.display()),
        None => Ok(()),
    }
}

/// By how much of the payload the loosest of the usual allocators has been seen to exceed it, and
/// the file of objects.
fn enough_memory(payload: u64, available: u64) -> Result<()> {
    let needed = payload * 5 / 2 + (64 << 20);
    if available < needed {
        bail!(
            "{} MiB of memory are available, and objects of {} MiB may take up to {} MiB with the loosest allocator: \
             take fewer pages or --copies",
            available >> 20,
            payload >> 20,
            needed >> 20
        );
    }
    Ok(())
}

/// One row for each allocator and number of threads, all of one number together.
fn rows(options: &Allocators, contenders: &[Contender]) -> Result<Vec<Row>> {
    let known = |name: &String| {
        let absent = options.absent.iter().map(|(name, _)| name.as_str());
        contenders
            .iter()
            .map(|one| one.name)
            .chain(absent)
            .any(|known| known == name)
    };
    if let Some(name) = options.only.iter().find(|name| !known(name)) {
        let names: Vec<_> = contenders.iter().map(|one| one.name).collect();
        bail!(
            "there is no allocator {name:?}: there are {}",
            names.join(", ")
        );
    }
    let mut rows = Vec::new();
    for threads in threads(options) {
        for &contender in contenders {
            let named = |name: &String| name == contender.name;
            let not_named = !options.only.iter().any(named);
            if not_named && (contender.on_request || !options.only.is_empty()) {
                continue;
            }
            for huge in [false, true] {
                let fate = if huge && contender.huge.is_none() {
                    Fate::Failed("it has no option for huge pages".to_owned())
                } else {
                    Fate::Measured(Vec::new())
                };
                if options.huge || !huge {
                    rows.push(Row {
                        contender,
                        huge,
                        threads,
                        fate,
                    });
                }
            }
        }
    }
    Ok(rows)
}

fn threads(options: &Allocators) -> Vec<u32> {
    let mut threads = options.threads.clone();
    if threads.is_empty() {
        let cpus = std::thread::available_parallelism();
        threads = vec![1, 2, cpus.map_or(1, |cpus| cpus.get() as u32)];
    }
    threads.sort_unstable();
    threads.dedup();
    threads
}

fn in_a_child(
    contender: Contender,
    job: &Job,
    objects: &PageFile,
    arguments: &[&str],
) -> Result<Outcome> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(arguments)
        .args([contender.name, &serde_json::to_string(job)?])
        // The objects travel as standard input: a descriptor that is inherited without further ado.
        .stdin(Stdio::from(objects.descriptor()?));
    if let (true, Some(variables)) = (job.huge, contender.huge) {
        command.envs(variables.iter().copied());
    }
    let said = command
        .output()
        .context("the measuring child cannot be started")?;
    if !said.status.success() {
        bail!(
            "{}: {}",
            said.status,
            String::from_utf8_lossy(&said.stderr).trim()
        );
    }
    serde_json::from_slice(&said.stdout).context("the measuring child said something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_said() {
        enough_memory(100 << 20, 400 << 20).unwrap();
        let error = enough_memory(184 << 20, 300 << 20).unwrap_err().to_string();
        assert!(error.contains("300 MiB of memory are available"), "{error}");
        assert!(error.contains("up to 524 MiB"), "{error}");
    }

    #[test]
    fn an_absent_allocator_has_a_name_and_a_reason() {
        assert_eq!(absent("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(absent("jemalloc").unwrap_err().contains("NAME=WHY"));
    }
}
