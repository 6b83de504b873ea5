//! A5: what the audit log tells of commands, SQL and backups asked for on pages and by the API. The other routes are walked
//! without an engine, in `tests/audit/told.rs`; these need a container or a server that answers.

use serde_json::Value;

use crate::app::APP;
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
        let page = world.owner_json(&format!("/api/v1/audit?limit=200&action={action}"));
        let entries = page["items"].as_array().unwrap();
        for who in ["user", "local"] {
            let told = |e: &&Value| e["who"]["kind"] == who && e["state"] == "done";
            let entry = entries.iter().find(told);
            let entry = entry.unwrap_or_else(|| panic!("{action} by {who}: {page}"));
            assert!(!entry["after"][field].is_null(), "{entry}");
        }
        if field == "command" {
            let all = page.to_string();
            assert!(all.contains("printenv and 1 more"), "{all}");
            assert!(!all.contains("NO_SUCH_VARIABLE"), "{all}");
        }
    }
}
