//! `zs ctl`: one request to a running `zs serve`, and its answer.

use crate::control::{self, Answer, Request};
use crate::failure::Failure;
use crate::output;
use clap::Args;
use serde_json::Value;
use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

/// Ask or tell a running `zs serve` something
///
/// Works for the user who started the server, and for root.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The server's unix socket; that for control lies beside it
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    request: Request,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let path = control::beside(&options.socket);
    let failed =
        |what: &dyn std::fmt::Display| Failure::Failed(format!("{}: {what}", path.display()));
    let stream = UnixStream::connect(&path).map_err(|error| failed(&error))?;
    let mut request = serde_json::to_vec(&options.request).map_err(|error| failed(&error))?;
    request.push(b'\n');
    let sent = (&stream).write_all(&request);
    sent.map_err(|error| failed(&error))?;
    let line = control::line(&mut BufReader::new(&stream)).map_err(|error| failed(&error))?;
    let line = line.ok_or_else(|| failed(&"the server ended without an answer"))?;
    match serde_json::from_slice(&line).map_err(|error| failed(&error))? {
        Answer::Error(text) => Err(Failure::Failed(text)),
        Answer::Ok(value) => {
            output::print(&text(&value, options.json))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// An object as lines of name and value, a text as it is.
fn text(value: &Value, json: bool) -> String {
    match value {
        _ if json => format!("{value}\n"),
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            let line = |(name, value)| format!("{name:width$}  {value}\n");
            fields.iter().map(line).collect()
        }
        other => format!("{other}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_readable() {
        assert_eq!(
            text(&json!({"a": 1, "long": 2}), false),
            "a     1\nlong  2\n"
        );
        assert_eq!(text(&json!({"a": 1}), true), "{\"a\":1}\n");
        assert_eq!(text(&json!("# TYPE\n"), false), "# TYPE\n");
        assert_eq!(text(&Value::Null, false), "");
    }
}
