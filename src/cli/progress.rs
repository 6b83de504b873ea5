//! How far long work is: one line on standard error that is drawn again and again, on a terminal only.
//!
//! A few dozen lines of our own: bytes with a rate and a state with its time are all that is shown, and the crates for
//! it bring a terminal library each.

use std::io::Write;
use std::time::{Duration, Instant};

use super::Global;
use super::show::bytes;
use super::style::{self, Look, Style};

/// Drawn no more often.
const EVERY: Duration = Duration::from_millis(100);
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Of the bar, in columns.
const BAR: usize = 24;

/// One line of progress; it is wiped when this value goes.
pub struct Progress {
    look: Look,
    what: String,
    state: String,
    done: u64,
    total: Option<u64>,
    begun: Instant,
    drawn: Option<Instant>,
    turn: usize,
}

impl Progress {
    /// Of `what`, whose state is told by [`Self::state`].
    pub fn of_state(global: &Global, what: impl Into<String>) -> Self {
        Self::new(global, what.into(), None)
    }

    /// Of `what` in bytes; `total` where it is known.
    pub fn of_bytes(global: &Global, what: impl Into<String>, total: Option<u64>) -> Self {
        Self::new(global, what.into(), total)
    }

    fn new(global: &Global, what: String, total: Option<u64>) -> Self {
        let mut look = style::stderr();
        look.terminal &= !global.json;
        Self {
            look,
            what,
            state: String::new(),
            done: 0,
            total,
            begun: Instant::now(),
            drawn: None,
            turn: 0,
        }
    }

    /// It is in this state now.
    pub fn state(&mut self, state: &str) {
        if self.state != state {
            state.clone_into(&mut self.state);
            self.drawn = None;
        }
        self.draw();
    }

    /// So many bytes more.
    pub fn add(&mut self, more: u64) {
        self.done += more;
        self.draw();
    }

    /// Prints a line of output above it.
    pub fn above(&mut self, print: impl FnOnce()) {
        self.wipe();
        print();
        self.draw();
    }

    fn draw(&mut self) {
        if !self.look.terminal || self.drawn.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        self.turn += 1;
        let text = self.text(self.begun.elapsed());
        let width = self.look.width.unwrap_or(80).saturating_sub(3);
        let text: String = text.chars().take(width).collect();
        let mark = SPINNER[self.turn % SPINNER.len()];
        self.write(&format!(
            "\r\x1b[2K{mark} {}",
            self.look.paint(&text, Style::Dim)
        ));
    }

    fn text(&self, past: Duration) -> String {
        let seconds = past.as_secs_f64();
        if self.done == 0 && self.total.is_none() {
            let state = match self.state.as_str() {
                "" => String::new(),
                state => format!(": {state}"),
            };
            return format!("{}{state} ({seconds:.0} s)", self.what);
        }
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let rate = match seconds > 0.2 {
            true => format!(", {}/s", bytes((self.done as f64 / seconds) as u64)),
            false => String::new(),
        };
        match self.total.filter(|total| *total > 0) {
            None => format!("{} {}{rate}", self.what, bytes(self.done)),
            Some(total) => {
                let filled =
                    usize::try_from(self.done.min(total) * BAR as u64 / total).unwrap_or(0);
                format!(
                    "{} [{}{}] {} of {}{rate}",
                    self.what,
                    "█".repeat(filled),
                    "░".repeat(BAR - filled),
                    bytes(self.done),
                    bytes(total)
                )
            }
        }
    }

    fn wipe(&mut self) {
        if self.drawn.take().is_some() {
            self.write("\r\x1b[2K");
        }
    }

    /// A terminal that is gone stops the drawing, not the work.
    fn write(&mut self, text: &str) {
        let mut out = std::io::stderr().lock();
        if write!(out, "{text}").and_then(|()| out.flush()).is_err() {
            self.look.terminal = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(total: Option<u64>) -> Progress {
        Progress {
            look: Look::default(),
            what: "Sending ./shop".into(),
            state: String::new(),
            done: 0,
            total,
            begun: Instant::now(),
            drawn: None,
            turn: 0,
        }
    }

    #[test]
    fn a7_progress_is_a_bar_with_bytes_or_a_state_with_its_time() {
        let mut sent = progress(Some(10 << 20));
        sent.add(5 << 20);
        let text = sent.text(Duration::from_secs(2));
        assert_eq!(
            text,
            format!(
                "Sending ./shop [{}{}] 5.0 MB of 10 MB, 2.5 MB/s",
                "█".repeat(12),
                "░".repeat(12)
            )
        );
        let mut state = progress(None);
        state.state("dumping");
        assert_eq!(
            state.text(Duration::from_secs(7)),
            "Sending ./shop: dumping (7 s)"
        );
        let mut unknown = progress(None);
        unknown.add(2048);
        assert_eq!(unknown.text(Duration::ZERO), "Sending ./shop 2.0 KB");
        // Not a terminal: nothing was drawn.
        assert!(state.drawn.is_none() && sent.drawn.is_none());
    }
}
