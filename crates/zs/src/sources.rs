//! The sources of pages: files, processes, a command.

use crate::cli::SourceArgs;
use crate::failure::Failure;
use crate::progress::Progress;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use zs_mm::PageSize;
use zs_pages::{
    Collector, PageFile, SampleOptions, SampledProcess, Source, Survey, Unread, UnreadReason,
    all_processes, printable, survey, system_page_size, watch,
};

/// Pages, and where they come from.
pub(crate) struct Gathered {
    pub(crate) pages: PageFile,
    pub(crate) page_size: PageSize,
    pub(crate) origin: Origin,
}

/// The sources of pages.
pub(crate) enum Origin {
    Files(Vec<Source>),
    Processes(Box<Live>),
}

/// The sample of processes.
pub(crate) struct Live {
    pub(crate) processes: Vec<SampledProcess>,
    pub(crate) unread: Vec<Unread>,
    pub(crate) sampling: SampleOptions,
    /// If they are those of a command.
    pub(crate) command: Option<Ran>,
}

/// A command that was watched.
pub(crate) struct Ran {
    /// Its name, for people.
    pub(crate) name: String,
    /// See [`zs_pages::WatchedCommand`].
    pub(crate) largest: u64,
    pub(crate) at_sample: u64,
    pub(crate) sampled_after: Duration,
    pub(crate) counts: u64,
    pub(crate) samples: u64,
    pub(crate) status: ExitStatus,
    pub(crate) left: Vec<(u32, String)>,
    pub(crate) failed: Option<zs_pages::Error>,
}

impl Origin {
    /// Says why the tool's work is no success, though it is done: the command that it watched
    /// failed.
    pub(crate) fn failure(&self) -> Option<String> {
        let Self::Processes(live) = self else {
            return None;
        };
        let command = live.command.as_ref()?;
        let (name, status) = (&command.name, command.status);
        (!status.success()).then(|| {
            format!("{name} failed ({status}): what was sampled is of the time until then")
        })
    }
}

/// Collects the pages of a source. `page` is what was asked for, if anything was.
///
/// From here on a file that would grow beyond `ulimit -f` is an error, and not the end of the
/// process.
pub(crate) fn gather(
    source: &SourceArgs,
    sampling: SampleOptions,
    page: Option<PageSize>,
) -> Result<Gathered, Failure> {
    flag::register(SIGXFSZ, Arc::default())
        .map_err(|error| Failure::Failed(format!("signal {SIGXFSZ}: {error}")))?;
    if !source.file.is_empty() {
        return files(&source.file, page.unwrap_or(PageSize::K4));
    }
    let system = system_page_size()?;
    if let Some(page) = page.filter(|page| *page != system) {
        return Err(Failure::Usage(format!(
            "--page-size {page}: processes are sampled in pages of the system, {system}; leave it out, or sample a file"
        )));
    }
    if !source.command.is_empty() {
        return command(&source.command, sampling, system);
    }
    if source.all {
        return processes(&all_processes()?, sampling, system, is_no_candidate);
    }
    let mut pids = source.pid.clone();
    pids.sort_unstable();
    pids.dedup();
    processes(&pids, sampling, system, |_| false)
}

/// Unpacks all files into one.
fn files(paths: &[PathBuf], page_size: PageSize) -> Result<Gathered, Failure> {
    let mut collector = Collector::new(page_size)?;
    let mut progress = Progress::reading();
    for path in paths {
        collector.add_file(path, &mut |bytes| progress.advance(bytes))?;
    }
    progress.finish();
    if collector.padded_len() == 0 {
        let all = match paths {
            [file] => format!("{file:?} is empty"),
            files => format!("all {} files are empty", files.len()),
        };
        return Err(Failure::Failed(format!("nothing to read: {all}")));
    }
    let (pages, sources) = collector.finish()?;
    Ok(Gathered {
        pages,
        page_size,
        origin: Origin::Files(sources),
    })
}

/// Returns what nobody who asks for all processes asks for.
fn is_no_candidate(unread: &Unread) -> bool {
    matches!(
        unread.reason,
        UnreadReason::KernelThread
            | UnreadReason::Itself
            | UnreadReason::Zombie
            | UnreadReason::NoSuchProcess
    )
}

fn processes(
    pids: &[u32],
    sampling: SampleOptions,
    page_size: PageSize,
    is_left_out: fn(&Unread) -> bool,
) -> Result<Gathered, Failure> {
    let mut progress = Progress::reading();
    let mut survey = survey(pids, sampling, &mut |bytes| progress.advance(bytes))?;
    progress.finish();
    survey.unread.retain(|unread| !is_left_out(unread));
    live(survey, sampling, page_size, None)
}

/// Signals that would end this process, while a command runs.
struct Signals {
    /// The one that the command is to be sent.
    for_command: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Signals {
    /// Whoever interrupts a command wants the report of what it did until then. The command gets
    /// SIGINT and SIGQUIT from the terminal itself; what is sent to this process alone is
    /// passed on.
    fn hold_off() -> Result<Self, Failure> {
        let signals = Self {
            for_command: Arc::new(AtomicUsize::new(0)),
            is_over: Arc::new(AtomicBool::new(false)),
        };
        for signal in [SIGINT, SIGQUIT, SIGTERM, SIGHUP] {
            let failed = |error| Failure::Failed(format!("signal {signal}: {error}"));
            let is_over = || signals.is_over.clone();
            flag::register_conditional_default(signal, is_over()).map_err(failed)?;
            if matches!(signal, SIGTERM | SIGHUP) {
                let place = signals.for_command.clone();
                flag::register_usize(signal, place, signal as usize).map_err(failed)?;
            } else {
                // A second one ends this process: the command may pay no heed to the first.
                flag::register(signal, is_over()).map_err(failed)?;
            }
        }
        Ok(signals)
    }

    /// From here on they end this process again.
    fn let_through(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// Runs a command and samples it. Interrupted, the command ends, and what was sampled is reported.
fn command(
    words: &[OsString],
    sampling: SampleOptions,
    page_size: PageSize,
) -> Result<Gathered, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("standard error: {error}"));
    let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    let mut command = Command::new(&words[0]);
    // Standard output is the report's.
    command.args(&words[1..]).stdout(stderr);
    let signals = Signals::hold_off()?;
    let watched = watch(&mut command, sampling, &signals.for_command)?;
    signals.let_through();
    let ran = Ran {
        name: printable(&words[0].to_string_lossy()),
        largest: watched.largest,
        at_sample: watched.at_sample,
        sampled_after: watched.sampled_after,
        counts: watched.counts,
        samples: watched.samples,
        status: watched.status,
        left: watched.left,
        failed: watched.failed,
    };
    live(watched.survey, sampling, page_size, Some(ran))
}

fn live(
    survey: Survey,
    sampling: SampleOptions,
    page_size: PageSize,
    command: Option<Ran>,
) -> Result<Gathered, Failure> {
    let live = Live {
        processes: survey.processes,
        unread: survey.unread,
        sampling,
        command,
    };
    let Some(pages) = survey.pages else {
        return Err(Failure::Failed(live.why_nothing()));
    };
    Ok(Gathered {
        pages,
        page_size,
        origin: Origin::Processes(Box::new(live)),
    })
}

impl Live {
    /// Says why there is not a page.
    fn why_nothing(&self) -> String {
        let mut lines = vec!["no page could be read".to_owned()];
        if let Some(command) = &self.command {
            lines = vec![format!(
                "{} ended ({}) before a page of it could be read",
                command.name, command.status
            )];
        }
        lines.extend(self.unread_lines());
        lines.extend(self.left_behind());
        lines.join("\n")
    }
}
