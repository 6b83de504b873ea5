//! E5: a `[[route]]` to a name with two addresses, each asked by the route's own check: who fails it so often in a row is left
//! out, no request fails meanwhile, and who answers well again comes back.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::port::free_port;
use crate::world::{World, until};

const HOST: &str = "example.com";
const NAME: &str = "apps.test";
const CHECK: &str = "/healthz";
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// So many requests that one of two who both get them gets some: by chance none would be once in 2^200.
const MANY: usize = 200;

/// How it answers.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Manner {
    /// Everything well.
    Well,
    /// Its check with a 500, and requests well.
    Sick,
    /// Takes requests, and its check, and says nothing.
    Hung,
}

/// One of those who answer for the name; it ends with its value.
struct Answering {
    address: SocketAddr,
    seen: Arc<Seen>,
    _serving: Runtime,
}

#[derive(Default)]
struct Seen {
    manner: AtomicU8,
    /// Since the manner is what it is.
    checks: AtomicU64,
    requests: AtomicU64,
}

impl Answering {
    fn at(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let seen = Arc::new(Seen::default());
        let for_all = seen.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = for_all.clone();
                let service =
                    service_fn(move |request| answer(address.ip(), seen.clone(), request));
                let server = hyper::server::conn::http1::Builder::new();
                let connection = server.serve_connection(TokioIo::new(stream), service);
                // A client that went away is no fault of its own.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self {
            address,
            seen,
            _serving: runtime,
        }
    }

    fn is(&self, manner: Manner) {
        self.seen.manner.store(manner as u8, SeqCst);
        self.seen.checks.store(0, SeqCst);
    }

    fn requests(&self) -> u64 {
        self.seen.requests.load(SeqCst)
    }
}

/// It says where it is.
async fn answer(
    address: IpAddr,
    seen: Arc<Seen>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_check = request.uri().path() == CHECK;
    let manner = seen.manner.load(SeqCst);
    let count = if is_check {
        &seen.checks
    } else {
        &seen.requests
    };
    count.fetch_add(1, SeqCst);
    if manner == Manner::Hung as u8 {
        std::future::pending::<()>().await;
    }
    let is_bad = is_check && manner == Manner::Sick as u8;
    let answer = Response::builder().status(if is_bad { 500 } else { 200 });
    Ok(answer.body(Full::new(address.to_string().into())).unwrap())
}

/// The daemon, and the two behind the name.
struct Place {
    world: World,
    both: [Answering; 2],
    /// Settings in which the route has its check, and the same without.
    checked: String,
    unchecked: String,
}

impl Place {
    /// Both of them are well, and get requests. An address is left out after so many bad answers.
    fn start(unhealthy_after: u32) -> Self {
        let port = free_port(ADDRESSES[0]);
        let both = ADDRESSES.map(|address| Answering::at((address, port).into()));
        let hosts: Vec<_> = ADDRESSES.map(|at| format!("{at} {NAME}\n")).into();
        let unchecked = format!(
            "[health]\ninterval = \"200ms\"\nunhealthy_after = {unhealthy_after}\n\
             [[route]]\nhost = \"{HOST}\"\nTLS\nupstream = \"http://{NAME}:{port}\"\n"
        );
        let checked = format!("{unchecked}health = \"{CHECK}\"\n");
        let world = World::start_knowing(&hosts.concat(), &checked);
        world.until_status(|| world.get(HOST, "/"), 200);
        let place = Self {
            world,
            both,
            checked,
            unchecked,
        };
        place.until_both_serve();
        place
    }

    /// One request, which must not fail: who answered it.
    #[track_caller]
    fn asked(&self) -> String {
        let answer = self.world.get(HOST, "/").send().unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        answer.text()
    }

    #[track_caller]
    fn until_both_serve(&self) {
        let mut seen = std::collections::BTreeSet::new();
        until("both to answer", || {
            seen.insert(self.asked());
            match (seen.len(), self.left_out()) {
                (2, out) if out.is_empty() => Ok(()),
                (_, out) => Err(format!("{seen:?} answered, left out is {out:?}")),
            }
        });
    }

    /// How many of many requests, none of which fails, come to one of the two.
    #[track_caller]
    fn coming_to(&self, one: &Answering) -> u64 {
        let before = one.requests();
        // Over one connection: so many new ones of one address would be refused.
        let mut connection = self.world.edge.connect(HOST, "127.0.0.1", b"").unwrap();
        for _ in 0..MANY {
            let answer = self.world.get(HOST, "/").over(&mut connection).unwrap();
            assert_eq!(answer.status, 200, "{answer}");
        }
        one.requests() - before
    }

    /// Waits until of many requests, none of which fails, none comes to it. Mostly the first time: on a machine that is too
    /// slow even for its check the other is left out as well for a moment.
    #[track_caller]
    fn until_spared(&self, one: &Answering) {
        until("requests to spare it", || match self.coming_to(one) {
            0 => Ok(()),
            some => Err(format!("{some} of {MANY} came to it")),
        });
    }

    /// Which addresses `status --routes` tells as left out; it tells of both.
    #[track_caller]
    fn left_out(&self) -> Vec<String> {
        let told = self.world.json(&["status", "--routes"]);
        let routes = told["routes"].as_array().unwrap();
        let route = routes.iter().find(|route| route["host"] == HOST);
        let targets = route.unwrap()["targets"].as_array().unwrap();
        let address = |target: &Value| target["address"].as_str().unwrap().to_owned();
        let mut all: Vec<_> = targets.iter().map(address).collect();
        all.sort();
        assert_eq!(all, self.both.each_ref().map(|one| one.address.to_string()));
        let out = targets.iter().filter(|target| target["left_out"] == true);
        out.map(address).collect()
    }

    /// Asks on until it is left out; no request fails meanwhile.
    #[track_caller]
    fn until_left_out(&self, one: &Answering) {
        until("it to be left out", || {
            let by = self.asked();
            match self.left_out() {
                out if out == [one.address.to_string()] => Ok(()),
                out => Err(format!("{by} answered, left out is {out:?}")),
            }
        });
    }
}

#[test]
fn e5_an_address_that_fails_its_check_is_left_out_without_a_failed_request_and_comes_back() {
    let place = Place::start(3);
    let [sick, well] = &place.both;
    sick.is(Manner::Sick);
    place.until_left_out(sick);
    assert!(sick.seen.checks.load(SeqCst) >= 3, "its threshold");
    place.until_spared(sick);
    let said = place.world.cli(&["status", "--routes"]);
    let row = said
        .lines()
        .find(|line| line.contains(&format!(" {} ", sick.address)));
    assert!(row.is_some_and(|row| row.contains("(left out)")), "{said}");
    let why = format!("{}: left out of traffic since ", sick.address);
    let why = said.lines().find(|line| line.starts_with(&why));
    assert!(
        why.is_some_and(|why| why.contains("its check fails: 500")),
        "{said}"
    );
    // The saboteur: without its check, the same look finds requests at the sick one.
    place.world.edit(&place.unchecked);
    place.until_both_serve();
    assert_ne!(place.coming_to(sick), 0);
    place.world.edit(&place.checked);
    place.until_left_out(sick);
    // If nobody is well, a bad one is better than none.
    well.is(Manner::Sick);
    place.until_both_serve();
    well.is(Manner::Well);
    place.until_left_out(sick);
    sick.is(Manner::Well);
    place.until_both_serve();
    assert_ne!(place.coming_to(sick), 0);
}

/// One request at a time, so that never three of them speak against it: it is the check alone that finds it, and what waits
/// for it then goes to the other.
#[test]
fn e5_an_address_that_hangs_is_left_out_and_the_read_that_waits_for_it_goes_to_the_other() {
    let place = Place::start(2);
    let [hung, _] = &place.both;
    // Which of the two a request goes to is chance: until one has come to it before its check had found it.
    until("a request that waits for it", || {
        let before = hung.requests();
        hung.is(Manner::Hung);
        place.until_left_out(hung);
        let waited = hung.requests() - before;
        place.until_spared(hung);
        hung.is(Manner::Well);
        place.until_both_serve();
        match waited {
            0 => Err("none did".to_owned()),
            _ => Ok(()),
        }
    });
}
