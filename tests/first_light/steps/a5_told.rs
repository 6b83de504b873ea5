//! A5: what the audit log tells of commands, SQL and backups asked for on pages and by the API. The other routes are walked
//! without an engine, in `tests/audit/told.rs`; these need a container or a server that answers.

use serde_json::Value;

use crate::app::APP;
use crate::support::until::{secs, until};
use crate::world::World;

/// The pages' part was done by whoever drove every form of them; the API's is done here.
pub fn a5_what_was_run_and_backed_up_is_told(world: &World) {
    world.fh.cli(&["run", APP, "--", "printenv", "PATH"]);
    world.fh.cli(&["exec", APP, "--", "printenv", "PATH"]);
    world.fh.cli(&["db", "psql", "main"]);
    world.fh.cli(&["backup", "now", "main"]);
    for (action, field) in [
        ("app.run", "command"),
        ("app.exec", "command"),
        ("database.psql", "part"),
        ("backup.create", "backups"),
    ] {
        let ask = || world.owner_json(&format!("/api/v1/audit?limit=200&action={action}"));
        for who in ["user", "local"] {
            let told = |e: &&Value| e["who"]["kind"] == who && e["state"] == "done";
            // How a command ended may be written down a moment after who typed it saw its end.
            let entry = until(&format!("{action} by {who} to be told"), secs(60), || {
                let page = ask();
                let found = page["items"].as_array().unwrap().iter().find(told).cloned();
                found.ok_or_else(|| page.to_string())
            });
            assert!(!entry["after"][field].is_null(), "{entry}");
        }
        if field == "command" {
            let all = ask().to_string();
            assert!(all.contains("printenv and 1 more"), "{all}");
            assert!(!all.contains("NO_SUCH_VARIABLE"), "{all}");
        }
    }
}
