//! Long work as its callers see it: the queue's row, and what the domain's own row says
//! became of it. A deploy whose work ran to its end is not done when its release did not
//! become live.
//!
//! Whose a job is follows its app; work without one is the box's. To everybody else it
//! is not there.

use super::caller::Caller;
use super::error::Failure;
use super::services::App;
use crate::backup::{BackupState, RestoreState};
use crate::deploy::State as Stage;
use crate::jobs::{self, Told};
use crate::postgres::State as Database;
use crate::wire::jobs::{Job, JobState};
use crate::wire::problem::{Problem, ProblemKind};

/// The kinds that are told; the others are the daemon's own housekeeping.
pub const KINDS: &[&str] = &[
    "deploy",
    "app.remove",
    "app.replicas",
    "database",
    "attachment",
    "backup",
    "backup.check",
    "restore",
    "restore.confirm",
];

/// The job that brings what was just asked for, as it stands.
///
/// # Errors
/// Only the database's.
pub async fn about(
    app: &App,
    kind: &'static str,
    field: &'static str,
    id: i64,
) -> Result<Option<Job>, Failure> {
    let found = app
        .db
        .read(move |c| jobs::newest_about(c, kind, field, id))
        .await?;
    match found {
        Some(row) => Ok(Some(view(app, row).await?)),
        None => Ok(None),
    }
}

/// The deploy's job, when there is a deploy.
///
/// # Errors
/// Only the database's.
pub async fn of_deploy(app: &App, deploy: Option<i64>) -> Result<Option<Job>, Failure> {
    match deploy {
        Some(id) => about(app, "deploy", "deploy", id).await,
        None => Ok(None),
    }
}

/// The job, if `caller` may know of it.
///
/// # Errors
/// That there is none for them.
pub async fn find(app: &App, caller: &Caller, id: i64) -> Result<Job, Failure> {
    let row = app.db.read(move |c| jobs::by_id(c, id)).await?;
    let gone = || {
        Problem::new(ProblemKind::NotFound, format!("there is no job {id}"))
            .remedy("`freehold jobs` and GET /api/v1/jobs list those that are.")
    };
    let row = row.filter(|row| KINDS.contains(&row.kind.as_str()));
    let job = view(app, row.ok_or_else(gone)?).await?;
    match sees(caller, &job) {
        true => Ok(job),
        false => Err(gone().into()),
    }
}

fn sees(caller: &Caller, job: &Job) -> bool {
    match &job.app {
        Some(app) => caller.sees_app(app),
        None => caller.sees_box(),
    }
}

/// The keys of the jobs that `caller` may know of; `None` is all.
///
/// # Errors
/// Only the database's.
pub async fn keys(
    app: &App,
    caller: &Caller,
    one: Option<&str>,
) -> Result<Option<Vec<String>>, Failure> {
    if let Some(name) = one {
        if !caller.sees_app(name) {
            return Err(crate::apps::AppError::NotFound(name.to_owned()).into());
        }
        return Ok(Some(vec![app.apps.find(name).await?.subject()]));
    }
    if caller.sees_box() {
        return Ok(None);
    }
    let all = app.apps.list().await?;
    let theirs = all.iter().filter(|row| caller.sees_app(row.name.as_str()));
    Ok(Some(theirs.map(crate::apps::App::subject).collect()))
}

/// A row of the queue, told with what its domain says.
///
/// # Errors
/// Only the database's.
pub async fn view(app: &App, row: Told) -> Result<Job, Failure> {
    let number = |field: &str| row.payload[field].as_i64().unwrap_or_default();
    let mut job = Job {
        id: row.id,
        what: String::new(),
        state: state(&row.state),
        subject: row.key.clone(),
        app: None,
        resource: None,
        deploy: row.payload["deploy"].as_i64(),
        cancellable: false,
        attempts: row.attempts,
        created_ms: row.created.0,
        started_ms: row.started.map(|at| at.0),
        finished_ms: row.finished.map(|at| at.0),
        error: row.error.clone().map(failed),
        kind: row.kind.clone(),
    };
    if let Some(Ok(id)) = row.key.strip_prefix("app:").map(str::parse) {
        job.app = app.apps.by_id(id).await?.map(|a| a.name.to_string());
    }
    match row.kind.as_str() {
        "deploy" => deploy(app, &mut job, &row.key, number("deploy")).await?,
        "app.remove" => {
            job.what = format!("Removal of {}", named(job.app.as_deref(), "an app"));
            job.resource = job.app.as_ref().map(|name| format!("/api/v1/apps/{name}"));
        }
        "app.replicas" => {
            job.what = format!("Replicas of {}", named(job.app.as_deref(), "an app"));
            job.resource = job.app.as_ref().map(|name| format!("/api/v1/apps/{name}"));
        }
        "database" => database(app, &mut job, number("database")).await?,
        "attachment" => attachment(&mut job, &row.payload),
        "backup" | "backup.check" => backup(app, &mut job, number("backup")).await?,
        _ => restore(app, &mut job, number("restore")).await?,
    }
    if job.state != JobState::Failed && job.state.is_over() {
        job.error = None;
    }
    Ok(job)
}

fn named<'a>(name: Option<&'a str>, otherwise: &'a str) -> &'a str {
    name.unwrap_or(otherwise)
}

fn state(text: &str) -> JobState {
    match text {
        "queued" => JobState::Queued,
        "running" => JobState::Running,
        "done" => JobState::Done,
        "cancelled" => JobState::Cancelled,
        _ => JobState::Failed,
    }
}

fn failed(why: String) -> Problem {
    Problem::new(ProblemKind::Outside, why)
}

async fn deploy(app: &App, job: &mut Job, key: &str, id: i64) -> Result<(), Failure> {
    job.what = format!(
        "Deploy {id} of {}",
        named(job.app.as_deref(), "an app that is gone")
    );
    let Some(Ok(row)) = key.strip_prefix("app:").map(str::parse) else {
        return Ok(());
    };
    let Ok(found) = app.deploys.get(row, id).await else {
        return Ok(());
    };
    let app_name = job.app.as_deref();
    job.resource = app_name.map(|name| format!("/api/v1/apps/{name}/deploys/{id}"));
    (job.state, job.cancellable) = stage(found.state);
    job.finished_ms = found.finished.map(|at| at.0).or(job.finished_ms);
    job.error = match job.state {
        JobState::Failed => found.error.map(failed),
        _ => None,
    };
    Ok(())
}

/// How a deploy's stage reads as a job's, and whether it can be cancelled in it.
fn stage(stage: Stage) -> (JobState, bool) {
    match stage {
        Stage::Queued => (JobState::Queued, true),
        Stage::Fetching
        | Stage::Building
        | Stage::Releasing
        | Stage::Starting
        | Stage::Checking => (JobState::Running, true),
        Stage::Switching | Stage::Draining => (JobState::Running, false),
        Stage::Watching | Stage::Live => (JobState::Done, false),
        Stage::Returned | Stage::Failed => (JobState::Failed, false),
        Stage::Cancelled | Stage::Superseded => (JobState::Cancelled, false),
    }
}

async fn database(app: &App, job: &mut Job, id: i64) -> Result<(), Failure> {
    let found = app.databases.by_id(id).await?;
    let name = found.as_ref().map(|d| d.name.to_string());
    job.what = format!(
        "The database {}",
        named(name.as_deref(), "that was removed")
    );
    job.resource = name.map(|name| format!("/api/v1/databases/{name}"));
    if let Some(found) = found.filter(|d| d.state == Database::Failed)
        && job.state == JobState::Done
    {
        job.state = JobState::Failed;
        job.error = Some(failed(found.reason.unwrap_or_else(|| "it failed".into())));
    }
    Ok(())
}

fn attachment(job: &mut Job, payload: &serde_json::Value) {
    let text = |field: &str| payload[field].as_str().unwrap_or_default();
    let (app, database) = (text("app_name"), text("database_name"));
    job.what = match text("wants") {
        "attach" => format!("Attachment of {app} to {database}"),
        "detach" => format!("Detachment of {app} from {database}"),
        _ => "An app on a database".into(),
    };
    job.resource = (!database.is_empty()).then(|| format!("/api/v1/databases/{database}"));
}

async fn backup(app: &App, job: &mut Job, id: i64) -> Result<(), Failure> {
    let checks = job.kind == "backup.check";
    job.what = match checks {
        true => format!("Check of backup {id}"),
        false => format!("Backup {id}"),
    };
    let Ok(found) = app.backups.find(id).await else {
        return Ok(());
    };
    job.what = format!("{} of {}", job.what, found.database_name);
    job.resource = Some(format!("/api/v1/backups/{id}"));
    let bad = match checks {
        true => found.check_state.as_deref() == Some("bad"),
        false => found.state == BackupState::Failed,
    };
    // Until it is stored all of it can be taken back; a check leaves nothing at any time.
    job.cancellable = !job.state.is_over() && (checks || !found.state.is_ended());
    if bad && found.is_cancelled() {
        (job.state, job.error) = (JobState::Cancelled, None);
    }
    if job.state == JobState::Done && bad {
        let why = if checks {
            found.check_note
        } else {
            found.reason
        };
        job.state = JobState::Failed;
        job.error = Some(failed(why.unwrap_or_else(|| "it failed".into())));
    }
    Ok(())
}

async fn restore(app: &App, job: &mut Job, id: i64) -> Result<(), Failure> {
    let drops = job.kind == "restore.confirm";
    job.what = match drops {
        true => format!("Dropping what restore {id} replaced"),
        false => format!("Restore {id}"),
    };
    let Ok(found) = app.backups.find_restore(id).await else {
        return Ok(());
    };
    job.resource = Some(format!("/api/v1/restores/{id}"));
    if drops {
        return Ok(());
    }
    // Until it takes the live one's name.
    job.cancellable = !job.state.is_over() && found.state < RestoreState::Swapping;
    if found.state == RestoreState::Failed && found.is_cancelled() {
        (job.state, job.error) = (JobState::Cancelled, None);
    }
    if job.state == JobState::Done && found.state == RestoreState::Failed {
        job.state = JobState::Failed;
        job.error = Some(failed(found.reason.unwrap_or_else(|| "it failed".into())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_deploy_that_did_not_become_live_is_no_job_done() {
        for one in Stage::ALL {
            let (state, cancellable) = stage(one);
            assert_eq!(state.is_over(), one.is_settled(), "{one}");
            assert_eq!(state == JobState::Done, one.is_success(), "{one}");
            assert!(!cancellable || !state.is_over(), "{one}");
        }
    }
}
