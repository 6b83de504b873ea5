//! Whose turn it is to change a thing: a change that says `If-Match` is alone with it from the
//! comparison to the change, whoever else would change the same thing, and by whatever address or form.
//!
//! A thing is named by what stands in front of a path's first parameter and by that parameter,
//! decoded: `apps shop`, on pages and in the API; a backup and a restore by their own numbers, and the
//! targets together, since making one the default changes another. Changes without `If-Match` run beside
//! each other and only wait for one that has it. A body is read before the turn begins, so that whoever sends slowly
//! holds nobody up; work that itself waits for something (a folder on its way, a terminal, a store) and
//! what changes two things at once take no turn, and what they change is checked where it is changed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::extract::{RawPathParams, Request};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::RwLock;

use crate::web::access::Needs;
use crate::web::caller::Caller;
use crate::web::input;
use crate::web::router::Route;

/// Things of so many kinds of hashes can be changed beside each other; two of one wait for nothing but
/// a change with `If-Match`.
const LANES: usize = 64;

/// Parts of the paths whose work waits for something else, or changes an app and a server at once.
const LONG: &[&str] = &[
    "attach",
    "attachments",
    "cancel",
    "detach",
    "exec",
    "psql",
    "run",
    "sql",
    "test",
    "upload",
];

/// Where changes wait for their turn.
#[derive(Clone)]
pub struct Turns(Arc<[RwLock<()>; LANES]>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| RwLock::new(()))))
    }
}

impl Turns {
    fn lane(&self, thing: &str) -> Option<&RwLock<()>> {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        let lanes = u64::try_from(LANES).unwrap_or(1);
        self.0.get(usize::try_from(hasher.finish() % lanes).ok()?)
    }
}

/// A thing that a row changes in a short step: its kind, and what of a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thing {
    kind: &'static str,
    named_by: NamedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    /// The path's parameter at this place.
    Parameter(usize),
    /// Whoever asks: one's own account.
    Caller,
    /// Nothing: things of this kind change one another.
    Kind,
}

/// What a row changes, if it changes one thing in a short step.
pub fn thing(route: &Route) -> Option<Thing> {
    let reads = route.method.is_safe();
    if reads || matches!(route.needs, Needs::Nobody | Needs::Proof | Needs::Local) {
        return None;
    }
    thing_of(route.path)
}

fn thing_of(path: &'static str) -> Option<Thing> {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    if path.split('/').any(|part| LONG.contains(&part)) {
        return None;
    }
    let of = |kind, named_by| Some(Thing { kind, named_by });
    if path.starts_with("/account/") {
        return of("users", NamedBy::Caller);
    }
    // Pages show what a database has below it; the API shows it by itself.
    for (below, kind) in [
        ("/backups/{", "backups"),
        ("/restore/{", "backups"),
        ("/restores/{", "restores"),
    ] {
        if let Some((before, _)) = path.split_once(below) {
            return of(kind, NamedBy::Parameter(before.matches('{').count()));
        }
    }
    let (before, _) = path.split_once("/{")?;
    match before.rsplit('/').next()? {
        "people" => of("users", NamedBy::Parameter(0)),
        "targets" => of("targets", NamedBy::Kind),
        kind => of(kind, NamedBy::Parameter(0)),
    }
}

/// Lets a change through when it is its turn.
pub async fn in_turn(
    (turns, thing): (Turns, Thing),
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let request = match input::held(request).await {
        Ok(request) => request,
        Err(failure) => return failure.into_response(),
    };
    let name = match thing.named_by {
        NamedBy::Parameter(at) => params.iter().nth(at).map(|(_, value)| value.to_owned()),
        NamedBy::Caller => match request.extensions().get::<Caller>() {
            Some(Caller::User { name, .. }) => Some(name.clone()),
            _ => None,
        },
        NamedBy::Kind => None,
    };
    let named = format!("{} {}", thing.kind, name.unwrap_or_default());
    let Some(lane) = turns.lane(&named) else {
        return next.run(request).await;
    };
    if request.headers().contains_key(header::IF_MATCH) {
        let _alone = lane.write().await;
        next.run(request).await
    } else {
        let _beside = lane.read().await;
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::router::table;

    #[test]
    fn a1_pages_and_api_name_one_thing_alike() {
        use NamedBy::{Caller, Kind, Parameter};
        for (path, expected) in [
            ("/apps/{app}/env", Some(("apps", Parameter(0)))),
            ("/api/v1/apps/{app}/env", Some(("apps", Parameter(0)))),
            (
                "/settings/people/{user}/remove",
                Some(("users", Parameter(0))),
            ),
            ("/api/v1/users/{user}", Some(("users", Parameter(0)))),
            ("/account/second-factor/off", Some(("users", Caller))),
            ("/settings/targets/{target}/use", Some(("targets", Kind))),
            ("/api/v1/targets/{name}", Some(("targets", Kind))),
            ("/api/v1/targets/{name}/default", Some(("targets", Kind))),
            (
                "/databases/{database}/backups",
                Some(("databases", Parameter(0))),
            ),
            (
                "/databases/{database}/backups/{backup}/verify",
                Some(("backups", Parameter(1))),
            ),
            (
                "/api/v1/backups/{id}/verify",
                Some(("backups", Parameter(0))),
            ),
            (
                "/databases/{database}/restore/{backup}",
                Some(("backups", Parameter(1))),
            ),
            (
                "/databases/{database}/restores/{restore}/confirm",
                Some(("restores", Parameter(1))),
            ),
            (
                "/api/v1/restores/{id}/confirm",
                Some(("restores", Parameter(0))),
            ),
            ("/api/v1/apps/{app}/deploys/upload", None),
            ("/api/v1/apps/{app}/exec", None),
            ("/databases/{database}/attach", None),
            ("/api/v1/apps", None),
        ] {
            let expected = expected.map(|(kind, named_by)| Thing { kind, named_by });
            assert_eq!(thing_of(path), expected, "{path}");
        }
    }

    /// Every edit that can say `If-Match` takes its turn, or it would be compared and changed in two steps.
    #[test]
    fn a1_every_edit_that_can_be_conditional_takes_its_turn() {
        let table = table();
        let tagged = super::super::tagged(&table);
        let mut seen = 0;
        for route in &table {
            let held = super::super::compared(route, &tagged);
            if held.is_some_and(|held| held != super::super::Compared::Nothing) {
                assert!(thing(route).is_some(), "{} {}", route.method, route.path);
                seen += 1;
            }
        }
        assert!(seen > 5, "{seen}");
    }
}
