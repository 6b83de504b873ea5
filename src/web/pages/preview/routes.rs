//! The page of the routes.

use super::frame;
use crate::web::pages::frame::Section;
use crate::web::pages::routes;
use crate::wire::apps::LeftOut;
use crate::wire::routes::{
    EdgeFigures, EdgeTotals, LatencyFigures, MinuteFigures, ProcessFigures, RefusedCount,
    RouteFigures, Routes, TargetFigures,
};

fn text(text: &str) -> String {
    text.to_owned()
}

pub fn routes_page() -> routes::View {
    let latency = LatencyFigures {
        p50_ms: Some(8.0),
        p95_ms: Some(21.0),
        p99_ms: Some(140.0),
    };
    let figures = |requests: u64, minute: Option<f64>| EdgeFigures {
        requests,
        in_flight: 3,
        classes: [0, requests - 4, 0, 0, 4],
        failed: 1,
        rate_limited: 0,
        denied: 0,
        bytes_in: 12 << 10,
        bytes_out: requests << 12,
        latency: latency.clone(),
        minute: minute.map(|per_second| MinuteFigures {
            per_second,
            latency: latency.clone(),
        }),
    };
    let one = |host: &str, path: &str, app: Option<&str>| RouteFigures {
        key: text("route:1"),
        host: text(host),
        path: text(path),
        app: app.map(text),
        process: app.map(|_| text("web")),
        paused: false,
        figures: figures(12_204, Some(18.2)),
        targets: vec![TargetFigures {
            key: text("replica:31"),
            container: app.map(|app| format!("fh-a1b2c3-{app}-web-12-1")),
            address: text("10.83.0.2:3000"),
            left_out: false,
            times_left_out: 0,
            last_left_out: None,
            figures: figures(8_000, None),
        }],
    };
    let mut long = one(
        "a-long-name-of-a-shop.example.com",
        "/api/v2/orders",
        Some("shop"),
    );
    (long.figures.rate_limited, long.figures.denied) = (1_204, 31);
    let hung = &mut long.targets[0];
    hung.key = text("replica:32");
    (hung.left_out, hung.times_left_out) = (true, 3);
    hung.last_left_out = Some(LeftOut {
        now: true,
        since_ms: 1_780_000_000_000,
        why: text("it hangs: it takes requests and answers none while others do"),
    });
    let paused = RouteFigures {
        paused: true,
        targets: Vec::new(),
        ..one("tasks.example.com", "/", Some("tasks"))
    };
    let told = Routes {
        edge: Some(EdgeTotals {
            connections: 41,
            held: 3,
            refused: vec![RefusedCount {
                reason: text("unknown name in TLS"),
                count: 312,
            }],
            log_dropped: 0,
        }),
        routes: vec![
            one("", "/", None),
            one("shop.example.com", "/", Some("shop")),
            long,
            paused,
        ],
        processes: vec![ProcessFigures {
            app: text("shop"),
            process: text("web"),
            figures: figures(24_408, Some(36.4)),
        }],
    };
    routes::view(frame("/routes", "Routes", Section::Box), told)
}
