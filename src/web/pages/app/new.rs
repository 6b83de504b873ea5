//! `/apps/new`: the form for an app. What was typed is kept when something in it is wrong.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::apps::{AppError, Domain, NewApp, SourceChange};
use crate::base::clock::UnixMs;
use crate::base::ids::{AppName, ProcessName};
use crate::git::{Branch, GitUrl};
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Section, Theme};
use crate::web::pages::parts::Field;
use crate::web::pages::visit::{self, Visit};
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_new.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// What it is called.
    pub name: Field,
    /// Where its code is.
    pub repository: Field,
    /// Which branch is deployed.
    pub branch: Field,
    /// Where it answers.
    pub domain: Field,
}

/// What the form sends.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Given {
    name: String,
    #[serde(default)]
    repository: String,
    #[serde(default)]
    branch: String,
    #[serde(default)]
    domain: String,
}

/// What is wrong with it, field by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Faults {
    name: String,
    repository: String,
    branch: String,
    domain: String,
}

fn view(visit: Visit, given: &Given, faults: &Faults) -> View {
    View {
        frame: visit
            .frame()
            .titled("New app", Section::Overview)
            .under("/", "Apps"),
        name: Field::code("name", "Name")
            .needed()
            .like("shop")
            .hint("Lower case letters, digits and hyphens.")
            .value(&given.name)
            .fault(&faults.name),
        repository: Field::code("repository", "Repository")
            .like("https://git.example.com/ana/shop.git")
            .hint("With a Dockerfile in it. A private one gets its token in the app’s settings.")
            .value(&given.repository)
            .fault(&faults.repository),
        branch: Field::code("branch", "Branch")
            .like("main")
            .value(&given.branch)
            .fault(&faults.branch),
        domain: Field::code("domain", "Domain")
            .like("shop.example.com")
            .hint("Its certificate is ordered by itself once the name points at this box.")
            .value(&given.domain)
            .fault(&faults.domain),
    }
}

/// Reads the form; every fault at once.
fn read(given: &Given) -> Result<(NewApp, Option<Domain>), Faults> {
    let mut faults = Faults::default();
    fn keep<T, E: ToString>(result: Result<T, E>, fault: &mut String) -> Option<T> {
        result.map_err(|e| *fault = e.to_string()).ok()
    }
    let optional = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    let name = keep(AppName::parse(given.name.trim()), &mut faults.name);
    let git_url =
        optional(&given.repository).and_then(|t| keep(GitUrl::parse(&t), &mut faults.repository));
    let branch = optional(&given.branch).and_then(|t| keep(Branch::parse(&t), &mut faults.branch));
    let domain = optional(&given.domain).and_then(|t| keep(Domain::parse(&t), &mut faults.domain));
    match name {
        Some(name) if faults == Faults::default() => Ok((
            NewApp {
                name,
                source: SourceChange {
                    git_url,
                    branch,
                    ..SourceChange::default()
                },
            },
            domain,
        )),
        _ => Err(faults),
    }
}

/// `GET /apps/new`
pub async fn show(visit: Visit) -> Response {
    let given = Given {
        branch: "main".to_owned(),
        ..Given::default()
    };
    crate::web::pages::render(&view(visit, &given, &Faults::default()))
}

/// `POST /apps`
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let again = |visit: Visit, faults: Faults| {
        let page = crate::web::pages::render(&view(visit, &given, &faults));
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
    };
    let (new, domain) = match read(&given) {
        Ok(read) => read,
        Err(faults) => return again(visit, faults),
    };
    let (by, now) = (visit.caller.who(), UnixMs::now());
    let made = match app.apps.create(new, &by, now).await {
        Err(error @ AppError::NameTaken(_)) => {
            let name = error.to_string();
            return again(
                visit,
                Faults {
                    name,
                    ..Faults::default()
                },
            );
        }
        made => made?,
    };
    let page = format!("/apps/{}", made.name);
    if let Some(domain) = domain {
        let process = ProcessName::parse("web").map_err(AppError::from)?;
        let over = visit.caller.over();
        if let Err(error) = app
            .apps
            .add_domain(made.id, domain, process, (&by, over), now)
            .await
        {
            let failure = Failure::from(error);
            let words = failure.words_for_a_form().ok_or(failure)?;
            let text = format!("{} is made, but not its domain: {words}", made.name);
            return Ok(visit::failed(&format!("{page}/domains"), &text));
        }
    }
    Ok(visit::done(
        &page,
        &format!("{} is made. Deploy it next.", made.name),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_every_fault_of_the_form_is_told_at_once() {
        let given = Given {
            name: "Über Shop".into(),
            repository: "ftp://x".into(),
            branch: String::new(),
            domain: "not a host".into(),
        };
        let faults = read(&given).unwrap_err();
        assert!(!faults.name.is_empty());
        assert!(!faults.repository.is_empty());
        assert!(faults.branch.is_empty());
        assert!(!faults.domain.is_empty());
    }
}
