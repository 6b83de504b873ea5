//! `/apps/{app}/env`: variables by name, a value only when it is asked for, and attached databases.

use std::collections::BTreeMap;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::act::{self, Act};
use super::head::{AppHead, Tab};
use crate::apps::{EnvName, env};
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::postgres::Link;
use crate::web::api::env::no_variable;
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::pages::database::{attach_as, way};
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::{Field, When};
use crate::web::pages::visit::{self, Visit};
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_env.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// By name.
    pub vars: Vec<Var>,
    /// Of the one to set.
    pub name: Field,
    /// Of the one to set.
    pub value: Field,
    /// `NAME=value` lines.
    pub import: Field,
    /// Database, the variable it is given as, and what stands between it and its use.
    pub attached: Vec<(String, String, String)>,
    /// Databases that could be attached.
    pub choices: Field,
    /// The variable it would be given as.
    pub attach_as: Field,
    /// Whether the reader may attach and detach them, and make one.
    pub attaches: bool,
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Var {
    /// Its name.
    pub name: String,
    /// Who sets it when it is not the user: "from database main".
    pub from: String,
    /// When it was set.
    pub at: Option<When>,
    /// Its value, when it was asked for.
    pub shown: Option<String>,
}

/// What was typed and what is wrong with it. Values are never sent back.
#[derive(Default)]
struct Typed {
    /// The page answers a form.
    answers: bool,
    /// A variable and its value, to be shown this once.
    shown: Option<(String, Secret)>,
    name: String,
    name_fault: String,
    value_fault: String,
    import_fault: String,
}

async fn page(app: &App, visit: Visit, name: &str, typed: Typed) -> Result<Response, Failure> {
    // What answers a form is shown once, and is not there to be asked for again.
    let is_answer = typed.answers;
    let (row, head) = AppHead::load(app, name, Tab::Env).await?;
    let now = UnixMs::now();
    let vars = app.apps.env_names(row.id).await?;
    let given = app.databases.given_to(row.id).await?;
    let links = app.databases.of_app(row.id).await?;
    // Only who may attach them is told which there are.
    let attaches = visit.caller.grant().is_some_and(|g| g.changes_box());
    let all = match attaches {
        true => app.databases.list().await?,
        false => Vec::new(),
    };
    let choices = all
        .into_iter()
        .map(|d| d.name.to_string())
        .filter(|name| {
            !links
                .iter()
                .any(|(database, link)| database == name && link.state != Link::Failed)
        })
        .map(|name| (name.clone(), name))
        .collect();
    let shown = |own: bool, name: &str| {
        let (asked, value) = typed.shown.as_ref()?;
        // The app's own goes before a database's, as in its containers.
        let is_own = vars.iter().any(|(var, _)| var == asked);
        (asked == name && own == is_own).then(|| value.expose().to_owned())
    };
    let from_databases = given.iter().map(|g| Var {
        shown: shown(false, &g.env_name),
        name: g.env_name.clone(),
        from: format!("from the database {}", g.database),
        at: None,
    });
    Ok(crate::web::pages::render(&View {
        attaches,
        frame: match is_answer {
            true => head.frame(visit),
            false => head.frame(visit).refreshed(4),
        },
        head,
        vars: from_databases
            .chain(vars.iter().map(|(name, at)| Var {
                shown: shown(true, name),
                name: name.clone(),
                from: String::new(),
                at: Some(When::ago(*at, now)),
            }))
            .collect(),
        name: Field::code("name", "Name")
            .needed()
            .like("API_KEY")
            .value(typed.name)
            .fault(typed.name_fault),
        value: Field::code("value", "Value")
            .area()
            .fault(typed.value_fault),
        import: Field::code("import", "Lines of NAME=value")
            .area()
            .needed()
            .hint("As in a .env file; quotes around a value are taken off.")
            .fault(typed.import_fault),
        attached: links
            .into_iter()
            .map(|(database, link)| {
                let way = way(&link);
                (database, link.env_name, way)
            })
            .collect(),
        choices: Field::choice("database", "Database", choices),
        attach_as: attach_as(),
    }))
}

async fn wrong(app: &App, visit: Visit, act: &Act, typed: Typed) -> Result<Response, Failure> {
    let page = page(app, visit, act.row.name.as_str(), typed).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// `GET /apps/{app}/env`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    page(&app, visit, &name, Typed::default()).await
}

/// One variable.
#[derive(Deserialize)]
pub struct One {
    name: String,
    #[serde(default)]
    value: Secret,
}

/// `POST /apps/{app}/env`
pub async fn set(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    Form(one): Form<One>,
) -> Result<Response, Failure> {
    match EnvName::parse(one.name.trim()) {
        Ok(var) => {
            let text = format!("{} is set.", var.as_str());
            let value = lines(&one.value);
            change(&app, &act, [(var, Some(value))].into(), text).await
        }
        Err(error) => {
            let typed = Typed {
                answers: true,
                name: one.name,
                name_fault: error.to_string(),
                ..Typed::default()
            };
            wrong(&app, visit, &act, typed).await
        }
    }
}

/// `POST /apps/{app}/env/unset`
pub async fn unset(
    State(app): State<App>,
    act: Act,
    Form(one): Form<One>,
) -> Result<Response, Failure> {
    let var = EnvName::parse(&one.name)?;
    let text = format!("{} is removed.", var.as_str());
    change(&app, &act, [(var, None)].into(), text).await
}

/// `POST /apps/{app}/env/reveal`: the page with one value on it, this once. That it was shown,
/// and to whom, stands in the audit log.
pub async fn reveal(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    telling: Telling,
    Form(one): Form<One>,
) -> Result<Response, Failure> {
    let own = app.apps.env(act.row.id).await?.remove(&one.name);
    let value = match own {
        Some(value) => value,
        None => {
            let given = app.databases.given_to(act.row.id).await?;
            let link = given.into_iter().find(|given| given.env_name == one.name);
            let name = act.row.name.as_str();
            link.ok_or_else(|| no_variable(name, &one.name))?.url
        }
    };
    telling.names("shown", std::iter::once(one.name.as_str()));
    let typed = Typed {
        answers: true,
        shown: Some((one.name, value)),
        ..Typed::default()
    };
    page(&app, visit, act.row.name.as_str(), typed).await
}

/// Many lines.
#[derive(Deserialize)]
pub struct Many {
    import: Secret,
}

/// `POST /apps/{app}/env/import`
pub async fn import(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    Form(many): Form<Many>,
) -> Result<Response, Failure> {
    match env::read_file(lines(&many.import).expose()) {
        Ok(read) => {
            let text = format!(
                "{} read.",
                crate::web::pages::words::count(read.len(), "variable")
            );
            let changes = read.into_iter().map(|(n, v)| (n, Some(v))).collect();
            change(&app, &act, changes, text).await
        }
        Err(error) => {
            let typed = Typed {
                answers: true,
                import_fault: error.to_string(),
                ..Typed::default()
            };
            wrong(&app, visit, &act, typed).await
        }
    }
}

/// A browser sends each line end of a form as CR LF, whatever was pasted.
fn lines(typed: &Secret) -> Secret {
    Secret::new(typed.expose().replace("\r\n", "\n"))
}

async fn change(
    app: &App,
    act: &Act,
    changes: BTreeMap<EnvName, Option<Secret>>,
    text: String,
) -> Result<Response, Failure> {
    let page = act.page("/env");
    let changing = app.apps.change_env(act.row.id, changes, &act.by, act.now);
    match changing.await {
        Ok(true) => act::brought(app, act.row.id, &act.by, &page, text).await,
        Ok(false) => Ok(visit::done(&page, "Nothing changed: it was so already.")),
        Err(error) => visit::refused(&page, error),
    }
}
