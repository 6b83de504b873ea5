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

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Exited(exit) => write!(
                f,
                "The container {} {exit} before it was healthy.",
                self.name
            )?,
            Cause::Deadline(limit) => write!(
                f,
                "The container {} was not healthy within {} s.",
                self.name,
                limit.as_secs()
            )?,
            Cause::Refused(why) => {
                write!(f, "The container {} could not be started: {why}", self.name)?;
            }
            Cause::Gone => write!(
                f,
                "The container {} was removed before it was healthy.",
                self.name
            )?,
            Cause::Broken(why) => {
                write!(f, "The container {} could not be watched: {why}", self.name)?;
            }
        }
        if let Some(check) = &self.check {
            write!(f, "\nCheck: {check}")?;
        }
        if let Some(answer) = &self.last_answer {
            write!(f, "\nLast answer: {answer}")?;
        }
        if let Some(hint) = self.port_hint() {
            write!(f, "\n{hint}")?;
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
    /// What the listening ports say about the expected one.
    fn port_hint(&self) -> Option<String> {
        let listening = self.listening.as_ref()?;
        let list = listening
            .iter()
            .map(|l| match l.loopback_only {
                true => format!("{} (only on 127.0.0.1)", l.port),
                false => l.port.to_string(),
            })
            .collect::<Vec<_>>()
            .join(", ");
        let shown = if list.is_empty() {
            "Listening ports in the container: none.".to_owned()
        } else {
            format!("Listening ports in the container: {list}.")
        };
        let Some(port) = self.expected_port else {
            return Some(shown);
        };
        let remedy = match listening.iter().find(|l| l.port == port) {
            Some(l) if l.loopback_only => format!(
                " Port {port} only listens on 127.0.0.1 inside the container: make the app listen on 0.0.0.0."
            ),
            Some(_) => String::new(),
            None if listening.is_empty() => format!(
                " Nothing listens on the expected port {port}: the app must listen on 0.0.0.0:{port} (it is given PORT={port})."
            ),
            None => format!(
                " The expected port is {port}: set `port` in freehold.toml to the one the app uses, or make the app listen on $PORT."
            ),
        };
        Some(shown + &remedy)
    }
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
            "within 60 s",
            "Check: GET http://10.83.0.2:3000/healthz",
            "Last answer: connection refused",
            "Listening ports in the container: 8080.",
            "expected port is 3000",
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
        assert!(story(&[]).contains("Nothing listens on the expected port 3000"));
    }
}
