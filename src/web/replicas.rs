//! Why a replica does not serve, for API and pages: how it died, and why the edge leaves it out.

use crate::supervise;
use crate::web::services::App;
use crate::wire::apps::{Death, LeftOut};
use crate::wire::routes::Routes;

/// How the replica of this row died of late, the newest first.
pub fn deaths(app: &App, row: i64) -> Vec<Death> {
    app.supervisor.deaths(row).into_iter().map(death).collect()
}

fn death(death: supervise::Death) -> Death {
    let exit = death.exit.as_ref();
    Death {
        at_ms: death.at.0,
        exit_code: exit.map(|e| e.code),
        signal: exit.and_then(supervise::Exit::signal),
        out_of_memory: exit.is_some_and(|e| e.oom),
        why: death.why,
        in_a_row: death.in_a_row,
        lines: death.lines,
    }
}

/// Why the edge leaves out this container, if it does or did a moment ago.
pub fn left_out(routes: &Routes, container: &str) -> Option<LeftOut> {
    let mut targets = routes.routes.iter().flat_map(|route| &route.targets);
    let own = targets.find(|target| target.container.as_deref() == Some(container))?;
    own.last_left_out.clone()
}
