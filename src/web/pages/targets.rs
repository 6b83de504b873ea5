//! Backup targets, on the settings page: add, try, choose, remove.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::Section;
use super::parts::{Badge, Field, Tone};
use super::visit::{self, Visit};
use super::{confirm, settings};
use crate::backup::{self, NewTarget};
use crate::base::ids::TargetName;
use crate::base::secret::Secret;
use crate::objects::S3Options;
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::services::App;

const PAGE: &str = "/settings#targets";

/// What was typed, and why it was refused.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    name: String,
    place: String,
    endpoint: String,
    region: String,
    access_key: String,
    /// The form is shown.
    pub open: bool,
    name_fault: String,
    /// Of everything but the name.
    fault: String,
}

impl Typed {
    /// Nothing typed yet.
    pub fn empty(open: bool) -> Self {
        Self {
            open,
            ..Self::default()
        }
    }
}

/// The form; the secret is never sent back.
pub fn fields(typed: &Typed) -> Vec<Field> {
    let mut secret = Field::password("secret_key", "Secret key", "off");
    secret.required = false;
    vec![
        Field::code("name", "Target name")
            .needed()
            .like("offsite")
            .value(&typed.name)
            .fault(&typed.name_fault),
        Field::code("place", "Place")
            .needed()
            .like("s3://bucket/prefix")
            .hint("A bucket of any S3-compatible store, or dir:///path for a folder of this box, such as a mounted disk.")
            .value(&typed.place)
            .fault(&typed.fault),
        Field::code("endpoint", "Store’s address")
            .like("https://s3.eu-central.example.com")
            .hint("Left empty for Amazon’s own and for folders.")
            .value(&typed.endpoint),
        Field::code("region", "Region").like("eu-central-1").value(&typed.region),
        Field::code("access_key", "Access key").value(&typed.access_key),
        secret,
    ]
}

/// A target as a row.
pub fn line(target: backup::Target) -> settings::Target {
    settings::Target {
        location: match &target.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", target.place),
            None => target.place,
        },
        state: match (&target.fault, target.used) {
            (Some(_), _) => Badge::new(Tone::Bad, "Refuses"),
            (None, Some(_)) => Badge::new(Tone::Ok, "Works"),
            (None, None) => Badge::new(Tone::Idle, "Not used yet"),
        },
        note: target.fault.unwrap_or_default(),
        default: target.is_default,
        name: target.name,
    }
}

/// The form's fields.
#[derive(Deserialize)]
pub struct Given {
    name: String,
    place: String,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    access_key: String,
    #[serde(default)]
    secret_key: Secret,
}

/// `POST /settings/targets`
pub async fn add(
    State(app): State<App>,
    visit: Visit,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let optional = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    let mut typed = Typed {
        name: given.name.clone(),
        place: given.place.clone(),
        endpoint: given.endpoint.clone(),
        region: given.region.clone(),
        access_key: given.access_key.clone(),
        open: true,
        ..Typed::default()
    };
    match TargetName::parse(given.name.trim()) {
        Err(error) => typed.name_fault = error.to_string(),
        Ok(name) => {
            let new = NewTarget {
                name,
                place: given.place.trim().to_owned(),
                options: S3Options {
                    endpoint: optional(&given.endpoint),
                    region: optional(&given.region),
                    path_style: None,
                },
                access_key: optional(&given.access_key),
                secret_key: Some(given.secret_key).filter(|s| !s.expose().is_empty()),
                make_default: true,
            };
            match app.backups.add_target(new, &visit.caller.who()).await {
                Ok(target) => {
                    let text = format!("{} was tried and works. Backups go there.", target.name);
                    return Ok(visit::done(PAGE, &text));
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    typed.fault = failure.words_for_a_form().ok_or(failure)?;
                }
            }
        }
    }
    let page = settings::with_target(&app, visit, typed).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// `POST /settings/targets/{target}/test`
pub async fn test(
    State(app): State<App>,
    Path(name): Path<String>,
    telling: Telling,
) -> Result<Response, Failure> {
    let result = app.backups.test_target(&name).await;
    if result.is_ok() {
        telling.tell("works", true);
    }
    let text = format!("{name} works: an object was stored, read back and removed.");
    visit::back(PAGE, result, &text)
}

/// `POST /settings/targets/{target}/use`
pub async fn make_default(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let result = app.backups.use_target(&name, &visit.caller.who()).await;
    visit::back(PAGE, result, &format!("Backups go to {name} from now on."))
}

async fn question(app: &App, visit: Visit, name: &str, wrong: bool) -> Result<Response, Failure> {
    let target = app.backups.target(name).await?;
    let view = confirm::View {
        frame: visit
            .frame()
            .titled(format!("Remove {name}"), Section::Settings)
            .under("/settings", "Settings"),
        title: format!("Remove {name}"),
        lead: format!("Freehold forgets {} and its keys.", target.place),
        consequences: vec![
            (
                "Backups stored there can no longer be listed or restored from here.".to_owned(),
                true,
            ),
            ("What was stored there stays there.".to_owned(), false),
        ],
        action: format!("/settings/targets/{name}/remove"),
        hidden: Vec::new(),
        also: None,
        typed: confirm::typed(name, wrong),
        button: format!("Remove {name}"),
        back: PAGE.to_owned(),
    };
    Ok(view.shown(wrong))
}

/// `GET /settings/targets/{target}/remove`
pub async fn ask_removal(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    question(&app, visit, &name, false).await
}

/// `POST /settings/targets/{target}/remove`
pub async fn remove(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(answer): Form<confirm::Answer>,
) -> Result<Response, Failure> {
    if !answer.is(&name) {
        return question(&app, visit, &name, true).await;
    }
    let result = app
        .backups
        .remove_target(&name, true, &visit.caller.who())
        .await;
    visit::back(PAGE, result, &format!("{name} is removed."))
}
