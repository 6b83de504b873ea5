//! What is counted of a route, beside what its app answered.
use crate::app::always;
use crate::client::{Http2, get};
use crate::policies::{STAFF, policed};
use crate::rig::{Rig, World, until};
use crate::table::witness;

/// What apps refuse by themselves is an answer like any other.
#[tokio::test]
async fn e7_what_a_routes_policies_refuse_is_counted_for_that_route_alone() {
    const OWN: &str = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\nno";
    let (app, of_itself) = (witness().await.0, always(OWN).await);
    let rig = Rig::start(World::of([
        policed(
            "rate.test",
            &app,
            "rate_limit = { requests = 1, per = \"hour\" }",
        ),
        policed("staff.test", &app, STAFF),
        policed("net.test", &app, "deny = [\"127.0.0.0/8\"]"),
        policed("own.test", &of_itself, ""),
    ]));
    for (host, rate_limited, denied, answered) in [
        ("rate.test", 2, 0, [0, 1, 0, 2, 0]),
        ("staff.test", 0, 3, [0, 0, 0, 3, 0]),
        ("net.test", 0, 3, [0, 0, 0, 3, 0]),
        ("own.test", 0, 0, [0, 0, 0, 3, 0]),
    ] {
        let mut client = Http2::tls(&rig, host).await;
        for _ in 0..3 {
            client.ask(get(&format!("https://{host}/"))).await.unwrap();
        }
        until("all are counted", || rig.route_reading(host).requests == 3).await;
        let reading = rig.route_reading(host);
        assert_eq!(reading.classes, answered, "{host}");
        let refused = (reading.rate_limited, reading.denied, reading.failures);
        assert_eq!(refused, (rate_limited, denied, 0), "{host}");
    }
}
