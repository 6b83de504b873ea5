//! Another scale of a process: what its page and its address in the API decide alike.

use super::error::Failure;
use super::jobs;
use super::services::App;
use crate::apps::{self, AppError, Scale};
use crate::base::clock::UnixMs;
use crate::base::ids::ProcessName;
use crate::jobs::Owed;
use crate::wire::apps::{Changed, ScaleForm};
use crate::wire::jobs::Job;
use crate::wire::problem::{Problem, ProblemKind};

/// Changes the scale and asks for what that needs: other limits need new containers, and so a deploy;
/// another number of replicas does not.
///
/// # Errors
/// What of the form is no scale, that the app has no such process or none at all, or the database's.
pub async fn change(
    app: &App,
    row: &apps::App,
    form: &ScaleForm,
    by: &str,
) -> Result<(Changed, Option<Job>), Failure> {
    let (process, scale) = read(form)?;
    let live = app.deploys.live(row.id).await?;
    if live.is_some_and(|live| live.files.is_some()) {
        return Err(is_a_folder(row).into());
    }
    if let Some(known) = app.deploys.processes(row.id).await?
        && !known.iter().any(|name| name == process.as_str())
    {
        return Err(no_such(row, &process, &known).into());
    }
    let now = UnixMs::now();
    let owed = app.apps.set_scale(row.id, process, scale, by, now).await?;
    let (deploy, job) = match owed {
        None => (None, None),
        Some(Owed::Settings) => {
            let asked = app.deploys.apply_settings(row.id, by, now).await;
            let deploy = asked.map_err(Failure::once_changed)?;
            (deploy, jobs::of_deploy(app, deploy).await?)
        }
        Some(Owed::Counts) => {
            let asked = app.deploys.apply_counts(row.id, now).await;
            asked.map_err(Failure::once_changed)?;
            (None, jobs::about(app, "app.replicas", "app", row.id).await?)
        }
    };
    let changed = owed.is_some();
    Ok((Changed { changed, deploy }, job))
}

fn read(form: &ScaleForm) -> Result<(ProcessName, Scale), AppError> {
    let process = ProcessName::parse(&form.process)?;
    let mut scale = match &form.replicas {
        Some(replicas) => Scale::parse_replicas(replicas)?,
        None => Scale::default(),
    };
    if let Some(memory) = &form.memory {
        scale = scale.with_memory(memory)?;
    }
    if let Some(cpus) = &form.cpus {
        scale = scale.with_cpus(cpus)?;
    }
    Ok((process, scale))
}

fn is_a_folder(row: &apps::App) -> Problem {
    let detail = format!(
        "{} is a folder of files that the edge serves itself: it has no replicas and no limits",
        row.name
    );
    let remedy = "Nothing has to be scaled: deploy it with a Dockerfile to have processes.";
    Problem::new(ProblemKind::Conflict, detail).remedy(remedy)
}

fn no_such(row: &apps::App, process: &ProcessName, known: &[String]) -> Problem {
    let (name, known) = (&row.name, known.join(", "));
    let detail = format!("{name} has no process \"{process}\": it has {known}");
    let remedy = "Name one of these, or add it to freehold.toml and deploy that first.";
    Problem::new(ProblemKind::Invalid, detail).remedy(remedy)
}
