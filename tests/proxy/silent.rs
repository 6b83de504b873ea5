//! Addresses that say nothing to a connect: the wait ends at its limit, is the app's failure and nobody's refusal, and costs
//! nothing where another replica answers.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold::proxy::{Address, Limits, Protocol, RouteSpec, Target, What};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use crate::app::app;
use crate::client::{Http1, Http2, get, post};
use crate::rig::{Rig, World, h2c_target, route, target, within};

const PATIENCE: Duration = Duration::from_secs(60);

/// An address whose system answers no connect, as nobody takes those that it has.
struct Silent {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

fn silent() -> Silent {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = socket();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..8 {
        let filling = socket();
        filling.set_nonblocking(true).unwrap();
        // There at once, or on its way for as long as the test goes on: either way it takes what room there is.
        drop(filling.connect(&address.into()));
        sockets.push(filling);
    }
    Silent {
        address,
        _sockets: sockets,
    }
}

/// A route to this target where a request that finds it away waits no longer than its connect does.
fn unheld(place: &str, target: &Arc<Target>) -> RouteSpec {
    RouteSpec {
        held_for: Some(Duration::ZERO),
        ..route(place, &[target])
    }
}

fn limits(upstream_connect: Duration) -> Limits {
    Limits {
        upstream_connect,
        workers: Some(1),
        ..Limits::default()
    }
}

#[tokio::test]
async fn e4_a_connect_that_nobody_answers_ends_in_503_at_its_limit() {
    // The limit as it is by default, and one that an owner wrote.
    let (two_seconds, short) = (
        Limits::default().upstream_connect,
        Duration::from_millis(400),
    );
    assert_eq!(two_seconds, Duration::from_secs(2));
    let (silent, app) = (silent(), app("one").await);
    let (away, away_h2c) = (target(silent.address), h2c_target(silent.address));
    let mut rig = Rig::with_limits(
        World::of([
            unheld("away.test", &away),
            unheld("away-h2c.test", &away_h2c),
            route("tasks.test", &[&target(app.address)]),
        ]),
        limits(two_seconds),
    );
    let mut other = Http1::tls(&rig, "tasks.test").await;
    for limit in [two_seconds, short] {
        rig.edge.limit(limits(limit));
        let mut http1 = Http1::tls(&rig, "away.test").await;
        let mut http2 = Http2::tls(&rig, "away-h2c.test").await;
        let began = Instant::now();
        let (first, second, beside) = within(PATIENCE, "answers", async {
            tokio::join!(
                http1.ask(post("https://away.test/", "order")),
                http2.ask(get("https://away-h2c.test/")),
                // Somebody else of the same worker waits for nobody.
                other.ask(get("https://tasks.test/"))
            )
        })
        .await;
        assert!(began.elapsed() >= limit, "{:?}", began.elapsed());
        assert_eq!(beside.unwrap().status, 200);
        for answer in [first.unwrap(), second.unwrap()] {
            let said = (answer.status.as_u16(), answer.header("retry-after"));
            assert_eq!(said, (503, "10"));
        }
        for _ in 0..2 {
            let trouble = within(PATIENCE, "a word of it", rig.failures.recv()).await;
            let What::Refused(why) = trouble.unwrap().what else {
                panic!("it took no connection");
            };
            assert!(
                why.ends_with(&format!("within {} ms", limit.as_millis())),
                "{why}"
            );
        }
    }
    // The app's failures, each once; of what clients did, there is nothing to count.
    for key in ["away.test", "away-h2c.test"] {
        let reading = rig.route_reading(key);
        assert_eq!((reading.failures, reading.in_flight), (2, 0), "{key}");
    }
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
    assert_eq!((away.in_flight(), away_h2c.in_flight()), (0, 0));
}

#[tokio::test]
async fn e4_a_replica_that_answers_no_connect_is_passed_over_before_the_limit() {
    let (silent, app) = (silent(), app("one").await);
    let away = target(silent.address);
    let spec = unheld("tasks.test", &away);
    let spec = RouteSpec {
        upstream: route("tasks.test", &[&away, &target(app.address)]).upstream,
        ..spec
    };
    // A limit that no request could wait for.
    let mut rig = Rig::with_limits(World::of([spec]), limits(10 * PATIENCE));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let why = within(PATIENCE, "the silent one is tried", async {
        loop {
            let answer = client.ask(post("https://tasks.test/echo", "x")).await;
            assert_eq!(answer.unwrap().status, 200);
            if let Ok(trouble) = rig.failures.try_recv() {
                break trouble.what;
            }
        }
    })
    .await;
    let What::Refused(why) = why else {
        panic!("it took no connection");
    };
    assert!(why.ends_with("within 250 ms"), "{why}");
    let reading = rig.route_reading("tasks.test");
    assert_eq!((reading.failures, rig.edge.stats().refusals.sum()), (0, 0));
}

#[tokio::test]
async fn n3_of_an_only_target_that_answers_nothing_in_time_it_is_said_that_it_may_hang() {
    // The system takes connections for it.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hangs.local_addr().unwrap();
    let well = app("one").await;
    let limits = Limits {
        upstream_answer: Duration::from_millis(500),
        ..limits(PATIENCE)
    };
    let mut rig = Rig::with_limits(
        World::of([
            route("hangs.test", &[&target(address)]),
            route("hangs-h2c.test", &[&h2c_target(address)]),
            route("tasks.test", &[&target(well.address)]),
        ]),
        limits,
    );
    // The saboteur: nothing is said of one that answers.
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let answer = client.ask(get("https://tasks.test/early")).await;
    assert_eq!(answer.unwrap().status, 409);
    for (host, protocol) in [
        ("hangs.test", Protocol::Http1),
        ("hangs-h2c.test", Protocol::H2c),
    ] {
        let mut client = Http1::tls(&rig, host).await;
        let answer = client.ask(get(&format!("https://{host}/")));
        let answer = within(PATIENCE, "an answer", answer).await.unwrap();
        assert_eq!(answer.status, 504);
        let trouble = within(PATIENCE, "a word of it", rig.failures.recv()).await;
        let trouble = trouble.unwrap();
        assert_eq!(trouble.address, Address::Tcp(address));
        assert!(
            matches!(trouble.what, What::Silent(over) if over == protocol),
            "{trouble:?}"
        );
    }
}
