//! What happened to containers, as events for the activity lists.

use std::sync::Arc;

use crate::base::clock::UnixMs;
use crate::events::{Level, NewEvent, record};

use super::deaths::Death;
use super::replace::Because;
use super::shared::Shared;
use super::spec::{Kind, Spec};
use super::unit::{Happening, Unit};

/// The sentence about a happening, if it is worth one.
pub(super) fn event(spec: &Spec, happening: &Happening) -> Option<NewEvent> {
    let name = title(spec);
    let (kind, level, message) = match happening {
        Happening::Began | Happening::Over => return None,
        Happening::Died {
            exit,
            failures,
            again,
        } => {
            let next = match again {
                None => "It is not started again.".to_owned(),
                Some(wait) => format!("It is started again within {} s.", wait.as_secs().max(1)),
            };
            let (kind, level) = match *failures {
                f if Unit::is_loop(f) => ("container.crash_loop", Level::Error),
                _ => ("container.died", Level::Warning),
            };
            let times = match *failures {
                0 | 1 => String::new(),
                f => format!(" for the {f}. time in a row"),
            };
            (kind, level, format!("{name} {exit}{times}. {next}"))
        }
        Happening::Replaced {
            why,
            because,
            failures,
        } => {
            let (kind, level) = match *failures {
                f if Unit::is_loop(f) => ("container.crash_loop", Level::Error),
                _ => ("container.replaced", Level::Warning),
            };
            let times = match *failures {
                0 | 1 => String::new(),
                f => format!(", for the {f}. time in a row"),
            };
            let what = match because {
                Because::OthersAreWell => "gives no good answer, and its siblings do",
                Because::Silent => "gives no answer at all, for longer than anybody waits for one",
            };
            let message = format!("{name} {what}: {why}. It is stopped and started{times}.");
            (kind, level, message)
        }
        Happening::Recovered { failures } => (
            "container.recovered",
            Level::Info,
            format!("{name} has been healthy for a minute after {failures} failures."),
        ),
        Happening::TurnedUnhealthy(why) => (
            "container.unhealthy",
            Level::Warning,
            format!("{name} runs, but its check fails: {why}."),
        ),
        Happening::TurnedHealthy => (
            "container.healthy",
            Level::Info,
            format!("{name} is healthy again."),
        ),
    };
    Some(
        NewEvent::new(kind, level, spec.owner.clone(), message)
            .with(serde_json::json!({ "container": spec.name })),
    )
}

/// The death that a happening is, if it is one.
pub(super) fn death(happening: &Happening, now: UnixMs) -> Option<Death> {
    match happening {
        Happening::Died { exit, failures, .. } => Some(Death {
            at: exit.at,
            why: exit.to_string(),
            exit: Some(exit.clone()),
            in_a_row: *failures,
            lines: Vec::new(),
        }),
        Happening::Replaced {
            why,
            because,
            failures,
        } => Some(Death {
            at: now,
            why: match because {
                Because::OthersAreWell => format!(
                    "gave no good answer ({why}) while others did, and was stopped and started"
                ),
                Because::Silent => format!(
                    "gave no answer at all ({why}) for longer than anybody waits for one, and was stopped and started"
                ),
            },
            exit: None,
            in_a_row: *failures,
            lines: Vec::new(),
        }),
        _ => None,
    }
}

/// What could not be made or started.
pub(super) fn refused(spec: &Spec, why: &str) -> NewEvent {
    NewEvent::new(
        "container.refused",
        Level::Error,
        spec.owner.clone(),
        format!("{} could not be started: {why}", title(spec)),
    )
    .with(serde_json::json!({ "container": spec.name }))
}

/// `replica tasks-web-v3-1`.
fn title(spec: &Spec) -> String {
    let kind = match spec.kind {
        Kind::Replica => "Replica",
        Kind::Job => "Job",
        Kind::Database => "Database server",
        Kind::Scratch => "Helper",
    };
    format!("{kind} {}", spec.name)
}

/// Writes the event down without holding anybody up.
pub(super) fn tell(shared: &Arc<Shared>, event: NewEvent) {
    let writer = Arc::clone(shared);
    shared.tasks.spawn("container event", async move {
        let now = UnixMs::now();
        if let Err(error) = writer.write(move |tx| record(tx, now, &event)).await {
            tracing::warn!(%error, "an event of a container could not be written");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::supervise::Exit;

    #[test]
    fn f8_a_crash_loop_is_said_once_it_is_one() {
        let spec = Spec::new(Kind::Replica, "tasks-web-v1-1", "app:1", "tasks:1");
        let died = |failures| Happening::Died {
            exit: Exit {
                code: 1,
                oom: false,
                at: UnixMs(0),
            },
            failures,
            again: Some(Duration::from_secs(4)),
        };
        let first = event(&spec, &died(1)).unwrap();
        assert_eq!(first.kind, "container.died");
        assert_eq!(
            first.message,
            "Replica tasks-web-v1-1 ended with exit code 1. It is started again within 4 s."
        );
        let third = event(&spec, &died(3)).unwrap();
        assert_eq!(third.kind, "container.crash_loop");
        assert!(third.message.contains("for the 3. time in a row"));
    }
}
