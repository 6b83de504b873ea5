//! E2: who a request comes from and how the app is spoken to, as the settings say it now: `[proxies]`,
//! `listen.proxy_protocol`, and an upstream over HTTP/2 without TLS.

use crate::app::App;
use crate::client::Asked;
use crate::world::World;

const HOST: &str = "example.com";
/// Connections stay as long as a slow machine needs.
const ROUTE: &str = "[timeouts]\nidle = \"10m\"\n[[route]]\nhost = \"example.com\"\nTLS\nupstream = \"http://APP\"\n";
/// A load balancer's, and what it and a stranger say.
const PROXY: &str = "127.0.0.2";
const CLIENT: &str = "192.0.2.1";

/// With what a proxy says of its client, or anybody makes up.
fn says(asked: Asked<'_>) -> Asked<'_> {
    let asked = asked.field("X-Forwarded-For", CLIENT);
    asked.field("X-Forwarded-Proto", "https")
}

#[test]
fn e2_a_trusted_proxys_client_is_the_client_as_soon_as_the_settings_trust_it() {
    let world = World::start(ROUTE);
    let by_proxy = || says(world.get(HOST, "/").from(PROXY));
    let stranger = || says(world.get(HOST, "/").from("127.0.0.3"));
    let edited = |trusted: &str, policies: &str| {
        world.edit(&format!(
            "[proxies]\ntrusted = [{trusted}]\n{ROUTE}{policies}"
        ));
    };
    let alone = |address: &str| format!("for={address};proto=https;host=\"{HOST}\"");
    let before = world.until_status(by_proxy, 200);
    assert_eq!(
        before.seen("x-forwarded-for").as_deref(),
        Some(PROXY),
        "{before}"
    );
    assert_eq!(before.seen("forwarded"), Some(alone(PROXY)), "{before}");
    edited("\"127.0.0.2\"", "");
    let chain = format!("{CLIENT}, {PROXY}");
    let trusted = world.until("the proxy to be trusted", by_proxy, |a| {
        a.seen("x-forwarded-for").as_ref() == Some(&chain)
    });
    let forwarded = format!("{}, for={PROXY}", alone(CLIENT));
    assert_eq!(trusted.seen("forwarded"), Some(forwarded), "{trusted}");
    assert_eq!(
        trusted.seen("x-real-ip").as_deref(),
        Some(CLIENT),
        "{trusted}"
    );
    assert_eq!(trusted.seen("x-forwarded-proto").as_deref(), Some("https"));
    let other = stranger().send().unwrap();
    assert_eq!(
        other.seen("x-forwarded-for").as_deref(),
        Some("127.0.0.3"),
        "{other}"
    );
    // Policies are about the client, too, and so is the access log.
    edited("\"127.0.0.2\"", "deny = [\"192.0.2.1\"]\n");
    world.until_status(by_proxy, 403);
    assert_eq!(stranger().send().unwrap().status, 200);
    crate::figures::until_logged(&world.daemon, |line| {
        line["client"] == CLIENT && line["status"] == 403
    });
    edited("", "");
    world.until("the proxy to be a stranger again", by_proxy, |a| {
        a.status == 200 && a.seen("x-forwarded-for").as_deref() == Some(PROXY)
    });
}

#[test]
fn e2_a_balancers_proxy_protocol_is_spoken_as_soon_as_the_settings_name_it() {
    const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb],
    ]
    .concat();
    let world = World::start(ROUTE);
    let named = "proxy_protocol = [\"127.0.0.2\"]\n";
    let ask = || world.get(HOST, "/").from(PROXY);
    let plain = world.until_status(ask, 200);
    assert_eq!(plain.seen("x-forwarded-for").as_deref(), Some(PROXY));
    assert!(ask().after(V1).send().is_err(), "nobody looks for a header");
    // A connection that was there before goes on.
    let mut there = world.edge.connect(HOST, PROXY, b"").unwrap();
    assert_eq!(world.get(HOST, "/").over(&mut there).unwrap().status, 200);
    world.edit(&format!("{named}{ROUTE}"));
    for first in [V1, &v2] {
        let answer = world.until(
            "the header to be read",
            || ask().after(first),
            |a| a.seen("x-forwarded-for").as_deref() == Some(CLIENT),
        );
        let forwarded = format!("for={CLIENT};proto=https;host=\"{HOST}\"");
        assert_eq!(answer.seen("forwarded"), Some(forwarded), "{answer}");
        assert_eq!(
            answer.seen("x-real-ip").as_deref(),
            Some(CLIENT),
            "{answer}"
        );
    }
    assert!(ask().send().is_err(), "the balancer says who it speaks for");
    // Whoever is not named is nobody's word.
    let other = world.get(HOST, "/").from("127.0.0.3");
    let other = other.send().unwrap();
    assert_eq!(
        other.seen("x-forwarded-for").as_deref(),
        Some("127.0.0.3"),
        "{other}"
    );
    let forged = world.get(HOST, "/").from("127.0.0.3").after(V1);
    assert!(forged.send().is_err(), "its header is none");
    // Policies are about the client that is named.
    world.edit(&format!("{named}{ROUTE}deny = [\"192.0.2.0/24\"]\n"));
    world.until_status(|| ask().after(V1), 403);
    let again = world.get(HOST, "/").over(&mut there).unwrap();
    assert_eq!(
        again.seen("x-forwarded-for").as_deref(),
        Some(PROXY),
        "{again}"
    );
    world.edit(ROUTE);
    world.until_status(ask, 200);
    assert!(ask().after(V1).send().is_err());
}

#[test]
fn e2_an_upstream_is_spoken_to_by_http2_as_soon_as_the_settings_say_so_and_no_request_is_lost() {
    let h2c = App::h2c();
    let world = World::start(ROUTE);
    let over_h2c = ROUTE.replace("http://APP", &format!("h2c://{}", h2c.address));
    world.until_served(HOST);
    // One client that goes on through all of it.
    let mut connection = world.edge.connect(HOST, "127.0.0.1", b"").unwrap();
    for (settings, version) in [
        (ROUTE, "HTTP/1.1"),
        (&over_h2c, "HTTP/2.0"),
        (ROUTE, "HTTP/1.1"),
        (&over_h2c, "HTTP/2.0"),
    ] {
        world.edit(settings);
        let answer = crate::world::until(version, || {
            let asked = world.get(HOST, "/a?b=c").post(vec![b'x'; 100_000]);
            let answer = asked.field("TE", "trailers").over(&mut connection).unwrap();
            assert_eq!(answer.status, 200, "{answer}");
            let is_it = answer.text().lines().next().unwrap().ends_with(version);
            is_it.then_some(answer).ok_or(String::new())
        });
        assert!(answer.saw("body: 100000"), "{answer}");
        let path = match version {
            "HTTP/1.1" => "POST /a?b=c HTTP/1.1".to_owned(),
            _ => "POST /a?b=c HTTP/2.0".to_owned(),
        };
        assert!(answer.saw(&path), "{answer}");
        for line in [
            "x-forwarded-for: 127.0.0.1",
            "x-real-ip: 127.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-host: example.com",
            "forwarded: for=127.0.0.1;proto=https;host=\"example.com\"",
        ] {
            assert!(answer.saw(line), "{line} in {answer}");
        }
        let (id, parent) = (answer.seen("x-request-id"), answer.seen("traceparent"));
        assert_eq!(id.unwrap(), answer.field("x-request-id"));
        assert!(parent.unwrap().starts_with("00-"));
    }
}
