//! F7: what the overview says, and where its figures come from.

use crate::app::{APP, URL};
use crate::support::load::Load;
use crate::support::until::{secs, until};
use crate::world::World;

pub fn f7_the_overview_has_the_figures(world: &mut World) {
    world.app_is_up();
    let load = Load::start(&world.public(), &format!("{URL}/healthz"), 20, |body| {
        body.contains("ok")
    });
    until(
        "rate and p95 of the app, and the box's figures",
        secs(60),
        || {
            let overview = world.owner_json("/api/v1/overview");
            let app = overview["apps"]
                .as_array()
                .unwrap()
                .iter()
                .find(|a| a["name"] == APP)
                .cloned()
                .unwrap_or_default();
            let rate = app["rate"].as_f64().unwrap_or(0.0);
            let seen = rate > 1.0
                && app["p95_ms"].is_number()
                && overview["machine"]["memory_total"].is_number();
            if seen {
                Ok(())
            } else {
                Err(format!("{app:#} {:#}", overview["machine"]))
            }
        },
    );
    load.finish().assert_flawless(1);
    let page = world.owner_page("/");
    for wanted in [APP, "tasks.test", "main"] {
        assert!(page.contains(wanted), "the overview does not name {wanted}");
    }
}

/// Each app is asked every 30 s through the edge's own TLS, without anybody's doing.
pub fn f7_the_app_is_checked_by_itself(world: &mut World) {
    until("the app's check to be up", secs(60), || {
        let all = world.fh.json(&["check", "list"]);
        let up =
            all.as_array().unwrap().iter().any(|c| {
                c["url"].as_str().unwrap_or("").contains("tasks.test") && c["state"] == "up"
            });
        if up { Ok(()) } else { Err(all.to_string()) }
    });
}
