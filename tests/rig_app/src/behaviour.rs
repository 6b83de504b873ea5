//! How the app behaves: by its environment when it starts, by `POST /behave?…` from then on.

use std::cell::Cell;
use std::time::Duration;

/// What it does to requests; each is one word of `POST /behave?mode=WORD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Answers.
    #[default]
    Well,
    /// Accepts, reads, and never answers, not even about its health.
    Hang,
    /// Closes the connection behind each answer without having said so.
    Close,
    /// Answers 500 to everything but questions about its health.
    Fail,
    /// Answers with another body than was asked for.
    Lie,
}

/// The app's settings.
pub struct Behaviour {
    pub mode: Cell<Mode>,
    /// Told with each answer.
    pub instance: String,
    pub version: String,
    pub port: u16,
    /// Before it listens.
    pub start: Duration,
    /// How long it goes on answering after SIGTERM.
    pub stop: Duration,
}

impl Behaviour {
    pub fn of_env() -> Self {
        let word = |name: &str| std::env::var(name).unwrap_or_default();
        let millis = |name: &str| Duration::from_millis(word(name).parse().unwrap_or(0));
        Self {
            mode: Cell::new(Mode::default()),
            // A container's name is its id's beginning.
            instance: std::fs::read_to_string("/etc/hostname")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            version: word("VERSION"),
            port: word("PORT").parse().unwrap_or(8000),
            start: millis("START_MS"),
            stop: millis("STOP_MS"),
        }
    }

    /// Does what `mode=…` says; a word that is none is said so.
    pub fn obey(&self, word: &str) -> Result<(), String> {
        if let Some(code) = word.strip_prefix("exit:") {
            let code = code
                .parse()
                .map_err(|_| format!("{code} is no exit code"))?;
            eprintln!("told to exit with {code}");
            std::process::exit(code);
        }
        self.mode.set(match word {
            "well" => Mode::Well,
            "hang" => Mode::Hang,
            "close" => Mode::Close,
            "500" => Mode::Fail,
            "lie" => Mode::Lie,
            "eat" => eat(),
            other => return Err(format!("{other} is no mode")),
        });
        eprintln!("told to behave: {word}");
        Ok(())
    }
}

/// Takes memory until the kernel ends it.
fn eat() -> Mode {
    eprintln!("told to eat memory");
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 4 << 20]);
        std::hint::black_box(&eaten);
    }
}
