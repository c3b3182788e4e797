//! A bar on the terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Progress on standard error, if that is a terminal; nothing otherwise.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Returns the bytes that arrive, nobody knows how many.
    pub(crate) fn reading() -> Self {
        Self::styled(ProgressBar::new_spinner(), "reading {binary_bytes}")
    }

    /// Begins to show pages that go through a codec.
    pub(crate) fn measuring(codec: &str, steps: u64) -> Self {
        let bar = ProgressBar::new(steps).with_message(codec.to_owned());
        Self::styled(bar, "{msg:>4} [{wide_bar}] {percent:>3} %")
    }

    fn styled(bar: ProgressBar, template: &str) -> Self {
        // A template that is not understood would be a bar in another style.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(bar.with_style(style.progress_chars("=> ")))
    }

    /// Moves on by so many.
    pub(crate) fn advance(&mut self, by: u64) {
        self.0.inc(by);
    }

    /// Moves on to a place.
    pub(crate) fn move_to(&mut self, place: u64) {
        self.0.set_position(place);
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}
