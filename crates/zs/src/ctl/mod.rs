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

use crate::control::{self, Order, Request};
use crate::failure::Failure;
use crate::output;
use crate::units::SIZES;
use clap::{Args, Subcommand};
use link::Link;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Ask or tell a running `zs serve` something
///
/// Works for the user who started the server, and for root. To interrupt it is harmless: what the
/// server has begun it finishes.
#[derive(Debug, Args)]
#[command(after_help = SIZES)]
pub(crate) struct Options {
    /// The server's unix socket; that for control lies beside it
    #[arg(long, short, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Instead: its control socket, as in the server's --control
    #[arg(long, value_name = "PATH", conflicts_with = "socket")]
    control: Option<PathBuf>,

    /// Which disk, if the server has several
    #[arg(long, value_name = "NAME")]
    export: Option<String>,

    /// Give up on a server that gives no sign of life for so long, as one that is stopped; one that
    /// works on something long says so twice a second
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=3600))]
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
        /// Seconds between two looks, 1 to 30
        // Less than the silence after which the server hangs up.
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=30))]
        every: u8,
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
