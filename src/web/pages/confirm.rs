//! The question before something that cannot be undone: its name has to be typed.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Theme};
use super::parts::Field;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "confirm.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// "Remove shop".
    pub title: String,
    /// What is about to happen.
    pub lead: String,
    /// What follows from it, and whether it is lost for good.
    pub consequences: Vec<(String, bool)>,
    /// Where the form goes.
    pub action: String,
    /// What goes with it.
    pub hidden: Vec<(&'static str, String)>,
    /// What goes too when it is ticked.
    pub also: Option<Also>,
    /// The name again.
    pub typed: Field,
    /// "Remove shop".
    pub button: String,
    /// Where "Keep it" leads.
    pub back: String,
}

/// A box to tick.
#[derive(Clone, Debug)]
pub struct Also {
    /// Its name in the form.
    pub name: &'static str,
    /// What it asks for.
    pub label: String,
    /// Whether it was ticked when the name was not right.
    pub ticked: bool,
}

impl View {
    /// The page; with the status of a refusal when something else was typed.
    pub fn shown(&self, wrong: bool) -> Response {
        let page = super::render(self);
        match wrong {
            true => (StatusCode::UNPROCESSABLE_ENTITY, page).into_response(),
            false => page,
        }
    }
}

/// The field for `name`; `wrong` when something else was typed.
pub fn typed(name: &str, wrong: bool) -> Field {
    Field::code("typed", &format!("Type {name} to confirm"))
        .needed()
        .fault(if wrong {
            format!("This is not {name}.")
        } else {
            String::new()
        })
}

/// What was typed.
#[derive(Deserialize)]
pub struct Answer {
    typed: String,
}

impl Answer {
    /// Whether it is `name`.
    pub fn is(&self, name: &str) -> bool {
        self.typed.trim() == name
    }
}
