//! How output looks: colour, and tables that fit a terminal; plain aligned text everywhere else.
//!
//! What standard output and standard error are is a fact of the process, found out once by [`choose`]. Colour is used on
//! a terminal unless NO_COLOR is set (<https://no-color.org>); `--color` decides otherwise.

use std::io::IsTerminal;
use std::sync::OnceLock;

use clap::ValueEnum;
use rustix::termios;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in a pipe
    Always,
    /// Not at all
    Never,
}

/// What a piece of text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it should be.
    Good,
    /// Wants a look.
    Warn,
    /// Does not work.
    Bad,
    /// Less important.
    Dim,
    /// A heading.
    Head,
}

/// What one stream can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether it is a terminal, where lines may be drawn again.
    pub terminal: bool,
    /// Whether to use colour.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: Option<usize>,
}

impl Look {
    /// The text in the colour of what it says.
    pub fn paint(self, text: &str, style: Style) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Good => "32",
            Style::Warn => "33",
            Style::Bad => "31",
            Style::Dim => "2",
            Style::Head => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

static LOOKS: OnceLock<[Look; 2]> = OnceLock::new();

/// Finds out what the streams are; before anything is printed.
pub fn choose(when: When) {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let look = |terminal: bool, width: Option<usize>| Look {
        terminal: terminal && !dumb,
        colour: match when {
            When::Auto => terminal && !no_color && !dumb,
            When::Always => true,
            When::Never => false,
        },
        width: width.filter(|_| terminal),
    };
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let looks = [
        look(out.is_terminal(), columns(&out)),
        look(err.is_terminal(), columns(&err)),
    ];
    LOOKS.get_or_init(|| looks);
}

fn columns(of: &impl std::os::fd::AsFd) -> Option<usize> {
    let size = termios::tcgetwinsize(of).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Of standard output.
pub fn stdout() -> Look {
    LOOKS.get().map_or_else(Look::default, |looks| looks[0])
}

/// Of standard error.
pub fn stderr() -> Look {
    LOOKS.get().map_or_else(Look::default, |looks| looks[1])
}

/// No column is made narrower than this.
const NARROWEST: usize = 8;
/// Between columns.
const GAP: usize = 2;

/// The rows as lines, columns aligned.
pub fn layout(rows: &[Vec<String>], look: Look) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wanted: Vec<usize> = (0..columns)
        .map(|c| {
            let cells = rows.iter().filter_map(|r| r.get(c));
            cells.map(|cell| length(cell)).max().unwrap_or(0)
        })
        .collect();
    let widths = match look.width {
        Some(width) => shrink(wanted, width),
        None => wanted,
    };
    rows.iter()
        .enumerate()
        .map(|(at, row)| {
            let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
            let mut text = String::new();
            for (c, cell) in row.iter().enumerate().take(last + 1) {
                let width = widths.get(c).copied().unwrap_or(0);
                let shown = cut(cell, width);
                let pad = match c == last {
                    true => 0,
                    false => width.saturating_sub(length(&shown)) + GAP,
                };
                let style = if at == 0 {
                    Some(Style::Head)
                } else {
                    mood(cell)
                };
                match style {
                    Some(style) => text.push_str(&look.paint(&shown, style)),
                    None => text.push_str(&shown),
                }
                text.extend(std::iter::repeat_n(' ', pad));
            }
            text
        })
        .collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The widest columns give, until all fit or none can give more.
fn shrink(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    let room = room.saturating_sub(GAP * widths.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max() else {
            break;
        };
        if *widest <= NARROWEST {
            break;
        }
        *widest -= 1;
    }
    widths
}

/// What the state in a cell says, by its first word.
pub fn mood(cell: &str) -> Option<Style> {
    let word = cell.split([' ', ':', ',']).next().unwrap_or_default();
    Some(match word {
        "healthy" | "live" | "ready" | "stored" | "proven" | "up" | "valid" | "done" | "good"
        | "ok" | "attached" | "current" => Style::Good,
        "failed" | "down" | "error" | "fail" | "returned" | "unhealthy" | "expired" | "bad" => {
            Style::Bad
        }
        "queued" | "pending" | "starting" | "running" | "building" | "warn" | "warning"
        | "maintenance" | "ordering" | "making" | "paused" | "fetching" | "checking"
        | "switching" | "draining" | "watching" | "releasing" => Style::Warn,
        "cancelled" | "superseded" | "stopped" | "-" => Style::Dim,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        vec![
            row(["APP", "STATE", "WHERE"]),
            row(["shop", "healthy", "https://shop.example.com/a/long/path"]),
            row(["blog", "failed", ""]),
        ]
    }

    #[test]
    fn a7_in_a_pipe_a_table_is_plain_aligned_text_of_its_full_width() {
        let plain = layout(&rows(), Look::default());
        let text = "APP   STATE    WHERE\nshop  healthy  https://shop.example.com/a/long/path\nblog  failed";
        assert_eq!(plain.join("\n"), text);
    }

    #[test]
    fn a7_on_a_terminal_the_widest_columns_give_until_the_table_fits() {
        for width in [80, 50, 40, 30] {
            let look = Look {
                terminal: true,
                width: Some(width),
                colour: false,
            };
            for line in layout(&rows(), look) {
                assert!(length(&line) <= width, "{width}: {line}");
            }
        }
        let narrow = Look {
            width: Some(30),
            ..Look::default()
        };
        let shown = layout(&rows(), narrow);
        assert!(
            shown[1].contains("healthy") && shown[1].ends_with('…'),
            "{shown:?}"
        );
    }

    #[test]
    fn a7_states_have_colours_where_colour_is_wanted_and_columns_stay_aligned() {
        let look = Look {
            colour: true,
            ..Look::default()
        };
        let shown = layout(&rows(), look);
        assert!(
            shown[1].contains("\x1b[32mhealthy\x1b[0m  https"),
            "{shown:?}"
        );
        assert!(shown[2].contains("\x1b[31mfailed\x1b[0m"), "{shown:?}");
        let bare: Vec<String> = shown
            .iter()
            .map(|l| {
                ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"]
                    .iter()
                    .fold(l.clone(), |l, code| l.replace(code, ""))
            })
            .collect();
        assert_eq!(bare, layout(&rows(), Look::default()));
    }
}
