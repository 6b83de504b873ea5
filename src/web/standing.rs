//! What stays open, a followed log, the events, a shell, ends when whoever opened it may no longer
//! have it: their session or token has ended, they were taken out, or their role no longer goes so far.
//!
//! It is asked at each commit, so that a revocation counts at once, but once a second at most; and
//! from time to time, for what ends by the clock. Looking on is no use: an open stream keeps neither
//! a session nor a token alive. The box's own socket is exempt; nobody can be shut out there.
//! A session that goes on under another cookie ends what was opened under the first; a page opens it
//! again by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use futures_util::{StreamExt, stream};

use super::access::{Needs, Verdict, decide};
use super::caller::Caller;
use super::services::App;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::{Grant, UserError};

/// What is told of the end where words can be.
pub const ENDED: &str = "this session or token has ended, or may no longer do this";
/// Between two looks at the least.
const SOONEST: Duration = Duration::from_secs(1);
/// Between two looks at the most.
const LATEST: Duration = Duration::from_secs(10);
/// Looks that fail one after another before what is open ends.
const PATIENCE: u32 = 3;

/// What a caller came in with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The session's cookie.
    Session(Secret),
    /// A program's token.
    Token(Secret),
}

/// A caller at a route, to be asked again later.
#[derive(Clone)]
pub struct Standing(Arc<Asked>);

struct Asked {
    app: App,
    needs: Needs,
    named: Option<String>,
    grant: Grant,
    caller: Caller,
    credential: Credential,
}

impl Standing {
    /// Of `caller` at a route that needs `needs` and names the app `named`.
    pub fn new(
        app: App,
        (needs, named): (Needs, Option<&str>),
        caller: &Caller,
        credential: Credential,
    ) -> Option<Self> {
        Some(Self(Arc::new(Asked {
            app,
            needs,
            named: named.map(str::to_owned),
            grant: caller.grant()?,
            caller: caller.clone(),
            credential,
        })))
    }

    /// Whether the caller would be let in now.
    async fn holds(&self) -> Result<bool, UserError> {
        let now = UnixMs::now();
        let users = &self.0.app.users;
        let grant = match &self.0.credential {
            Credential::Session(token) => users.grant_of_session(token, now).await?,
            Credential::Token(token) => users.grant_of_token(token, now).await?,
        };
        Ok(grant.is_some_and(|grant| {
            still(
                self.0.needs,
                &self.0.caller,
                self.0.named.as_deref(),
                (&self.0.grant, grant),
            )
        }))
    }

    /// Returns when they would no longer be let in.
    pub async fn ended(self) {
        let mut commits = self.0.app.db.commits();
        let mut failed = 0;
        loop {
            commits.mark_unchanged();
            match self.holds().await {
                Ok(true) => failed = 0,
                Ok(false) => break,
                Err(error) => {
                    failed += 1;
                    tracing::warn!(%error, "whether an open stream may go on could not be asked");
                    if failed == PATIENCE {
                        break;
                    }
                }
            }
            tokio::time::sleep(SOONEST).await;
            tokio::select! {
                _ = commits.changed() => {}
                () = tokio::time::sleep(LATEST) => {}
            }
        }
        tracing::info!(who = self.0.caller.who(), "what was open is ended: {ENDED}");
    }

    /// The answer; a body that is sent as it comes breaks off when its caller's standing ends. It
    /// breaks, and does not end: half a dump must not look like a whole one.
    pub fn over(self, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        let (head, body) = response.into_parts();
        let open = Some((body.into_data_stream(), Box::pin(self.ended())));
        let watched = stream::unfold(open, |open| async move {
            let (mut body, mut ended) = open?;
            tokio::select! {
                biased;
                () = &mut ended => Some((Err(std::io::Error::other(ENDED)), None)),
                next = body.next() => {
                    let next = next?.map_err(std::io::Error::other);
                    Some((next, Some((body, ended))))
                }
            }
        });
        Response::from_parts(head, Body::from_stream(watched))
    }
}

/// Whether somebody who came in with one grant may go on with the other.
fn still(needs: Needs, caller: &Caller, named: Option<&str>, (was, is): (&Grant, Grant)) -> bool {
    // Where each is shown their own, what that is was decided when it was opened.
    if matches!(needs, Needs::User | Needs::Person) && *was != is {
        return false;
    }
    let mut caller = caller.clone();
    if let Caller::User { grant, .. } | Caller::Program { grant, .. } = &mut caller {
        *grant = is;
    }
    decide(needs, &caller, named) == Verdict::Yes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::users::{Role, Verb};

    fn grant(role: Role, apps: &[&str]) -> Grant {
        Grant {
            role,
            apps: apps
                .iter()
                .map(|a| (*a).to_owned())
                .collect::<BTreeSet<_>>(),
            verb: Verb::Change,
        }
    }

    #[test]
    fn a4_what_is_open_goes_on_as_far_as_the_role_does_now() {
        let was = grant(Role::Developer, &["shop"]);
        let caller = Caller::User {
            id: 1,
            name: "ana".into(),
            grant: was.clone(),
            token: String::new(),
            confirmed: UnixMs(0),
        };
        let on = |needs, is| still(needs, &caller, Some("shop"), (&was, is));
        assert!(on(Needs::SeeApp, was.clone()));
        assert!(on(Needs::SeeApp, grant(Role::Developer, &["blog", "shop"])));
        assert!(!on(Needs::SeeApp, grant(Role::Developer, &["blog"])));
        assert!(on(Needs::SeeApp, grant(Role::Viewer, &[])));
        assert!(!on(Needs::ChangeApp, grant(Role::Viewer, &[])));
        assert!(!on(Needs::SeeBox, was.clone()));
        // A job's events were theirs by the apps they had.
        assert!(on(Needs::User, was.clone()));
        assert!(!on(Needs::User, grant(Role::Developer, &["blog"])));
    }
}
