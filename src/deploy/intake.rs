//! Taking a webhook: judged, answered at once, its work queued.

use std::sync::PoisonError;

use serde_json::json;

use crate::base::clock::UnixMs;
use crate::base::secret::{SealError, random_token};
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};

use super::create;
use super::error::DeployError;
use super::hooks::{self, Delivery, Headers, Push, Verdict};
use super::row::{Cause, NewDeploy};
use super::source::Source;
use super::state::State;
use super::store;
use super::{Deploys, job_key};

/// Unsigned events written down an app and minute.
const STRANGERS: u32 = 10;

/// A request to `/hooks/<app>`.
pub struct Incoming<'a> {
    /// The app's row.
    pub app: i64,
    /// Looks a header up.
    pub header: &'a Headers<'a>,
    /// The raw body; `None` when it was larger than is read.
    pub body: Option<&'a [u8]>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The sentence.
    pub reason: String,
    /// The deploy that was started, or that took it already.
    pub deploy: Option<i64>,
}

fn answer(status: u16, reason: impl Into<String>) -> Answer {
    Answer {
        status,
        reason: reason.into(),
        deploy: None,
    }
}

/// What an event for an app that is not there is told: the same as one that does not know an app's secret, since which
/// apps there are is nobody's business out there.
///
/// # Errors
/// The system gives no random numbers.
pub fn answer_for_no_app(header: &Headers<'_>, body: Option<&[u8]>) -> Result<Answer, SealError> {
    let Some(body) = body else {
        return Ok(too_large());
    };
    let nobodys = random_token()?;
    Ok(match hooks::judge(header, body, &nobodys, "main").verdict {
        Verdict::Unsigned(why) => answer(401, why),
        Verdict::Invalid(why) => answer(422, why),
        // Nobody can have signed with a secret that was made just now.
        Verdict::Deploy(_) | Verdict::Pong | Verdict::Ignored(_) => answer(401, ""),
    })
}

fn too_large() -> Answer {
    let most = hooks::LARGEST_BODY >> 20;
    answer(413, format!("the event is larger than {most} MB"))
}

impl Deploys {
    /// Judges a webhook and queues what follows. Every one is a line on the
    /// app's activity and one of its newest deliveries.
    ///
    /// # Errors
    /// When the app is gone or the database refuses; then nothing was taken.
    pub async fn take_hook(
        &self,
        incoming: Incoming<'_>,
        now: UnixMs,
    ) -> Result<Answer, DeployError> {
        let app = incoming.app;
        let facts = self.facts(app).await?;
        let header = |name: &str| (incoming.header)(name);
        let Some(body) = incoming.body else {
            let event = header("x-github-event").unwrap_or_default();
            let line = line("unknown", None, event, now);
            return self.note_stranger(app, line, too_large(), now).await;
        };
        let secret = self.0.ports.apps.webhook_secret(app).await;
        let secret = secret.map_err(DeployError::Unavailable)?;
        let branch = match &facts.git {
            Some((_, branch)) => branch.to_string(),
            None => "main".to_owned(),
        };
        let judged = hooks::judge(incoming.header, body, &secret, &branch);
        let line = line(judged.host, judged.delivery, judged.event, now);
        let push = match judged.verdict {
            Verdict::Deploy(push) => push,
            Verdict::Pong => return self.note(app, line, answer(200, "pong"), now).await,
            Verdict::Ignored(why) => {
                let answer = answer(202, format!("ignored: {why}"));
                return self.note(app, line, answer, now).await;
            }
            Verdict::Unsigned(why) => {
                return self.note_stranger(app, line, answer(401, why), now).await;
            }
            Verdict::Invalid(why) if line.host == "unknown" => {
                return self.note_stranger(app, line, answer(422, why), now).await;
            }
            Verdict::Invalid(why) => return self.note(app, line, answer(422, why), now).await,
        };
        let Some((remote, branch)) = facts.git else {
            let why = format!(
                "the app {0} has no repository: set it with `freehold app set {0} --git URL` or on its page",
                facts.name
            );
            return self.note(app, line, answer(422, why), now).await;
        };
        if facts.removing {
            return self
                .note(app, line, answer(422, "the app is being removed"), now)
                .await;
        }
        let new = new_deploy(app, &push, remote.url, branch, &line);
        self.accept(new, line, now).await
    }

    /// Queues the deploy of a push, unless its delivery was already taken.
    async fn accept(
        &self,
        new: NewDeploy,
        line: Delivery,
        now: UnixMs,
    ) -> Result<Answer, DeployError> {
        let app = new.app;
        State::Queued.crash_before();
        let answer = self
            .0
            .db
            .write(move |tx| {
                let earlier = match &new.delivery {
                    Some(delivery) => store::by_delivery(tx, app, delivery)?,
                    None => None,
                };
                let answer = match earlier {
                    Some(earlier) if !earlier.state.may_repeat() => Answer {
                        status: 202,
                        reason: format!("already taken: it is deploy {}", earlier.id),
                        deploy: Some(earlier.id),
                    },
                    None if let Some(gone) = taken_by(tx, &new)? => Answer {
                        status: 202,
                        reason: format!(
                            "already taken: it was deploy {gone}, which is no longer kept"
                        ),
                        deploy: None,
                    },
                    _ => {
                        let id = create::insert(tx, &new, now)?;
                        Answer {
                            status: 202,
                            reason: format!("deploy {id} is queued"),
                            deploy: Some(id),
                        }
                    }
                };
                keep(tx, app, line, &answer, now)?;
                Ok::<_, DbError>(answer)
            })
            .await?;
        if let Some(id) = answer.deploy
            && answer.reason.ends_with("queued")
        {
            self.0.logs.open(id);
        }
        State::Queued.crash_after();
        Ok(answer)
    }

    /// [`Self::note`] for events nobody vouches for, a few a minute: more would
    /// let anybody fill the disk and push the real deliveries out.
    async fn note_stranger(
        &self,
        app: i64,
        line: Delivery,
        answer: Answer,
        now: UnixMs,
    ) -> Result<Answer, DeployError> {
        let noted = {
            let lock = self.0.strangers.lock();
            let mut strangers = lock.unwrap_or_else(PoisonError::into_inner);
            let minute = now.0 / 60_000;
            let (last, count) = strangers.entry(app).or_default();
            if *last != minute {
                (*last, *count) = (minute, 0);
            }
            *count += 1;
            *count <= STRANGERS
        };
        match noted {
            true => self.note(app, line, answer, now).await,
            false => Ok(answer),
        }
    }

    async fn note(
        &self,
        app: i64,
        line: Delivery,
        answer: Answer,
        now: UnixMs,
    ) -> Result<Answer, DeployError> {
        let kept = answer.clone();
        self.0
            .db
            .write(move |tx| keep(tx, app, line, &kept, now))
            .await?;
        Ok(answer)
    }
}

/// The deploy, no longer kept, that the same delivery led to.
fn taken_by(tx: &rusqlite::Transaction<'_>, new: &NewDeploy) -> Result<Option<i64>, DbError> {
    match &new.delivery {
        Some(delivery) => store::taken_by(tx, new.app, delivery),
        None => Ok(None),
    }
}

fn line(host: &str, delivery: Option<String>, event: String, now: UnixMs) -> Delivery {
    Delivery {
        id: 0,
        at: now,
        host: host.to_owned(),
        delivery,
        event: event.chars().take(60).collect(),
        status: 0,
        reason: String::new(),
        deploy: None,
    }
}

fn keep(
    tx: &rusqlite::Transaction<'_>,
    app: i64,
    mut line: Delivery,
    answer: &Answer,
    now: UnixMs,
) -> Result<(), DbError> {
    line.status = answer.status;
    line.reason.clone_from(&answer.reason);
    line.deploy = answer.deploy;
    hooks::store::insert(tx, app, &line)?;
    let level = match answer.status {
        200..300 => Level::Info,
        _ => Level::Warning,
    };
    let message = format!(
        "Webhook from {} answered {}: {}.",
        line.host, answer.status, answer.reason
    );
    let event = NewEvent::new("webhook.taken", level, job_key(app), message).with(json!({
        "status": answer.status, "delivery": line.delivery, "deploy": answer.deploy,
    }));
    events::record(tx, now, &event)?;
    Ok(())
}

fn new_deploy(
    app: i64,
    push: &Push,
    url: crate::git::GitUrl,
    branch: crate::git::Branch,
    line: &Delivery,
) -> NewDeploy {
    let by = match &push.by {
        Some(by) => format!("{by} (push)"),
        None => "a push".to_owned(),
    };
    NewDeploy {
        app,
        source: Source::Git {
            url,
            branch,
            commit: Some(push.commit.clone()),
            rebuild: false,
        },
        cause: Cause::Webhook,
        by,
        delivery: line.delivery.clone(),
        title: push.title.clone(),
    }
}
