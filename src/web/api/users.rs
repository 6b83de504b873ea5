//! Users: asked in, listed, changed, taken out; and the setup link, made only on the box.

use axum::Json;
use axum::extract::{Extension, State};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::{NewUser, OWNER, Person};
use crate::web::answer::{Created, Listed, NoContent};
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::page::{Names, has};
use crate::web::people;
use crate::web::services::App;
use crate::wire::users as wire;

/// `POST /api/v1/setup-link`: a new one-time path under the dashboard's address.
pub async fn setup_link(State(app): State<App>) -> Result<Json<wire::SetupLink>, Failure> {
    let now = UnixMs::now();
    let token = app.users.new_setup_link(now).await?;
    let tokens_left = app.users.tokens_that_go_on(OWNER, now).await;
    Ok(Json(wire::SetupLink {
        address: app.dashboard_url(),
        path: Secret::new(format!("/setup/{}", token.expose())),
        set_up: app.users.is_set_up().await?,
        tokens_left,
    }))
}

fn told(person: Person) -> wire::User {
    wire::User {
        name: person.name,
        role: person.role.as_str().into(),
        apps: person.apps,
        since_ms: person.since.0,
        seen_ms: person.seen.map(|at| at.0),
        second_factor: person.second_factor,
        invited_until_ms: person.invited_until.map(|at| at.0),
    }
}

/// Which users.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those with this in their name.
    q: Option<String>,
}

/// `GET /api/v1/users`
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Names,
) -> Result<Listed<wire::User>, Failure> {
    let all = app.users.people(UnixMs::now()).await?;
    let mut all: Vec<wire::User> = all.into_iter().map(told).collect();
    all.retain(|user| has(&user.name, which.q.as_deref()));
    Ok(Listed(page.of(all, |user| &user.name)))
}

/// `GET /api/v1/users/{user}`
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<wire::User>, Failure> {
    Ok(Json(told(app.users.person(&name, UnixMs::now()).await?)))
}

/// `POST /api/v1/users`: asks somebody in; the link is in this answer and nowhere else.
pub async fn invite(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(new): Input<wire::NewUser>,
) -> Result<Created<wire::UserLink>, Failure> {
    let role = people::role(&caller, &new.role)?;
    let apps = people::apps(&app, new.apps.iter().map(String::as_str)).await?;
    let name = new.name;
    let new = NewUser { name, role, apps };
    let (name, token) = app.users.invite(new, caller.by(), UnixMs::now()).await?;
    let link = Secret::new(people::link(&app, &token));
    Ok(Created(wire::UserLink {
        name,
        link,
        tokens_left: 0,
    }))
}

/// `PATCH /api/v1/users/{user}`
pub async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(change): Input<wire::UserChange>,
) -> Result<Json<wire::User>, Failure> {
    let now = UnixMs::now();
    people::in_charge_of(&app, &caller, &name).await?;
    let person = app.users.person(&name, now).await?;
    let role = match &change.role {
        Some(text) => people::role(&caller, text)?,
        None => person.role,
    };
    let names = change.apps.unwrap_or(person.apps);
    let apps = people::apps(&app, names.iter().map(String::as_str)).await?;
    app.users
        .change_role(&name, role, apps, caller.by(), now)
        .await?;
    Ok(Json(told(app.users.person(&name, now).await?)))
}

/// `POST /api/v1/users/{user}/reset`: a new link for somebody who cannot come in.
pub async fn reset(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<wire::UserLink>, Failure> {
    people::in_charge_of(&app, &caller, &name).await?;
    let now = UnixMs::now();
    let token = app.users.reset(&name, caller.by(), now).await?;
    let tokens_left = app.users.tokens_that_go_on(&name, now).await;
    let link = Secret::new(people::link(&app, &token));
    Ok(Json(wire::UserLink {
        name,
        link,
        tokens_left,
    }))
}

/// `DELETE /api/v1/users/{user}`
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<NoContent, Failure> {
    people::in_charge_of(&app, &caller, &name).await?;
    app.users
        .remove_user(&name, caller.by(), UnixMs::now())
        .await?;
    Ok(NoContent)
}

/// `DELETE /api/v1/users/{user}/second-factor`: for somebody who lost their authenticator and knows their password.
pub async fn remove_second_factor(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<NoContent, Failure> {
    people::in_charge_of(&app, &caller, &name).await?;
    app.users
        .remove_second_factor(&name, caller.by(), UnixMs::now())
        .await?;
    Ok(NoContent)
}
