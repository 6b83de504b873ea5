//! An error as a page: what happened, why, what to do next.

use askama::Template;
use axum::response::Response;

use super::frame::{Frame, Theme};
use super::visit::Visit;
use crate::web::caller::Caller;
use crate::wire::problem::Problem;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "problem.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// What happened.
    pub problem: Problem,
    /// Whether there is an overview to go back to.
    pub signed_in: bool,
}

/// The page of `problem`.
pub fn page(problem: &Problem, visit: Visit) -> Response {
    let signed_in = visit.caller != Caller::Nobody;
    let mut frame = visit.frame();
    problem.title.clone_into(&mut frame.title);
    super::render(&View {
        frame,
        problem: problem.clone(),
        signed_in,
    })
}
