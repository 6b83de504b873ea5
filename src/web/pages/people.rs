//! `/settings/people`: who may come in, and what they may do.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::confirm;
use super::frame::{Frame, Section, Theme};
use super::parts::{Field, When};
use super::visit::{self, Visit};
use crate::base::clock::UnixMs;
use crate::users::{NewUser, Person, Role};
use crate::web::error::Failure;
use crate::web::people;
use crate::web::services::App;

pub(super) const PAGE: &str = "/settings/people";

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "people.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// By name.
    pub people: Vec<Row>,
    /// Of the one to ask in.
    pub name: Field,
    /// Of the one to ask in.
    pub role: Field,
    /// Of the one to ask in.
    pub apps: Field,
    /// Name and address of the link just made, shown this once; and what goes on all the same.
    pub link: Option<(String, String, String)>,
}

/// A user, or somebody asked in.
#[derive(Clone, Debug)]
pub struct Row {
    /// What they sign in with.
    pub name: String,
    /// Their role.
    pub role: Role,
    /// A developer's apps.
    pub apps: String,
    /// When they were last here.
    pub seen: Option<When>,
    /// Until when the invitation works.
    pub invited: Option<When>,
    /// Whether the reader may change them.
    pub mine: bool,
    /// Role and apps to choose.
    pub fields: [Field; 2],
}

/// What was typed and what is wrong with it.
#[derive(Default)]
struct Typed {
    name: String,
    role: String,
    apps: String,
    fault: String,
}

fn roles(visit: &Visit, chosen: &str) -> Field {
    let choices = Role::ALL
        .into_iter()
        .rev()
        .filter(|role| people::may_give(&visit.caller, *role))
        .map(|role| {
            let name = role.as_str().to_owned();
            (name.clone(), name)
        })
        .collect();
    Field::choice("role", "Role", choices).value(chosen)
}

fn row(person: Person, visit: &Visit, now: UnixMs) -> Row {
    let apps = person.apps.join(", ");
    Row {
        role: person.role,
        seen: person.seen.map(|at| When::ago(at, now)),
        invited: person.invited_until.map(|at| When::until(at, now)),
        mine: people::may_give(&visit.caller, person.role),
        fields: [
            roles(visit, person.role.as_str()).within(&person.name),
            Field::code("apps", "Apps")
                .value(apps.clone())
                .like("my-app, my-site")
                .within(&person.name),
        ],
        apps,
        name: person.name,
    }
}

async fn page(
    app: &App,
    visit: Visit,
    typed: Typed,
    link: Option<(String, String, String)>,
) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let all = app.users.people(now).await?;
    let chosen = match typed.role.as_str() {
        "" => Role::Developer.as_str(),
        given => given,
    };
    let view = View {
        people: all.into_iter().map(|p| row(p, &visit, now)).collect(),
        name: Field::code("name", "Name or e-mail address")
            .needed()
            .like("ana@example.com")
            .value(typed.name)
            .fault(typed.fault),
        role: roles(&visit, chosen),
        apps: Field::code("apps", "Apps of a developer")
            .like("my-app, my-site")
            .hint("Names of apps; the other roles leave it empty.")
            .value(typed.apps),
        link,
        frame: visit
            .frame()
            .titled("People", Section::Settings)
            .under("/settings", "Settings"),
    };
    Ok(super::render(&view))
}

/// `GET /settings/people`
pub async fn show(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    page(&app, visit, Typed::default(), None).await
}

/// Somebody to ask in, or to be changed.
#[derive(Deserialize)]
pub struct Given {
    #[serde(default)]
    name: String,
    role: String,
    #[serde(default)]
    apps: String,
}

/// `POST /settings/people`: the page with the link on it, this once.
pub async fn invite(
    State(app): State<App>,
    visit: Visit,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let made = async {
        let role = people::role(&visit.caller, &given.role)?;
        let apps = people::apps(&app, people::typed(&given.apps)).await?;
        let name = given.name.clone();
        let new = NewUser { name, role, apps };
        let by = visit.caller.by();
        Ok::<_, Failure>(app.users.invite(new, by, UnixMs::now()).await?)
    };
    match made.await {
        Ok((name, token)) => {
            let link = people::link(&app, &token);
            page(
                &app,
                visit,
                Typed::default(),
                Some((name, link, String::new())),
            )
            .await
        }
        Err(failure) => {
            let Some(fault) = failure.words_for_a_form() else {
                return Err(failure);
            };
            let typed = Typed {
                name: given.name,
                role: given.role,
                apps: given.apps,
                fault,
            };
            let page = page(&app, visit, typed, None).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// `POST /settings/people/{user}`
pub async fn change(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let changed = async {
        let role = people::role(&visit.caller, &given.role)?;
        people::in_charge_of(&app, &visit.caller, &name).await?;
        let apps = people::apps(&app, people::typed(&given.apps)).await?;
        let by = visit.caller.by();
        app.users
            .change_role(&name, role, apps, by, UnixMs::now())
            .await?;
        Ok::<_, Failure>(())
    };
    let text = format!("{name} is {} now.", given.role);
    visit::back(PAGE, changed.await, &text)
}

/// `POST /settings/people/{user}/reset`: the page with the link on it, this once.
pub async fn reset(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    people::in_charge_of(&app, &visit.caller, &name).await?;
    let by = visit.caller.by();
    let now = UnixMs::now();
    let token = app.users.reset(&name, by, now).await?;
    let left = app.users.tokens_that_go_on(&name, now).await;
    let left = people::tokens_go_on(left, &name);
    let link = people::link(&app, &token);
    page(&app, visit, Typed::default(), Some((name, link, left))).await
}

fn question(visit: Visit, name: &str, wrong: bool) -> Response {
    let title = format!("Take {name} out");
    let view = confirm::View {
        frame: visit
            .frame()
            .titled(title.clone(), Section::Settings)
            .under("/settings", "Settings")
            .under(PAGE, "People"),
        button: title.clone(),
        title,
        lead: format!("{name} cannot come in any more; every session of theirs ends now."),
        consequences: vec![("What they deployed runs on.".to_owned(), false)],
        action: format!("{PAGE}/{name}/remove"),
        hidden: Vec::new(),
        also: None,
        typed: confirm::typed(name, wrong),
        back: PAGE.to_owned(),
    };
    match wrong {
        true => (StatusCode::UNPROCESSABLE_ENTITY, super::render(&view)).into_response(),
        false => super::render(&view),
    }
}

/// `GET /settings/people/{user}/remove`
pub async fn ask_removal(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let person = app.users.person(&name, UnixMs::now()).await?;
    Ok(question(visit, &person.name, false))
}

/// `POST /settings/people/{user}/remove`
pub async fn remove(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(answer): Form<confirm::Answer>,
) -> Result<Response, Failure> {
    people::in_charge_of(&app, &visit.caller, &name).await?;
    if !answer.is(&name) {
        return Ok(question(visit, &name, true));
    }
    let by = visit.caller.by();
    let gone = app.users.remove_user(&name, by, UnixMs::now()).await;
    visit::back(PAGE, gone, &format!("{name} is taken out."))
}
