//! `/apps/{app}/run` and `/apps/{app}/exec`: one command without a keyboard, in a container of its own or inside a replica.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::act::Act;
use super::head::{AppHead, Tab};
use crate::apps;
use crate::supervise::Interactive;
use crate::web::api::app_logs::{inside, one_off, processes};
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::Field;
use crate::web::pages::ran::{self, Ran};
use crate::web::pages::visit::Visit;
use crate::web::services::App;
use crate::wire::problem::ProblemKind;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_run.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// Which of its running processes; none where the command has a container of its own.
    pub process: Option<Field>,
    /// One word a line.
    pub command: Field,
    /// What became of the last one.
    pub ran: Option<Ran>,
}

impl View {
    /// The page's own address below the app, and the verb of the command line.
    fn way(&self) -> &'static str {
        match self.process {
            None => "run",
            Some(_) => "exec",
        }
    }

    /// Whether there is nothing to run it in, which a form that came back says itself.
    fn is_idle(&self) -> bool {
        let nothing = |process: &Field| process.choices.is_empty();
        self.process.as_ref().is_some_and(nothing) && self.command.fault.is_empty()
    }
}

/// Where a command runs.
#[derive(Clone, Copy)]
enum Place {
    /// In a container of its own.
    Beside,
    /// Inside a replica.
    Inside,
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    command: String,
    process: String,
}

async fn page(
    app: &App,
    visit: Visit,
    (name, place): (&str, Place),
    (wanted, fault): (&Wanted, &str),
    ran: Option<Ran>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(app, name, Tab::Settings).await?;
    let process = match place {
        Place::Beside => None,
        Place::Inside => {
            let running = processes(app, &row).into_iter();
            let choices = running.map(|name| (name.clone(), name)).collect();
            Some(Field::choice("process", "Process", choices).value(&wanted.process))
        }
    };
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit),
        head,
        process,
        command: Field::code("command", "Command")
            .area()
            .needed()
            .value(&wanted.command)
            .hint("One word a line: no shell takes it apart.")
            .fault(fault),
        ran,
    }))
}

/// `GET /apps/{app}/run`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    unsent(&app, visit, (&name, Place::Beside)).await
}

/// `GET /apps/{app}/exec`
pub async fn show_inside(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    unsent(&app, visit, (&name, Place::Inside)).await
}

/// The page as it is first opened.
async fn unsent(app: &App, visit: Visit, at: (&str, Place)) -> Result<Response, Failure> {
    page(app, visit, at, (&Wanted::default(), ""), None).await
}

/// `POST /apps/{app}/run`: answers when the command is over, or was ended.
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    telling: Telling,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Failure> {
    answer(&app, visit, &act, &telling, (Place::Beside, wanted)).await
}

/// `POST /apps/{app}/exec`: the same inside a replica.
pub async fn submit_inside(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    telling: Telling,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Failure> {
    answer(&app, visit, &act, &telling, (Place::Inside, wanted)).await
}

async fn answer(
    app: &App,
    visit: Visit,
    act: &Act,
    telling: &Telling,
    (place, wanted): (Place, Wanted),
) -> Result<Response, Failure> {
    let at = (act.row.name.as_str(), place);
    let started = start(app, &visit, &act.row, telling, (place, &wanted)).await;
    let (command, ran_in) = match started {
        Ok(started) => started,
        Err(failure) => {
            let Some(words) = failure.words_for_a_form() else {
                return Err(failure);
            };
            let page = page(app, visit, at, (&wanted, &words), None).await?;
            return Ok(ran::refused(page, &failure));
        }
    };
    let unbounded = match place {
        Place::Beside => "freehold run",
        Place::Inside => "freehold exec",
    };
    let mut ran = ran::heard(command, b"", unbounded, ran::LIMIT).await;
    if let Some(container) = ran_in {
        ran.ended = format!("In {container}: {}", ran.ended);
    }
    page(app, visit, at, (&wanted, ""), Some(ran)).await
}

/// The command, begun, and the replica it runs in.
async fn start(
    app: &App,
    visit: &Visit,
    row: &apps::App,
    telling: &Telling,
    (place, wanted): (Place, &Wanted),
) -> Result<(Interactive, Option<String>), Failure> {
    let words = words(&wanted.command);
    let Some(told) = told(&words) else {
        return Err(Failure::new(
            ProblemKind::Invalid,
            "there is no command: write its name, and each further word on a line",
        ));
    };
    if words
        .first()
        .is_some_and(|name| name.contains(char::is_whitespace))
    {
        return Err(Failure::new(
            ProblemKind::Invalid,
            "a command's name has no blank: write each further word on a line of its own",
        ));
    }
    telling.tell("command", told);
    match place {
        Place::Beside => {
            let spec = one_off(app, row, &visit.caller, words).await?;
            let command = app.supervisor.run_interactive(spec, None).await;
            Ok((command.map_err(ran::unstarted)?, None))
        }
        Place::Inside => {
            let process = Some(wanted.process.as_str()).filter(|given| !given.is_empty());
            let replica = inside(app, row, &visit.caller, process).await?;
            let command = app
                .supervisor
                .exec_interactive(replica.row, words, Default::default(), None)
                .await;
            Ok((command.map_err(ran::unstarted)?, Some(replica.name)))
        }
    }
}

/// Characters of a command's name that are told.
const TOLD: usize = 100;

/// A word a line.
fn words(command: &str) -> Vec<String> {
    let lines = command.lines().map(str::trim);
    lines
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The command for the audit log: its first word, since the others may hold secrets.
fn told(words: &[String]) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let first: String = first.chars().take(TOLD).collect();
    Some(match rest.len() {
        0 => first,
        n => format!("{first} and {n} more"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_command_is_a_word_a_line_and_told_by_its_first() {
        let typed = words("psql\r\n  -c \n\nSELECT 's3cret'\n");
        assert_eq!(typed, ["psql", "-c", "SELECT 's3cret'"]);
        assert_eq!(told(&typed).as_deref(), Some("psql and 2 more"));
        assert_eq!(told(&words("env")).as_deref(), Some("env"));
        assert_eq!(told(&words(&"x".repeat(900))).unwrap().len(), TOLD);
        assert_eq!(told(&words(" \n ")), None);
    }
}
