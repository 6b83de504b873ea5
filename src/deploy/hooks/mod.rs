//! Webhooks: what a git host told us, whether we believe it, what follows.
//!
//! Decided in this order, purely: which host speaks; is the signature over the
//! raw body right; is it a push; to our branch; not a deletion. Only then is
//! anything done. The repository's address is never taken from a payload.

mod payload;
mod signature;
pub(super) mod store;

pub use payload::Push;
pub use store::Delivery;

use crate::base::secret::Secret;

/// The largest body that is read.
pub const LARGEST_BODY: usize = 5 << 20;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea or Forgejo.
    Gitea,
    /// Bitbucket.
    Bitbucket,
}

impl Host {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }

    /// By its headers. Gitea also sends GitHub's, so it is asked first.
    fn of(header: &Headers<'_>) -> Option<Self> {
        let sends = |name: &str| header(name).is_some();
        if sends("x-gitea-event") || sends("x-forgejo-event") || sends("x-gogs-event") {
            Some(Self::Gitea)
        } else if sends("x-gitlab-event") {
            Some(Self::GitLab)
        } else if sends("x-github-event") {
            Some(Self::GitHub)
        } else if sends("x-event-key") {
            Some(Self::Bitbucket)
        } else {
            None
        }
    }

    fn delivery_header(self) -> &'static str {
        match self {
            Self::GitHub => "x-github-delivery",
            Self::GitLab => "x-gitlab-event-uuid",
            Self::Gitea => "x-gitea-delivery",
            Self::Bitbucket => "x-request-uuid",
        }
    }

    fn event_header(self) -> &'static str {
        match self {
            Self::GitHub => "x-github-event",
            Self::GitLab => "x-gitlab-event",
            Self::Gitea => "x-gitea-event",
            Self::Bitbucket => "x-event-key",
        }
    }
}

/// Looks a header up by its lower-case name.
pub type Headers<'a> = dyn Fn(&str) -> Option<String> + Send + Sync + 'a;

/// A request to `/hooks/<app>`, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Who spoke, as far as it said.
    pub host: &'static str,
    /// The event's name.
    pub event: String,
    /// The delivery's id.
    pub delivery: Option<String>,
    /// What follows.
    pub verdict: Verdict,
}

/// What follows from a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A push to our branch.
    Deploy(Push),
    /// Right, but nothing to do: 202 with the reason.
    Ignored(String),
    /// A test of the connection: 200.
    Pong,
    /// The signature is missing or wrong: 401.
    Unsigned(String),
    /// Not understood: 422.
    Invalid(String),
}

/// Judges a request for an app that wants pushes to `branch`, signed with `secret`.
pub fn judge(header: &Headers<'_>, body: &[u8], secret: &Secret, branch: &str) -> Judged {
    let Some(host) = Host::of(header) else {
        return Judged {
            host: "unknown",
            event: String::new(),
            delivery: None,
            verdict: Verdict::Invalid(
                "this is no event of GitHub, GitLab, Gitea, Forgejo or Bitbucket: their headers are missing".into(),
            ),
        };
    };
    let event = header(host.event_header())
        .or_else(|| header("x-forgejo-event"))
        .unwrap_or_default();
    let judged = |verdict| Judged {
        host: host.as_str(),
        event: event.chars().take(60).collect(),
        delivery: delivery(host, header),
        verdict,
    };
    if let Err(why) = signature::check(host, header, body, secret) {
        return judged(Verdict::Unsigned(why));
    }
    judged(payload::read(host, &event, header, body, branch))
}

/// Who seems to speak, and the delivery's id: what the headers say, believed by nobody yet.
pub fn spoke(header: &Headers<'_>) -> Option<(&'static str, Option<String>)> {
    let host = Host::of(header)?;
    Some((host.as_str(), delivery(host, header)))
}

fn delivery(host: Host, header: &Headers<'_>) -> Option<String> {
    header(host.delivery_header())
        .or_else(|| header("x-forgejo-delivery"))
        .filter(|id| !id.is_empty() && id.len() <= 200)
}

#[cfg(test)]
mod tests;
