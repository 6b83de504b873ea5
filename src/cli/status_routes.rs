//! `freehold status --routes`: what passes through the edge.

use super::Global;
use super::client::Client;
use super::output::{self, Fail};
use crate::wire::routes::{EdgeFigures, EdgeTotals, LatencyFigures, Routes, TargetFigures};

/// What every table says of its rows, behind their names; one of its own comes last.
const FIGURES: [&str; 12] = [
    "REQ/S", "P50", "P95", "P99", "NOW", "REQUESTS", "2XX", "3XX", "4XX", "5XX", "FAILED", "IN/OUT",
];
/// Of a route or a process: what its policies refused, with 429, 401 or 403.
const REFUSED: &str = "REFUSED";
/// Of a target: how often it got no requests for a while, because of what it did to earlier ones.
const LEFT_OUT: &str = "TIMES OUT";

/// Shows it once.
///
/// # Errors
/// That the daemon cannot be reached.
pub(super) async fn run(client: &Client, global: &Global) -> Result<(), Fail> {
    let told: Routes = client.get("/api/v1/routes").await?;
    output::either(global.json, &told, || show(&told));
    Ok(())
}

fn show(told: &Routes) {
    if told.routes.is_empty() {
        output::line("No route yet: freehold domain add APP HOST");
    } else {
        output::table(&routes(told));
    }
    for (name, rows, own) in [
        ("PROCESS", processes(told), REFUSED),
        ("TARGET", targets(told), LEFT_OUT),
    ] {
        if !rows.is_empty() {
            output::line("");
            output::table(&[&[head([name, "WHERE"], own)][..], &rows].concat());
        }
    }
    for line in reasons(told) {
        output::line(line);
    }
    if let Some(edge) = &told.edge {
        output::line("");
        output::line(totals(edge));
    }
}

fn head(names: [&str; 2], own: &str) -> Vec<String> {
    let all = names.into_iter().chain(FIGURES).chain([own]);
    all.map(str::to_owned).collect()
}

fn routes(told: &Routes) -> Vec<Vec<String>> {
    let mut rows = vec![head(["ROUTE", "ANSWERS"], REFUSED)];
    for route in &told.routes {
        let path = if route.path == "/" { "" } else { &route.path };
        let host = match route.host.as_str() {
            "" => "(address)",
            host => host,
        };
        let who = match (&route.app, &route.process) {
            (Some(app), Some(process)) => format!("{app} {process}"),
            _ => route.key.clone(),
        };
        let who = match (route.paused, route.targets.is_empty()) {
            (true, _) => format!("{who} (held)"),
            (false, true) => format!("{who} (nobody)"),
            (false, false) => who,
        };
        let names = [format!("{host}{path}"), who];
        rows.push(row(names, &route.figures, refused(&route.figures)));
    }
    rows
}

fn processes(told: &Routes) -> Vec<Vec<String>> {
    let named = |p: &crate::wire::routes::ProcessFigures| [p.process.clone(), p.app.clone()];
    let all = told.processes.iter();
    all.map(|p| row(named(p), &p.figures, refused(&p.figures)))
        .collect()
}

/// Each once, though several routes lead to it.
fn each_target(told: &Routes) -> Vec<&TargetFigures> {
    let mut all: Vec<&TargetFigures> = told.routes.iter().flat_map(|r| &r.targets).collect();
    all.sort_by(|one, other| (&one.key, &one.address).cmp(&(&other.key, &other.address)));
    all.dedup_by(|one, other| (&one.key, &one.address) == (&other.key, &other.address));
    all
}

/// Why those that get no requests get none, or got none a moment ago.
fn reasons(told: &Routes) -> Vec<String> {
    let why = |t: &TargetFigures| {
        let left_out = t.last_left_out.as_ref()?;
        let name = t.container.as_ref().unwrap_or(&t.address);
        Some(format!("{name}: {}", left_out.words()))
    };
    each_target(told).into_iter().filter_map(why).collect()
}

fn targets(told: &Routes) -> Vec<Vec<String>> {
    let name = |t: &TargetFigures| {
        let name = t.container.as_ref().unwrap_or(&t.key);
        match t.left_out {
            true => format!("{name} (left out)"),
            false => name.clone(),
        }
    };
    each_target(told)
        .into_iter()
        .map(|t| row([name(t), t.address.clone()], &t.figures, t.times_left_out))
        .collect()
}

/// By the route's policies.
fn refused(figures: &EdgeFigures) -> u64 {
    figures.rate_limited + figures.denied
}

fn row(names: [String; 2], figures: &EdgeFigures, own: u64) -> Vec<String> {
    let minute = figures.minute.as_ref();
    let latency = minute.map_or(&figures.latency, |minute| &minute.latency);
    let [_, success, elsewhere, client, server] = figures.classes;
    let mut cells = names.to_vec();
    cells.push(minute.map_or("-".to_owned(), |m| format!("{:.1}", m.per_second)));
    cells.extend(quickly(latency));
    let counts = [
        figures.in_flight,
        figures.requests,
        success,
        elsewhere,
        client,
        server,
        figures.failed,
    ];
    cells.extend(counts.map(|count| count.to_string()));
    cells.push(format!(
        "{}/{}",
        bytes(figures.bytes_in),
        bytes(figures.bytes_out)
    ));
    cells.push(own.to_string());
    cells
}

fn quickly(latency: &LatencyFigures) -> [String; 3] {
    [latency.p50_ms, latency.p95_ms, latency.p99_ms].map(|ms| match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 10_000.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{:.0}s", ms / 1_000.0),
    })
}

fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count}"),
        10_240..10_485_760 => format!("{}K", count >> 10),
        10_485_760..10_737_418_240 => format!("{}M", count >> 20),
        _ => format!("{}G", count >> 30),
    }
}

fn totals(edge: &EdgeTotals) -> String {
    let refused: Vec<String> = edge
        .refused
        .iter()
        .filter(|one| one.count > 0)
        .map(|one| format!("{} {}", one.count, one.reason))
        .collect();
    let refused = match refused.is_empty() {
        true => "nothing".to_owned(),
        false => refused.join(", "),
    };
    format!(
        "Open connections: {}. Held: {}. Refused before an app: {refused}. Entries of the access log dropped: {}.",
        edge.connections, edge.held, edge.log_dropped
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::apps::LeftOut;
    use crate::wire::routes::{MinuteFigures, RefusedCount, RouteFigures};

    #[test]
    fn e7_a_route_is_a_row_and_a_target_of_two_routes_stands_once() {
        let figures = EdgeFigures {
            requests: 1_204,
            in_flight: 2,
            classes: [1, 1_190, 5, 4, 4],
            failed: 3,
            rate_limited: 12,
            denied: 5,
            bytes_in: 900,
            bytes_out: 20 << 20,
            latency: LatencyFigures::default(),
            minute: Some(MinuteFigures {
                per_second: 18.24,
                latency: LatencyFigures {
                    p50_ms: Some(1.3),
                    p95_ms: Some(21.0),
                    p99_ms: Some(14_000.0),
                },
            }),
        };
        let route = |host: &str, path: &str| RouteFigures {
            key: "route:1".into(),
            host: host.into(),
            path: path.into(),
            app: Some("shop".into()),
            process: Some("web".into()),
            figures: figures.clone(),
            targets: vec![TargetFigures {
                key: "replica:31".into(),
                container: Some("shop-web-1".into()),
                address: "10.83.0.2:3000".into(),
                left_out: true,
                times_left_out: 7,
                last_left_out: Some(LeftOut {
                    now: true,
                    since_ms: 0,
                    why: "it hangs".into(),
                }),
                figures: EdgeFigures::default(),
            }],
            ..RouteFigures::default()
        };
        let mut told = Routes {
            routes: vec![route("a.test", "/"), route("a.test", "/api")],
            ..Routes::default()
        };
        told.routes[1].paused = true;
        let rows = routes(&told);
        assert_eq!(
            rows[1].join(" "),
            "a.test shop web 18.2 1.3ms 21ms 14s 2 1204 1190 5 4 4 3 900/20M 17"
        );
        assert_eq!(rows[2][..2], ["a.test/api", "shop web (held)"]);
        assert!(rows.iter().all(|row| row.len() == 3 + FIGURES.len()));
        let targets = targets(&told);
        assert_eq!(targets.len(), 1);
        assert_eq!(
            targets[0].join(" "),
            "shop-web-1 (left out) 10.83.0.2:3000 - - - - 0 0 0 0 0 0 0 0/0 7"
        );
        assert_eq!(
            reasons(&told),
            ["shop-web-1: left out of traffic since 1970-01-01T00:00:00Z: it hangs"]
        );
    }

    #[test]
    fn e7_what_was_refused_is_said_by_reason() {
        let one = |reason: &str, count| RefusedCount {
            reason: reason.into(),
            count,
        };
        let mut edge = EdgeTotals {
            connections: 4,
            held: 3,
            refused: vec![one("bad request", 2), one("panic", 0)],
            log_dropped: 7,
        };
        assert_eq!(
            totals(&edge),
            "Open connections: 4. Held: 3. Refused before an app: 2 bad request. Entries of the access log dropped: 7."
        );
        edge.refused.clear();
        assert!(totals(&edge).contains("an app: nothing."));
    }
}
