//! An edge with certificates of a test authority, and the routes a test wants.
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freehold::proxy::{
    Address, Edge, Limits, Listeners, Protocol, Reading, Route, RouteSpec, RouteTable, Snapshot,
    Target, Traits, Trouble, Upstream,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::sign::CertifiedKey;
use tokio::sync::mpsc;

/// How long anything here may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Rig {
    pub edge: Edge,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub failures: mpsc::Receiver<Trouble>,
    authority: Arc<Authority>,
}

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a test wants published.
#[derive(Default)]
pub struct World {
    pub routes: Vec<RouteSpec>,
    pub default_route: Option<RouteSpec>,
    pub without_certificate: Vec<&'static str>,
    pub challenges: Vec<(&'static str, &'static str)>,
}

impl World {
    pub fn of(routes: impl IntoIterator<Item = RouteSpec>) -> World {
        World {
            routes: routes.into_iter().collect(),
            ..World::default()
        }
    }
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    pub fn root(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.issuer.der().clone()
    }

    fn certify(&self, name: &str) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let der = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }
}

impl Rig {
    pub fn start(world: World) -> Rig {
        Rig::with_limits(
            world,
            Limits {
                workers: Some(2),
                // A test comes from one address, as fast as it can.
                new_connections_per_address: u32::MAX,
                ..Limits::default()
            },
        )
    }

    pub fn with_limits(world: World, limits: Limits) -> Rig {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        Rig::over((bind(), bind()), world, limits)
    }

    /// An edge whose kernel takes next to nothing ahead of what clients read.
    pub fn narrow(world: World, limits: Limits) -> Rig {
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            rustix::net::sockopt::set_socket_send_buffer_size(&listener, 4_096).unwrap();
            listener
        };
        Rig::over((bind(), bind()), world, limits)
    }

    fn over((http, https): (TcpListener, TcpListener), world: World, limits: Limits) -> Rig {
        let (http_address, https_address) =
            (http.local_addr().unwrap(), https.local_addr().unwrap());
        let authority = Arc::new(Authority::new());
        let first = snapshot(&authority, world, &Snapshot::default());
        let (report, failures) = mpsc::channel(16);
        let listeners = Listeners {
            http: vec![http],
            https: vec![https],
        };
        let edge = Edge::start(listeners, Arc::new(first), limits, report).unwrap();
        Rig {
            edge,
            http: http_address,
            https: https_address,
            failures,
            authority,
        }
    }

    pub fn publish(&self, world: World) {
        let next = snapshot(&self.authority, world, &self.edge.snapshot());
        self.edge.publish(Arc::new(next));
    }

    pub fn authority(&self) -> Arc<Authority> {
        self.authority.clone()
    }

    pub fn route_reading(&self, key: &str) -> Reading {
        self.edge
            .stats()
            .routes
            .into_iter()
            .find(|(found, _)| &**found == key)
            .unwrap()
            .1
    }
}

fn snapshot(authority: &Authority, world: World, previous: &Snapshot) -> Snapshot {
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    let mut next = Snapshot {
        generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        ..Snapshot::default()
    };
    for route in &world.routes {
        if world.without_certificate.contains(&&*route.host) {
            continue;
        }
        let certificate = previous.certificates.get(&route.host).cloned();
        let certificate = certificate.unwrap_or_else(|| authority.certify(&route.host));
        next.certificates.insert(route.host.clone(), certificate);
    }
    next.default_certificate = Some(
        previous
            .default_certificate
            .clone()
            .unwrap_or_else(|| authority.certify("127.0.0.1")),
    );
    next.default_route = world.default_route.map(|spec| Route::new(spec, previous));
    next.routes = RouteTable::new(
        world
            .routes
            .into_iter()
            .map(|spec| Route::new(spec, previous)),
    );
    next.challenges = world
        .challenges
        .into_iter()
        .map(|(token, answer)| (token.into(), answer.into()))
        .collect();
    next
}

pub fn target(address: SocketAddr) -> Arc<Target> {
    Target::new(format!("t:{address}"), Address::Tcp(address))
}

/// A target that is spoken to over HTTP/2.
pub fn h2c_target(address: SocketAddr) -> Arc<Target> {
    let traits = Traits {
        protocol: Protocol::H2c,
        ..Traits::default()
    };
    Target::with(format!("t:{address}"), Address::Tcp(address), traits)
}

/// `host` or `host/path`, to these targets.
pub fn route(place: &str, targets: &[&Arc<Target>]) -> RouteSpec {
    let (host, path) = place
        .split_once('/')
        .map_or((place, "/".to_owned()), |(host, path)| {
            (host, format!("/{path}"))
        });
    RouteSpec {
        key: place.into(),
        group: host.into(),
        host: host.into(),
        path_prefix: path.into(),
        upstream: Upstream::Targets(targets.iter().map(|target| (*target).clone()).collect()),
        redirect_http: true,
        ..RouteSpec::default()
    }
}

pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(
            begun.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
