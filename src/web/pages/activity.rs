//! `/activity`: what happened on the box, newest first; all of it, or what is asked for in the API's words.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Section, Theme};
use super::overview::ActivityRow;
use super::parts::{Field, Older, Tone};
use super::visit::Visit;
use crate::base::clock::UnixMs;
use crate::events::Level;
use crate::web::api::events::piece;
use crate::web::error::Failure;
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::problem::ProblemKind;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "activity.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Which level.
    pub level: Field,
    /// Of what.
    pub subject: Field,
    /// Whether not all of it is asked for.
    pub filtered: bool,
    /// Newest first.
    pub activity: Vec<ActivityRow>,
    /// To what was before.
    pub older: Older,
}

/// What is asked for, as the form sends it: what is empty is not.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Only those that want so much of their reader.
    level: String,
    /// Only those of this.
    subject: String,
    /// From where on.
    pub after: String,
}

impl Asked {
    /// The same on a page that is of one thing already.
    #[must_use]
    pub fn of_all(mut self) -> Self {
        self.subject.clear();
        self
    }

    /// The level that is asked for.
    ///
    /// # Errors
    /// That it is none.
    pub fn level(&self) -> Result<Option<Level>, Failure> {
        if self.level.is_empty() {
            return Ok(None);
        }
        let mut all = Level::ALL.into_iter();
        let level = all.find(|level| level.as_str() == self.level);
        level.map(Some).ok_or_else(|| {
            let names = Level::ALL.map(Level::as_str).join(", ");
            Failure::new(ProblemKind::Invalid, format!("level is one of {names}"))
        })
    }

    /// The choice of it.
    pub fn field(&self) -> Field {
        let words = ["Notes", "Warnings", "Errors"];
        let all = Level::ALL.into_iter().zip(words);
        let all = all.map(|(level, word)| (level.as_str().to_owned(), word.to_owned()));
        let choices = std::iter::once((String::new(), "All".to_owned())).chain(all);
        Field::choice("level", "Level", choices.collect()).value(&self.level)
    }

    /// Whether not all is asked for.
    pub fn filters(&self) -> bool {
        !self.level.is_empty() || !self.subject.is_empty()
    }

    /// `page` with what is asked for of it, from its beginning.
    pub fn path(&self, page: &str) -> String {
        let given = [("level", &self.level), ("subject", &self.subject)];
        let given = given.into_iter().filter(|(_, value)| !value.is_empty());
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(given);
        match query.finish().as_str() {
            "" => page.to_owned(),
            query => format!("{page}?{query}"),
        }
    }
}

/// What there is on the box that something can happen to, by its subject.
async fn subjects(app: &App, asked: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut all = vec![
        (String::new(), "Everything".to_owned()),
        ("box".to_owned(), "The box itself".to_owned()),
    ];
    for row in app.apps.list().await? {
        all.push((row.subject(), format!("The app {}", row.name)));
    }
    for row in app.databases.list().await? {
        all.push((row.subject(), format!("The database {}", row.name)));
    }
    if all.iter().all(|(subject, _)| subject != asked) {
        all.push((asked.to_owned(), asked.to_owned()));
    }
    Ok(all)
}

/// `GET /activity`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let page = Page::of_cursor(&asked.after)?;
    let subject = Some(asked.subject.clone()).filter(|subject| !subject.is_empty());
    let found = piece(&app, subject, asked.level()?, &page).await?;
    let now = UnixMs::now();
    let path = asked.path("/activity");
    let lines = found.items.into_iter();
    Ok(super::render(&View {
        frame: visit
            .frame()
            .titled("Activity", Section::Overview)
            .under("/", "Overview")
            .refreshed(10),
        level: asked.field(),
        subject: Field::choice("subject", "Of", subjects(&app, &asked.subject).await?)
            .value(&asked.subject),
        filtered: asked.filters(),
        activity: lines.map(|event| ActivityRow::new(event, now)).collect(),
        older: Older::of((&path, "after"), "activity", &asked.after, found.next),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_page_of_activity_takes_the_levels_of_the_api_and_no_others() {
        let asked = |level: &str| Asked {
            level: level.to_owned(),
            ..Asked::default()
        };
        assert_eq!(asked("").level().ok().unwrap(), None);
        for level in Level::ALL {
            let read = asked(level.as_str()).level();
            assert_eq!(read.ok().unwrap(), Some(level));
        }
        let refused = asked("loud").level().err().unwrap();
        assert_eq!(refused.0.detail, "level is one of info, warning, error");
    }

    #[test]
    fn a1_what_is_asked_for_stays_in_the_address() {
        let asked = Asked {
            level: "error".to_owned(),
            subject: "app:7".to_owned(),
            after: "12".to_owned(),
        };
        let path = asked.path("/activity");
        assert_eq!(path, "/activity?level=error&subject=app%3A7");
        assert_eq!(Asked::default().path("/activity"), "/activity");
    }
}
