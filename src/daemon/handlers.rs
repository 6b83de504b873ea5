//! Job handlers of domains that leave their registration to the daemon.

use std::time::Duration;

use crate::deploy::Deploys;
use crate::jobs::{Handlers, Outcome};
use crate::postgres::{self, Databases};

/// Above the pull of an image, the start of a server and what is asked inside of it.
const LIMIT: Duration = Duration::from_secs(3_600);

/// The databases' jobs. What an attachment owes to its app's containers is asked for by the work on it, so
/// that whoever follows that is told the deploy.
pub fn databases(handlers: &mut Handlers, databases: &Databases, deploys: &Deploys) {
    let all = databases.clone();
    handlers.destroys_when(postgres::JOB, postgres::takes_data_away);
    handlers.on_yielding(postgres::JOB, LIMIT, move |context, payload| {
        let all = all.clone();
        async move { all.run(context, payload).await }
    });
    let both = (databases.clone(), deploys.clone());
    handlers.on_yielding(postgres::ATTACHMENT_JOB, LIMIT, move |context, payload| {
        let (all, deploys) = both.clone();
        async move {
            let job = context.id;
            let ended = all.run_attachment(context, &payload).await;
            match (ended, payload["app"].as_i64()) {
                (Outcome::Done, Some(app)) => {
                    let by = payload["by"].as_str().unwrap_or("its database");
                    deploys.apply_settings_in(job, app, by).await
                }
                (ended, _) => ended,
            }
        }
    });
    let all = databases.clone();
    handlers.reap(move || {
        let all = all.clone();
        async move { all.reap().await }
    });
}
