//! A child for each codec, and what it says.

use crate::cli::Job;
use crate::estimate::protocol::{Measured, Message};
use crate::failure::Failure;
use crate::progress::Progress;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use zcomp::Algorithm;
use zs_pages::PageFile;

/// This very program, also if its file was replaced or removed meanwhile.
const SELF: &str = "/proc/self/exe";

const SIGKILL: i32 = 9;

/// Measures one codec in a process that does nothing else.
pub(super) fn measure(pages: &PageFile, job: &Job) -> Result<Measured, Failure> {
    let codec = job.codec.to_string();
    let child = Command::new(SELF)
        .arg0("zs")
        .args(["measure", "--codec", &codec])
        .args(["--page-size", &job.page_size.to_string()])
        .args(["--limit", &job.limit.to_string()])
        .args(["--seed", &job.seed.to_string()])
        .args(job.free.map(|share| format!("--free={share}")))
        .args(job.compare.then_some("--compare"))
        .args(job.parts.iter().map(|pages| format!("--parts={pages}")))
        // The pages travel as standard input: a descriptor that is inherited without further ado.
        .stdin(Stdio::from(pages.descriptor()?))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::Failed(format!("{SELF} cannot be started: {error}")))?;
    let passes = if job.free.is_some() { 3 } else { 2 };
    let mut progress = Progress::measuring(name(job.codec), passes * pages.data_pages());
    let measured = result(child, &codec, &mut progress);
    progress.finish();
    measured
}

/// Waits for the child's last word.
fn result(mut child: Child, codec: &str, progress: &mut Progress) -> Result<Measured, Failure> {
    let last = listen(&mut child, progress);
    let status = child.wait();
    match last {
        Some(Message::Measured(measured)) => Ok(*measured),
        Some(Message::Failed(reason)) => Err(Failure::Failed(format!("{codec}: {reason}"))),
        Some(Message::Progress(_)) | None => {
            let end = status.map_or_else(|error| error.to_string(), how_it_ended);
            Err(Failure::Failed(format!(
                "the measuring child for {codec} {end}"
            )))
        }
    }
}

/// Returns a codec's name without its level.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Lz4 => "lz4",
        Algorithm::Lz4hc(_) => "lz4hc",
        Algorithm::Zstd(_) => "zstd",
        Algorithm::Deflate(_) => "deflate",
        Algorithm::None => "none",
    }
}

/// Shows the child's progress; returns its last word, if that is understood.
fn listen(child: &mut Child, progress: &mut Progress) -> Option<Message> {
    let mut last = None;
    let lines = BufReader::new(child.stdout.take()?).lines();
    for line in lines.map_while(Result::ok) {
        last = serde_json::from_str(&line).ok();
        match last {
            Some(Message::Progress(steps)) => progress.move_to(steps),
            _ => break,
        }
    }
    last
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(SIGKILL), _) => {
            "died by signal 9; if the system killed it for want of memory, give a lower --limit"
                .to_owned()
        }
        (Some(signal), _) => format!("died by signal {signal}"),
        (None, code) => format!("ended with code {} and no result", code.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that says how far it is, and dies in the middle of its work by a signal of its own.
    #[test]
    fn a_measuring_child_that_is_killed_is_reported() {
        for (signal, expected) in [
            (
                "KILL",
                "the measuring child for lz4 died by signal 9; if the system killed it for want of memory",
            ),
            ("TERM", "the measuring child for lz4 died by signal 15"),
        ] {
            let step = serde_json::to_string(&Message::Progress(1)).unwrap();
            let script = format!("echo '{step}'; kill -{signal} $$");
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &script]).stdout(Stdio::piped());
            let mut progress = Progress::measuring("lz4", 2);
            let failed = result(command.spawn().unwrap(), "lz4", &mut progress);
            let Err(Failure::Failed(text)) = failed else {
                unreachable!("{failed:?}");
            };
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn an_end_without_a_result_is_explained() {
        assert_eq!(how_it_ended(ExitStatus::from_raw(6)), "died by signal 6");
        assert!(how_it_ended(ExitStatus::from_raw(9)).contains("--limit"));
        let code = how_it_ended(ExitStatus::from_raw(101 << 8));
        assert_eq!(code, "ended with code 101 and no result");
    }
}
