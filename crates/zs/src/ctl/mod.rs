//! `zs ctl`: a request to a running `zs serve`, and its answer.
//!
//! | module | responsibility |
//! |---|---|
//! | `link` | the connection to the server |
//! | `text` | answers for people |
//! | `top` | `zs ctl top`: figures that change |

mod link;
mod text;
mod top;

use crate::args::number_in;
use crate::control::{self, Order, Request};
use crate::failure::Failure;
use crate::output;
use crate::units::SIZES;
use clap::{Args, Subcommand};
use link::Link;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const ABOUT: &str = "\
Only the user who started the server, and root, can use it. Ctrl-C is harmless: the server finishes a verb that it has begun.

Exit codes: 0 done; 1 refused or failed; 2 wrong arguments.";

/// Show figures of a running `zs serve`, or change it
#[derive(Debug, Args)]
#[command(after_help = format!("{ABOUT}\n\n{SIZES}"))]
pub(crate) struct Options {
    /// Unix socket of the server, as in its --socket; the control socket is found beside it
    #[arg(long, short, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Instead of --socket: the control socket, as in the server's --control
    #[arg(long, value_name = "PATH", conflicts_with = "socket")]
    control: Option<PathBuf>,

    /// Name of the disk, if the server has several
    #[arg(long, value_name = "NAME")]
    export: Option<String>,

    /// Give up on a server that is silent for so many seconds, 2 to 3600. A server that works on a
    /// long verb is not silent
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = number_in(2..=3600))]
    timeout: u64,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Ask(Request),
    /// Show throughput, memory and latencies as they change; q quits
    Top {
        /// Seconds between two looks at the server, 1 to 30
        // Less than the silence after which the server hangs up.
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = number_in(1..=30))]
        every: u64,
    },
}

impl Options {
    /// Connects to the server that is meant.
    fn link(&self) -> Result<Link, Failure> {
        let patience = Duration::from_secs(self.timeout);
        match (&self.socket, &self.control) {
            (_, Some(path)) => Link::open(path, "--control", patience),
            (Some(socket), None) => {
                Link::open(&control::beside(socket), "--socket", patience)
            }
            (None, None) => Err(Failure::Usage(
                "which server? --socket PATH names its unix socket, --control PATH its control socket"
                    .to_owned(),
            )),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut link = options.link()?;
    let export = options.export.clone();
    match &options.verb {
        Verb::Ask(request) => {
            let order = Order {
                export,
                request: request.clone(),
            };
            let answer = link.ask(&order)?;
            let printed = match options.json {
                true => format!("{answer}\n"),
                false => text::answer(request, answer, output::width())?,
            };
            output::print(&printed)?;
        }
        Verb::Top { every } => top::run(&mut link, export, *every)?,
    }
    Ok(ExitCode::SUCCESS)
}
