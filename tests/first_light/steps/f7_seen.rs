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
        secs(120),
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
    let overview = world.owner_json("/api/v1/overview");
    let app = &overview["apps"][0];
    assert!(app["error_share"].is_number(), "{app:#}");
    assert!(app["deploy"]["at_ms"].is_number(), "{app:#}");
    let certificates = overview["certificates"].as_array().unwrap();
    assert!(
        certificates
            .iter()
            .any(|c| c["host"] == "tasks.test" && c["expires_ms"].is_number()),
        "{certificates:#?}"
    );
    let page = world.owner_page("/");
    for wanted in [
        APP,
        "tasks.test",
        "main",
        "CPU",
        "Memory",
        "Disk",
        "p95",
        "5xx",
        "Last deploy",
        "Last backups",
        "Certificates",
        "Pebble",
    ] {
        assert!(page.contains(wanted), "the overview does not say {wanted}");
    }
    assert!(
        page.contains("class=\"plot-line\" d=\"M"),
        "the overview draws no graph"
    );
    assert!(
        page.contains("in 90 days") || page.contains("in 89 days"),
        "the overview does not say when certificates end"
    );
    let page = world.owner_page(&format!("/apps/{APP}"));
    for wanted in ["Requests per second", "95th percentile", "5xx", "Uptime"] {
        assert!(page.contains(wanted), "the app's page lacks {wanted}");
    }
    let history = world.owner_json("/api/v1/metrics/box");
    let measured = |name: &str| {
        let slots = history[name].as_array().unwrap();
        slots.iter().any(serde_json::Value::is_number)
    };
    assert!(
        ["cpu", "memory_used", "disk_used"]
            .into_iter()
            .all(measured)
    );
}

/// Processor and memory of each container, read from its control group.
pub fn f7_each_container_says_what_it_uses(world: &mut World) {
    world.app_is_up();
    until("the replica's processor and memory", secs(120), || {
        let shown = world.fh.json(&["app", "show", APP]);
        let usage = &shown["replicas"][0]["usage"];
        let memory = usage["memory"].as_u64().unwrap_or(0);
        if memory > 1 << 20 && usage["cpu"].is_number() {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    });
    for path in [&format!("/apps/{APP}"), "/box"] {
        let page = world.owner_page(path);
        assert!(
            page.contains(" cores</td>") && page.contains(" MiB"),
            "{path} does not say what a container uses:\n{page}"
        );
    }
    let top = world.fh.cli(&["top", "--once"]);
    assert!(top.contains("MEMORY") && top.contains(" MB"), "{top}");
}

/// Each app is asked every 30 s through the edge's own TLS, without anybody's doing.
pub fn f7_the_app_is_checked_by_itself(world: &mut World) {
    until("the app's check to be up", secs(120), || {
        let all = world.fh.json(&["check", "list"]);
        let up =
            all.as_array().unwrap().iter().any(|c| {
                c["url"].as_str().unwrap_or("").contains("tasks.test") && c["state"] == "up"
            });
        if up { Ok(()) } else { Err(all.to_string()) }
    });
}
