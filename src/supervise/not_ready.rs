//! Why a container did not become healthy, with all a person needs to mend it.

use std::fmt;
use std::time::Duration;

use super::live::Exit;

/// The first reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its main process ended before it was ever healthy.
    Exited(Exit),
    /// It runs, but its check did not succeed in time.
    Deadline(Duration),
    /// The engine would not make or start it.
    Refused(String),
    /// It was retired meanwhile, or never wanted.
    Gone,
    /// The supervisor itself failed (database, shutdown).
    Broken(String),
}

/// The whole story of a container that did not become healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// The container's name.
    pub name: String,
    /// The first reason.
    pub cause: Cause,
    /// What was asked, such as `GET http://10.83.0.2:3000/healthz`.
    pub check: Option<String>,
    /// What the last check got.
    pub last_answer: Option<String>,
    /// The port it was expected on.
    pub expected_port: Option<u16>,
    /// The ports that listen inside, when that could be read.
    pub listening: Option<Vec<Listening>>,
    /// Its last log lines, at most 50.
    pub log: Vec<String>,
}

/// A port that listens inside a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// The port.
    pub port: u16,
    /// Whether only the container itself can reach it (127.0.0.1).
    pub loopback_only: bool,
}

impl std::error::Error for NotReady {}

/// The first line is the whole sentence: what, why, what to do. The facts follow, a line each.
impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.cause {
            Cause::Exited(exit) => write!(
                f,
                "The container {name} {exit} before it was healthy: {}",
                match self.log.is_empty() {
                    _ if exit.oom =>
                        "give it more memory under [processes] in freehold.toml, or with `freehold scale`.",
                    true =>
                        "it wrote nothing; look at its command (CMD in the Dockerfile, `command` in freehold.toml).",
                    false => "its last lines say why.",
                }
            )?,
            Cause::Deadline(limit) => write!(
                f,
                "The container {name} was not healthy within {} s: {}",
                limit.as_secs(),
                self.reason()
            )?,
            Cause::Refused(why) => {
                write!(f, "The container {name} could not be started: {why}")?;
            }
            Cause::Gone => write!(f, "The container {name} was removed before it was healthy.")?,
            Cause::Broken(why) => write!(f, "The container {name} could not be watched: {why}")?,
        }
        if let Some(check) = &self.check {
            write!(f, "\nCheck: {check}")?;
        }
        if let Some(answer) = &self.last_answer {
            write!(f, "\nLast answer: {answer}")?;
        }
        if let Some(listening) = &self.listening {
            write!(
                f,
                "\nListening ports in the container: {}.",
                list(listening)
            )?;
        }
        if !self.log.is_empty() {
            write!(f, "\nLast {} log lines:", self.log.len())?;
            for line in &self.log {
                write!(f, "\n  {line}")?;
            }
        } else if !matches!(self.cause, Cause::Refused(_) | Cause::Gone) {
            write!(f, "\nIt wrote no log lines.")?;
        }
        Ok(())
    }
}

impl NotReady {
    /// Why a container that runs is not healthy, and what to do: the ports say it best.
    fn reason(&self) -> String {
        if let (Some(listening), Some(port)) = (&self.listening, self.expected_port) {
            match listening.iter().find(|l| l.port == port) {
                Some(l) if l.loopback_only => {
                    return format!(
                        "port {port} only listens on 127.0.0.1 inside it. Make the app listen on 0.0.0.0."
                    );
                }
                Some(_) => {}
                None if listening.is_empty() => {
                    return format!(
                        "nothing in it listens on port {port}. The app must listen on 0.0.0.0:{port} (it is given PORT={port}); if it only needs longer, raise start_deadline in freehold.toml."
                    );
                }
                None => {
                    return format!(
                        "it listens on {}, but was expected on port {port}. Set `port` in freehold.toml to the one the app uses, or make the app listen on $PORT.",
                        list(listening)
                    );
                }
            }
        }
        match (&self.check, &self.last_answer) {
            (Some(check), Some(answer)) => format!(
                "{check} last gave \"{}\". Its last lines may say why; if it only needs longer, raise start_deadline in freehold.toml.",
                first_words(answer)
            ),
            _ => "its check never succeeded. Its last lines may say why.".to_owned(),
        }
    }
}

fn list(listening: &[Listening]) -> String {
    if listening.is_empty() {
        return "none".to_owned();
    }
    let shown = listening.iter().map(|l| match l.loopback_only {
        true => format!("{} (only on 127.0.0.1)", l.port),
        false => l.port.to_string(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Enough of an answer for a sentence; the whole follows on a line of its own.
fn first_words(answer: &str) -> String {
    let mut short: String = answer.chars().take(80).collect();
    if short.len() < answer.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(listening: &[(u16, bool)]) -> String {
        NotReady {
            name: "tasks-web-v2-1".into(),
            cause: Cause::Deadline(Duration::from_secs(60)),
            check: Some("GET http://10.83.0.2:3000/healthz".into()),
            last_answer: Some("connection refused".into()),
            expected_port: Some(3000),
            listening: Some(
                listening
                    .iter()
                    .map(|(port, loopback_only)| Listening {
                        port: *port,
                        loopback_only: *loopback_only,
                    })
                    .collect(),
            ),
            log: vec!["listening on 8080".into()],
        }
        .to_string()
    }

    #[test]
    fn f4_a_port_mismatch_names_both_ports_and_the_remedy() {
        let text = story(&[(8080, false)]);
        for part in [
            "within 60 s: it listens on 8080, but was expected on port 3000.",
            "Check: GET http://10.83.0.2:3000/healthz",
            "Last answer: connection refused",
            "Listening ports in the container: 8080.",
            "freehold.toml",
            "  listening on 8080",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn f4_a_port_on_loopback_only_says_so() {
        assert!(story(&[(3000, true)]).contains("listen on 0.0.0.0"));
    }

    #[test]
    fn f4_no_port_at_all_says_so() {
        assert!(story(&[]).contains("nothing in it listens on port 3000"));
    }

    #[test]
    fn f4_the_first_line_has_the_last_answer_where_the_port_is_right() {
        let text = story(&[(3000, false)]);
        let first = text.lines().next().unwrap();
        assert!(
            first.contains("last gave \"connection refused\""),
            "{first}"
        );
        assert!(first.contains("start_deadline"), "{first}");
    }
}
