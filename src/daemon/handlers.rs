//! Job handlers of domains that leave their registration to the daemon.

use crate::jobs::Handlers;
use crate::postgres::{self, Databases};

/// The databases' jobs.
pub fn databases(handlers: &mut Handlers, databases: &Databases) {
    let all = databases.clone();
    handlers.on_yielding(postgres::JOB, move |context, payload| {
        let all = all.clone();
        async move { all.run(context, payload).await }
    });
    let all = databases.clone();
    handlers.on_yielding(postgres::ATTACHMENT_JOB, move |context, payload| {
        let all = all.clone();
        async move { all.run_attachment(context, payload).await }
    });
    let all = databases.clone();
    handlers.reap(move || {
        let all = all.clone();
        async move { all.reap().await }
    });
}
