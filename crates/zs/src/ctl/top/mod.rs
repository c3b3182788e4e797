//! `zs ctl top`: what a disk does, second by second.
//!
//! Data model: `server -> Stat -> History (two looks, and throughput over time) -> frame on the
//! terminal`.
//!
//! | module | responsibility |
//! |---|---|
//! | `history` | rates from two looks |
//! | `draw` | a frame |

mod draw;
mod history;

use super::link::Link;
use super::text;
use crate::control::{Order, Request, Stat};
use crate::failure::Failure;
use history::History;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a signal is noticed.
const PATIENCE: Duration = Duration::from_millis(200);

/// Shows a disk until q is pressed, or a signal comes. The terminal is as it was afterwards, also
/// after a panic.
pub(super) fn run(link: &mut Link, export: Option<String>, every: u64) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let text =
            "top needs a terminal to draw on; zs ctl stat and metrics print the same figures";
        return Err(Failure::Failed(text.to_owned()));
    }
    let order = Order {
        export,
        request: Request::Stat,
    };
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let caught = signal_hook::flag::register(signal, Arc::clone(&ended));
        caught.map_err(|error| link.failed(&error))?;
    }
    let first = look(link, &order)?;
    let terminal = ratatui::try_init().map_err(|error| link.failed(&error))?;
    let shown = show(terminal, link, &order, first, every, &ended);
    ratatui::restore();
    shown
}

/// Returns the disk's figures, of which there must be one set.
fn look(link: &mut Link, order: &Order) -> Result<Stat, Failure> {
    let mut stats = text::stats(link.ask(order)?)?;
    match (stats.len(), stats.pop()) {
        (1, Some(stat)) => Ok(stat),
        (_, last) => {
            let names = stats.iter().chain(&last).map(|stat| &stat.export);
            let names: Vec<_> = names.collect();
            let text =
                format!("there are several exports: name one by --export; there are {names:?}");
            Err(Failure::Failed(text))
        }
    }
}

fn show(
    mut terminal: DefaultTerminal,
    link: &mut Link,
    order: &Order,
    first: Stat,
    every: u64,
    ended: &AtomicBool,
) -> Result<(), Failure> {
    let every = Duration::from_secs(every);
    let mut history = History::new(first, Instant::now());
    // SeqCst: a flag of a signal handler, looked at a few times a second.
    while !ended.load(Ordering::SeqCst) {
        let drawn = terminal.draw(|frame| draw::frame(frame, &history));
        drawn.map_err(|error| link.failed(&error))?;
        let next = history.last_look() + every;
        if wait(next, ended).map_err(|error| link.failed(&error))? {
            return Ok(());
        }
        if Instant::now() >= next {
            history.add(look(link, order)?, Instant::now());
        }
    }
    Ok(())
}

/// Waits for a time, or for something that changes the picture; whether the user wants to quit.
fn wait(until: Instant, ended: &AtomicBool) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || ended.load(Ordering::SeqCst) {
            return Ok(false);
        }
        if !event::poll(left.min(PATIENCE))? {
            continue;
        }
        match event::read()? {
            Event::Key(key) => {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
                    KeyCode::Char('c' | 'd') if control => return Ok(true),
                    _ => {}
                }
            }
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}
