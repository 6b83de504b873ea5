//! `/account`: one's own password, sessions and tokens.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::agent;
use super::confirm_password::asks_for_code;
use super::frame::{Frame, Section, Theme};
use super::parts::{Field, When};
use super::second_factor::code_field;
use super::visit::{self, Visit};
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::{self, Proof, Role, UserError};
use crate::web::audit::Telling;
use crate::web::auth;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::people;
use crate::web::services::App;
use crate::web::tokens::{self, Wanted};
use crate::wire::problem::ProblemKind;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "account.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Who is signed in; empty over the box's own socket.
    pub user: String,
    /// What they may do.
    pub role: Role,
    /// A developer's apps.
    pub apps: Vec<String>,
    /// Whether a code is asked for beside the password.
    pub second_factor: bool,
    /// Old, new, again.
    pub password_fields: Vec<Field>,
    /// Newest first.
    pub sessions: Vec<Session>,
    /// Newest first.
    pub tokens: Vec<Token>,
    /// Of the one to make.
    pub token_fields: Vec<Field>,
    /// The token just made; it is shown this once.
    pub made: Option<Secret>,
}

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The row.
    pub id: i64,
    /// What it is for.
    pub name: String,
    /// "deploy, shop".
    pub scope: String,
    /// Its first characters.
    pub mark: String,
    /// When it ends.
    pub expires: Option<When>,
    /// When it was last used.
    pub used: Option<When>,
}

/// What was typed for a token, and what is wrong with it.
#[derive(Default)]
struct Wish {
    name: String,
    kind: String,
    verb: String,
    apps: String,
    days: String,
    fault: String,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Tells it from the others.
    pub mark: String,
    /// "Firefox on Linux, 203.0.113.7".
    pub what: String,
    /// The one this page is seen in.
    pub own: bool,
    /// Last request.
    pub at: When,
}

/// What was wrong with the password form.
#[derive(Default)]
struct Faults {
    current: String,
    new: String,
    again: String,
    code: String,
}

/// Sessions as a list shows them; `own` is the digest of the one the page is seen in.
pub(super) fn session_rows(
    all: Vec<users::SessionRow>,
    own: Option<&str>,
    now: UnixMs,
) -> Vec<Session> {
    let row = |s: users::SessionRow| Session {
        what: match s.address.as_str() {
            "" => agent::told(&s.agent),
            address => format!("{}, {address}", agent::told(&s.agent)),
        },
        own: own.is_some_and(|own| own.starts_with(&s.mark)),
        at: When::ago(s.seen, now),
        mark: s.mark,
    };
    all.into_iter().map(row).collect()
}

fn token_row(token: users::Token, now: UnixMs) -> Token {
    let verb = match token.deploys {
        true => "deploy token",
        false => token.verb.as_str(),
    };
    Token {
        id: token.id,
        scope: match &token.apps {
            None => format!("{verb}, whatever you may"),
            Some(apps) => format!("{verb}, {}", apps.join(", ")),
        },
        name: token.name,
        mark: token.mark,
        expires: token.expires.map(|at| match at > now {
            true => When::until(at, now),
            false => When::ago(at, now),
        }),
        used: token.used.map(|at| When::ago(at, now)),
    }
}

fn token_fields(wish: Wish) -> Vec<Field> {
    let verbs = [
        ("deploy", "deploy: look, deploy, roll back"),
        ("read", "read: look"),
        ("change", "change: everything you may"),
    ];
    let kinds = [
        ("personal", "personal: for your own programs"),
        (
            "deploy",
            "deploy token: of one app, deploys it and goes with it",
        ),
    ];
    let or = |text: String, other: &str| match text.is_empty() {
        true => other.to_owned(),
        false => text,
    };
    vec![
        Field::text("name", "What it is for")
            .needed()
            .like("CI of my-app")
            .value(wish.name)
            .fault(wish.fault),
        Field::choice(
            "kind",
            "Kind",
            kinds.map(|(v, t)| (v.to_owned(), t.to_owned())).to_vec(),
        )
        .value(or(wish.kind, "personal")),
        Field::choice(
            "verb",
            "It may",
            verbs.map(|(v, t)| (v.to_owned(), t.to_owned())).to_vec(),
        )
        .value(or(wish.verb, "deploy")),
        Field::code("apps", "Apps")
            .like("my-app, my-site")
            .hint("Left empty for every app you may use.")
            .value(wish.apps),
        Field::code("days", "Days until it ends")
            .hint("0 for never.")
            .value(or(wish.days, &tokens::DAYS.to_string())),
    ]
}

async fn page(
    app: &App,
    visit: Visit,
    faults: Faults,
    wish: Wish,
    made: Option<Secret>,
) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let (user, role, apps, sessions) = match &visit.caller {
        Caller::User {
            id, name, grant, ..
        } => {
            let sessions = app.users.sessions(*id, now).await?;
            let apps = grant.apps.iter().cloned().collect();
            (name.clone(), grant.role, apps, sessions)
        }
        _ => (String::new(), Role::Owner, Vec::new(), Vec::new()),
    };
    let second_factor = asks_for_code(app, &visit.caller).await?;
    let mut password_fields = vec![
        Field::password("current", "Password now", "current-password").fault(faults.current),
        Field::password("password", "New password", "new-password")
            .hint("10 characters or more.")
            .fault(faults.new),
        Field::password("again", "The same again", "new-password").fault(faults.again),
    ];
    if second_factor {
        password_fields.push(code_field(faults.code));
    }
    let own = visit.caller.session_digest();
    let held = app.users.tokens(tokens::whose(&visit.caller)).await?;
    Ok(super::render(&View {
        frame: visit.frame().titled("Account", Section::Account),
        user,
        role,
        apps,
        second_factor,
        password_fields,
        sessions: session_rows(sessions, own.as_deref(), now),
        tokens: held.into_iter().map(|t| token_row(t, now)).collect(),
        token_fields: token_fields(wish),
        made,
    }))
}

/// `GET /account`
pub async fn show(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    page(&app, visit, Faults::default(), Wish::default(), None).await
}

/// The password form.
#[derive(Deserialize)]
pub struct Change {
    current: Secret,
    password: Secret,
    again: Secret,
    #[serde(default)]
    code: String,
}

/// `POST /account/password`
pub async fn password(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
    Form(change): Form<Change>,
) -> Result<Response, Failure> {
    let Caller::User {
        id, name, token, ..
    } = &visit.caller
    else {
        return Ok(visit::failed(
            "/account",
            "Only somebody who signed in has a password; on the box, freehold user reset makes a setup link.",
        ));
    };
    let mut faults = Faults::default();
    if change.password == change.again {
        match app
            .users
            .change_password(
                (*id, token),
                Proof {
                    password: change.current,
                    code: change.code,
                },
                change.password,
                &auth::origin(&headers),
                UnixMs::now(),
            )
            .await
        {
            Ok(session) => {
                let left = app.users.tokens_that_go_on(name, UnixMs::now()).await;
                let text = match left {
                    0 => "Your password is changed, and your other sessions are ended.".to_owned(),
                    1 => "Your password is changed, and your other sessions are ended. A token of yours goes on: end it below if you do not know it.".to_owned(),
                    n => format!("Your password is changed, and your other sessions are ended. {n} tokens of yours go on: end below those that you do not know."),
                };
                let answer = visit::done("/account", &text);
                return Ok(super::with_session(answer, &session));
            }
            Err(error @ (UserError::WrongPassword | UserError::SlowDown(_) | UserError::Busy)) => {
                faults.current = error.to_string()
            }
            Err(error @ (UserError::WrongCode | UserError::CodeNeeded)) => {
                faults.code = error.to_string();
            }
            Err(error @ UserError::PasswordRule(_)) => faults.new = error.to_string(),
            Err(other) => return Err(other.into()),
        }
    } else {
        "This is not the same password as above.".clone_into(&mut faults.again);
    }
    let page = page(&app, visit, faults, Wish::default(), None).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// A session of one's own.
#[derive(Deserialize)]
pub struct Which {
    mark: String,
}

/// `POST /account/sessions/end`
pub async fn end_session(
    State(app): State<App>,
    visit: Visit,
    telling: Telling,
    Form(which): Form<Which>,
) -> Result<Response, Failure> {
    let ended = match &visit.caller {
        Caller::User { id, .. } => {
            let by = visit.caller.by();
            app.users
                .end_session(*id, &which.mark, by, UnixMs::now())
                .await
        }
        _ => Err(UserError::NoSession),
    };
    if ended.is_ok() {
        telling.tell("session", which.mark);
    }
    visit::back("/account#sessions", ended, "That session is ended.")
}

/// A token to make.
#[derive(Deserialize)]
pub struct NewToken {
    name: String,
    #[serde(default)]
    kind: String,
    verb: String,
    #[serde(default)]
    apps: String,
    #[serde(default)]
    days: String,
}

/// `POST /account/tokens`: the page with the token on it, this once.
pub async fn new_token(
    State(app): State<App>,
    visit: Visit,
    telling: Telling,
    Form(new): Form<NewToken>,
) -> Result<Response, Failure> {
    let made = async {
        let days = new.days.trim().parse().map_err(|_| {
            Failure::new(ProblemKind::Invalid, "the days until it ends are a number")
        })?;
        let wanted = Wanted {
            name: &new.name,
            kind: match new.kind.as_str() {
                "" => tokens::kind(false),
                kind => kind,
            },
            verb: &new.verb,
            apps: (!new.apps.trim().is_empty()).then(|| people::typed(&new.apps).collect()),
            days,
        };
        tokens::make(&app, &visit.caller, &telling, wanted).await
    };
    match made.await {
        Ok(made) => {
            let made = Some(made.token);
            page(&app, visit, Faults::default(), Wish::default(), made).await
        }
        Err(failure) => {
            let Some(fault) = failure.words_for_a_form() else {
                return Err(failure);
            };
            let wish = Wish {
                name: new.name,
                kind: new.kind,
                verb: new.verb,
                apps: new.apps,
                days: new.days,
                fault,
            };
            let page = page(&app, visit, Faults::default(), wish, None).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// A token of one's own.
#[derive(Deserialize)]
pub struct WhichToken {
    id: i64,
}

/// `POST /account/tokens/end`
pub async fn end_token(
    State(app): State<App>,
    visit: Visit,
    Form(which): Form<WhichToken>,
) -> Result<Response, Failure> {
    let (whose, by) = (tokens::whose(&visit.caller), visit.caller.who());
    let ended = app
        .users
        .remove_token(which.id, whose, &by, UnixMs::now())
        .await;
    visit::back("/account#tokens", ended, "That token is ended.")
}
