//! Text to standard output, a closed pipe included.

use crate::failure::Failure;
use crate::units::is_unit;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Columns of text for whoever has no terminal.
const DEFAULT_WIDTH: usize = 80;

/// Prints `text`; its styles are left out where standard output is no terminal, or `NO_COLOR` is
/// set.
///
/// # Errors
/// [`Failure::Silent`] if nobody reads any more, as after `| head -1`.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Silent(ExitCode::SUCCESS),
        _ => Failure::Failed(format!("standard output: {error}")),
    })
}

/// The first word of a remark.
pub(crate) const NOTE: &str = "zs: note: ";

/// Takes a remark.
type Notes = Box<dyn Fn(&str) + Send + Sync>;

/// The taker of remarks, if they do not go to standard error at once.
static NOTES: OnceLock<Notes> = OnceLock::new();

/// Hands all remarks from now on to `to`: a server must not wait until somebody reads its standard
/// error. Only the first call has an effect.
pub(crate) fn redirect_notes(to: impl Fn(&str) + Send + Sync + 'static) {
    let _ = NOTES.set(Box::new(to));
}

/// Makes a remark for a human, on standard error.
pub(crate) fn note(text: &str) {
    if let Some(to) = NOTES.get() {
        return to(text);
    }
    // A remark that cannot be read is no reason to stop.
    let _ = writeln!(io::stderr(), "{NOTE}{text}");
}

/// Returns the columns that a line of standard output has.
pub(crate) fn width() -> usize {
    if !io::stdout().is_terminal() {
        return DEFAULT_WIDTH;
    }
    // A terminal that does not know its size says 0.
    let size = terminal_size::terminal_size_of(io::stdout());
    let width = size.map_or(0, |(width, _)| usize::from(width.0));
    if width == 0 { DEFAULT_WIDTH } else { width }
}

/// Breaks a line between words, so that no part is longer than `width` unless a word is. A number
/// keeps its unit.
pub(crate) fn wrap(line: &str, width: usize) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let bare = word.trim_end_matches([',', ':', ')']);
        match words.last_mut() {
            Some(last) if is_unit(bare) => *last = format!("{last} {word}"),
            _ => words.push(word.to_owned()),
        }
    }
    let mut wrapped = String::new();
    let mut column = 0;
    for word in words {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > width {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(&word);
        column += len;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 80), "one two three");
        assert_eq!(wrap("one two three", 7), "one two\nthree");
        assert_eq!(wrap("one two three", 8), "one two\nthree");
        assert_eq!(wrap("a longer-than-wide b", 5), "a\nlonger-than-wide\nb");
        assert_eq!(wrap("", 5), "");
        assert_eq!(
            wrap("held in 6.2 MiB: 61 % back", 10),
            "held in\n6.2 MiB:\n61 % back"
        );
    }
}
