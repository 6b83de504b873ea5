//! Every change is written down: the one place where that happens, around every route.
//!
//! The intent stands in the log before the handler runs, so that a kill between
//! the two leaves a trace; the outcome follows, with what differs. The work is a
//! task of its own: a caller who hangs up neither cuts a change in two nor
//! leaves it without its outcome. Which routes count is `actions.rs`; what is
//! refused again and again is counted (`crate::audit::crowd`).

mod actions;
mod asked;
mod state;
mod telling;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::access::{self, Needs, Verdict};
use super::caller::Caller;
use super::error::{self, Failure};
use super::forgery;
use super::router::Route;
use super::services::App;
use crate::audit::facts::{Facts, differences};
use crate::audit::{self, Begun, Class, Intent, Outcome, Subject};
use crate::base::clock::UnixMs;
use crate::wire::problem::{Problem, ProblemKind};
use asked::Asked;
pub use telling::Telling;

/// What a handler adds to the outcome, in its response's extensions: a status where the
/// answer's own says less (a redirect with a fault in words), and a sentence without secrets.
#[derive(Clone, Debug)]
pub struct Note {
    /// Instead of the answer's status.
    pub status: Option<u16>,
    /// What to know of it.
    pub detail: String,
}

/// Writes down what this request is about to do, lets it, and writes down how it ended.
pub async fn record(
    State((app, rules)): State<(App, Rules)>,
    request: Request,
    next: Next,
) -> Response {
    let Some((table, action)) = recorded(&request) else {
        return next.run(request).await;
    };
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.unwrap_or(Caller::Nobody);
    if caller == Caller::Nobody && !proves_itself(&request) {
        return next.run(request).await;
    }
    let passes = rules.let_through(&caller, &table, &request, UnixMs::now());
    let (mut request, asked) = match asked::read(&app, action, &caller, &table, request).await {
        Ok(read) => read,
        Err(failure) => return failure.into_response(),
    };
    let telling = Telling::default();
    request.extensions_mut().insert(telling.clone());
    let work = tokio::spawn(async move {
        let now = UnixMs::now();
        let before = state::facts(&app, &asked).await;
        let begun = match passes || app.audit.admits(&asked.class, now) {
            true => match app.audit.begin(asked.intent.clone(), now).await {
                Ok(begun) => Some(begun),
                // What cannot be written down is not done.
                Err(error) => return Failure::from(error).into_response(),
            },
            false => None,
        };
        let served = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let response = served.unwrap_or_else(error::panicked);
        let (status, detail) = said(&asked, &response);
        let outcome = outcome(&app, &asked, &before, &telling, (status, detail)).await;
        write(&app, asked, begun, outcome).await;
        response
    });
    match work.await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request's work ended without an answer");
            Failure::new(ProblemKind::Unavailable, "Freehold is stopping").into_response()
        }
    }
}

/// What every route needs, as the table says.
#[derive(Clone)]
pub struct Rules(Arc<[(Method, &'static str, Needs, bool)]>);

impl Rules {
    /// Of these routes.
    pub fn of(routes: &[Route]) -> Self {
        let rules = routes.iter();
        Self(
            rules
                .map(|r| (r.method.clone(), r.path, r.needs, r.sudo))
                .collect(),
        )
    }

    /// Whether somebody who is known will get as far as the work itself. That is always written down before it is
    /// begun, however much of theirs was refused before: what is bounded are the refusals. Where the work itself decides
    /// who may, this says no, and the bound holds for all of it.
    fn let_through(&self, caller: &Caller, table: &str, request: &Request, now: UnixMs) -> bool {
        let rule = self.0.iter();
        let Some((.., needs, sudo)) = rule
            .clone()
            .find(|(method, path, ..)| *method == request.method() && *path == table)
        else {
            return false;
        };
        let own = matches!(caller, Caller::Local { .. }) || forgery::is_own(request.headers());
        // Where anybody may knock, it is the work itself that refuses.
        if *caller == Caller::Nobody || !own || *needs == Needs::User {
            return false;
        }
        let named = asked::parameters(table, request.uri().path());
        let app = named.iter().find(|(name, _)| name == "app");
        let verdict = access::decide(*needs, caller, app.map(|(_, value)| value.as_str()));
        verdict == Verdict::Yes && !(*sudo && access::must_confirm(caller, now))
    }
}

/// The table's path and the action, when this is one to be written down.
fn recorded(request: &Request) -> Option<(String, actions::Action)> {
    let table = request.extensions().get::<MatchedPath>()?;
    let table = table.as_str().to_owned();
    let action = actions::of(request.method(), &table)?;
    Some((table, action))
}

/// Whether the route looks at what a stranger brings. At all others they are turned away at once,
/// and nothing is written down.
fn proves_itself(request: &Request) -> bool {
    let open = ["/setup/", "/sign-in", "/hooks/"];
    open.iter().any(|p| request.uri().path().starts_with(p))
}

async fn write(app: &App, asked: Asked, begun: Option<Begun>, outcome: Outcome) {
    let now = UnixMs::now();
    let refused = match &asked.class {
        // A stranger who is sent away because the daemon is busy is one of many, too.
        Class::Strangers(_) => outcome.status >= 400,
        Class::Known(_) => [401, 403, 404, 429].contains(&outcome.status),
    };
    let mut own = true;
    if refused {
        let address = &asked.intent.who.address;
        own = app
            .audit
            .refused(&asked.class, address, begun.is_some(), now);
    }
    let written = match begun {
        Some(begun) => app.audit.end(begun, outcome, now).await,
        None if own => app.audit.both(asked.intent, outcome, now).await,
        None => Ok(()),
    };
    if let Err(error) = written {
        tracing::error!(%error, "how a change ended could not be written into the audit log");
    }
}

/// Status and sentence of the answer.
fn said(asked: &Asked, response: &Response) -> (u16, String) {
    let note = response.extensions().get::<Note>();
    let problem = response.extensions().get::<Box<Problem>>();
    let status = response.status();
    let location = response.headers().get(header::LOCATION);
    let sent_to = |page: &str| location.is_some_and(|l| l.as_bytes().starts_with(page.as_bytes()));
    match (note, problem) {
        (Some(note), _) => (note.status.unwrap_or(status.as_u16()), note.detail.clone()),
        (None, Some(problem)) => (status.as_u16(), told(problem)),
        (None, None) if sent_to("/confirm-password") => {
            (403, "the password had to be given again first".to_owned())
        }
        (None, None) if sent_to("/sign-in") && asked.intent.action != "session.sign-out" => {
            (401, "nobody is signed in".to_owned())
        }
        (None, None) if status == StatusCode::UNPROCESSABLE_ENTITY => {
            (422, ProblemKind::Invalid.title().to_owned())
        }
        (None, None) => (status.as_u16(), String::new()),
    }
}

async fn outcome(
    app: &App,
    asked: &Asked,
    before: &Facts,
    telling: &Telling,
    (status, detail): (u16, String),
) -> Outcome {
    let mut outcome = Outcome {
        status,
        detail,
        ..Outcome::default()
    };
    if !(400..500).contains(&status) {
        let after = state::facts(app, asked).await;
        let told = telling.told();
        let made = told.get(audit::MADE).and_then(serde_json::Value::as_i64);
        (outcome.was, outcome.became) = differences(before, &after);
        for facts in [&mut outcome.was, &mut outcome.became] {
            facts.retain(|field, _| state::is_own(asked, made, field));
        }
        if let Some(id) = made_by_name(app, &asked.intent.subject, status).await {
            outcome.became.insert(audit::MADE.to_owned(), id.into());
        }
        outcome.became.extend(asked.more.clone());
        outcome.became.extend(told);
    }
    outcome
}

/// The row of what was made, where its name finds it: when the intent was written there was none.
async fn made_by_name(app: &App, subject: &Subject, status: u16) -> Option<i64> {
    if subject.id.is_some() || status >= 400 {
        return None;
    }
    let name = subject.name.as_str();
    match subject.kind {
        "app" => app.apps.find(name).await.ok().map(|row| row.id),
        "database" => app.databases.find(name).await.ok().map(|row| row.id),
        "user" => app.users.person(name, UnixMs::now()).await.ok()?.id,
        "target" => app.backups.target(name).await.ok().map(|row| row.id),
        _ => None,
    }
}

/// What may be kept of a problem's words: those on a request that is not valid can repeat what was sent.
pub fn told(problem: &Problem) -> String {
    match problem.kind {
        ProblemKind::Invalid
        | ProblemKind::Malformed
        | ProblemKind::Unsupported
        | ProblemKind::TooLarge => problem.kind.title().to_owned(),
        _ => problem.detail.clone(),
    }
}

/// What a request meant to do whose token is none (any more); the token is told by its first
/// characters, as in the list of tokens. `None` when it only meant to look.
pub fn meant(request: &Request, mark: Option<String>) -> Option<Intent> {
    let (table, action) = recorded(request)?;
    let mut who = asked::who(action.about, &Caller::Nobody, request.headers());
    who.via = mark.unwrap_or_default();
    let parameters = asked::parameters(&table, request.uri().path());
    let app = parameters.into_iter().find(|(name, _)| name == "app");
    let subject = app.map(|(_, name)| Subject {
        kind: "app",
        id: None,
        name,
    });
    Some(Intent {
        who,
        action: action.name.into_owned(),
        subject: subject.unwrap_or_default(),
    })
}

/// Writes down that this was turned away for its token, or counts it.
pub async fn bad_token(app: &App, intent: Intent) {
    let now = UnixMs::now();
    let class = Class::Strangers("token.refused".to_owned());
    if !app.audit.refused(&class, &intent.who.address, false, now) {
        return;
    }
    let outcome = Outcome {
        status: 401,
        detail: "the token is not valid, or has ended".to_owned(),
        ..Outcome::default()
    };
    if let Err(error) = app.audit.both(intent, outcome, now).await {
        tracing::error!(%error, "a refused token could not be written into the audit log");
    }
}
