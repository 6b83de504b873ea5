//! What `benches/abuse/run` attacks with, and whom: the edge alone before its apps, a blank listener, a bystander.
//!
//! `serve`: the edge with its default limits, save for those that it is given. `origin`: an app behind it; the downloads of slow
//! readers come from one of their own, so that its work for them is not taken for the edge's, and one speaks HTTP/2. `blank`:
//! answers handshakes, and throws away what comes. `attack`: one kind of abuse for some seconds. `bystander`: asks at a fixed
//! rate and tells how long it waited.
mod attacks;
mod attacks_http2;
mod attacks_sizes;
mod bystander;
mod origin;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use freehold::base::clock::UnixMs;
use freehold::base::log_levels;
use freehold::proxy::{
    Address, Edge, Limits, Listeners, Protocol, Route, RouteSpec, RouteTable, Snapshot, Target,
    Traits, Upstream,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

const NAME: &str = "localhost";
/// How often the edge is asked how many connections it has.
const LOOK: Duration = Duration::from_millis(50);
/// The app there is paused for longer than any attack lasts.
const HELD: &str = "/held";
const PAUSED: Duration = Duration::from_secs(3_600);

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()[..]
    {
        ["serve", https, app, downloads, h2c, pem, limits] => {
            let apps = [
                ("/", app.parse()?, Protocol::Http1),
                ("/10m", downloads.parse()?, Protocol::Http1),
                ("/app", h2c.parse()?, Protocol::H2c),
            ];
            runtime.block_on(serve(https.parse()?, apps, pem, limited(limits)?))
        }
        ["origin", address, protocol] => {
            runtime.block_on(origin::serve(address.parse()?, protocol == "h2c"))
        }
        ["blank", address, pem] => runtime.block_on(blank(address.parse()?, pem)),
        ["attack", kind, whom, address, pem, seconds, size, first, step] => {
            let mut door = Door::new(address.parse()?, pem)?;
            door.blank = whom == "blank";
            if kind.starts_with("slow-readers") {
                door.takes = Some(4096);
            }
            door.of_one = OF_ONE.contains(&kind);
            let seconds = Duration::from_secs_f64(seconds.parse()?);
            let part = attacks::Part {
                size: size.parse()?,
                first: first.parse()?,
                step: step.parse()?,
            };
            runtime.block_on(attacks::attack(kind, door, seconds, part))
        }
        ["bystander", address, pem, path, rate, fresh, seconds, patience] => {
            let asks = bystander::Asks {
                path: path.into(),
                rate: rate.parse()?,
                every_fresh: fresh.parse()?,
                seconds: seconds.parse()?,
                patience: Duration::from_secs_f64(patience.parse()?),
            };
            runtime.block_on(bystander::ask(Door::new(address.parse()?, pem)?, asks))
        }
        _ => Err(
            "usage: serve HTTPS APP DOWNLOADS H2C PEM LIMITS | origin ADDRESS http1|h2c | blank ADDRESS PEM | attack KIND edge|blank ADDRESS PEM SECONDS SIZE FIRST STEP | bystander ADDRESS PEM PATH RATE EVERY_FRESH SECONDS PATIENCE"
                .into(),
        ),
    }
}

/// The defaults, but for what a JSON object names.
fn limited(json: &str) -> Result<Limits, Box<dyn Error + Send + Sync>> {
    let mut limits = Limits::default();
    let named: BTreeMap<String, u32> = serde_json::from_str(json)?;
    for (name, value) in named {
        let ms = Duration::from_millis(value.into());
        match name.as_str() {
            "client_header_ms" => limits.client_header = ms,
            "client_idle_ms" => limits.client_idle = ms,
            "connections" => limits.connections = value,
            "connections_per_address" => limits.connections_per_address = value,
            "new_connections_per_address" => limits.new_connections_per_address = value,
            "body_bytes" => limits.body_bytes = value.into(),
            "held" => limits.held = value,
            _ => return Err(format!("no limit is called {name}").into()),
        }
    }
    Ok(limits)
}

/// The edge, until its standard input ends; then it tells what it refused, and what it had to say of it.
async fn serve(
    https: SocketAddr,
    apps: [(&str, SocketAddr, Protocol); 3],
    pem: &str,
    limits: Limits,
) -> Outcome {
    let log = tracing_subscriber::registry().with(EnvFilter::new(log_levels::DEFAULT));
    tracing::subscriber::set_global_default(log.with(Lines))?;
    // As in the daemon, a panic is told by the edge and not by each panic.
    std::panic::set_hook(Box::new(|_| {}));
    let (chain, key) = identity(pem)?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    let now = UnixMs::now();
    let paused = Upstream::Paused {
        since: now,
        until: now.plus(PAUSED),
    };
    let of_apps = apps.map(|(path, address, protocol)| {
        let traits = Traits {
            protocol,
            ..Traits::default()
        };
        let target = Target::with(path, Address::Tcp(address), traits);
        (path, Upstream::Targets(vec![target]))
    });
    let routes = of_apps.into_iter().chain([(HELD, paused)]);
    // Each is an app of its own.
    let routes = routes.map(|(path, upstream)| {
        let spec = RouteSpec {
            key: path.into(),
            group: path.into(),
            host: NAME.into(),
            path_prefix: path.into(),
            upstream,
            ..RouteSpec::default()
        };
        Route::new(spec, &Snapshot::default())
    });
    let snapshot = Snapshot {
        routes: RouteTable::new(routes),
        certificates: [(NAME.into(), Arc::new(CertifiedKey::new(chain, key)))].into(),
        ..Snapshot::default()
    };
    let listeners = Listeners {
        http: vec![],
        https: vec![std::net::TcpListener::bind(https)?],
    };
    let (report, _failures) = tokio::sync::mpsc::channel(1);
    let edge = Edge::start(listeners, Arc::new(snapshot), limits, report)?;
    println!("ready");
    let (mut most, mut most_held) = (0, 0);
    let mut nothing = Vec::new();
    let mut stdin = tokio::io::stdin();
    let over = stdin.read_to_end(&mut nothing);
    let looking = async {
        loop {
            let stats = edge.stats();
            most = most.max(stats.connections);
            most_held = most_held.max(stats.held);
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        over = over => drop(over?),
        () = looking => {}
    }
    let stats = edge.stats();
    let refused: BTreeMap<_, _> = stats
        .refusals
        .iter()
        .map(|(why, count)| (why.name(), count))
        .collect();
    let failed: BTreeMap<_, _> = stats
        .routes
        .iter()
        .map(|(key, reading)| (&**key, reading.failures))
        .collect();
    let told = serde_json::json!({
        "refused": refused,
        "failed": failed,
        "most_connections": most,
        "most_held": most_held,
        "log_lines": LINES.load(Relaxed),
    });
    println!("{told}");
    Ok(())
}

static LINES: AtomicU64 = AtomicU64::new(0);

/// Counts what the daemon's log would have.
struct Lines;

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        LINES.fetch_add(1, Relaxed);
    }
}

async fn blank(address: SocketAddr, pem: &str) -> Outcome {
    let (chain, key) = identity(pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut piece = [0; 16 * 1024];
            while matches!(stream.read(&mut piece).await, Ok(1..)) {}
        });
    }
}

fn identity(
    pem: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Box<dyn Error + Send + Sync>> {
    let chain = CertificateDer::pem_file_iter(pem)?.collect::<Result<Vec<_>, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(pem)?))
}

/// Attacks that come from a single address.
const OF_ONE: [&str; 4] = ["too-many", "too-fast", "half-open", "too-many-streams"];

/// Where to connect to, by TLS or as it is.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    /// Nothing is answered there.
    blank: bool,
    /// The system takes no more than this for a client that does not read.
    takes: Option<u32>,
    /// All come from one address.
    of_one: bool,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Door {
    fn new(address: SocketAddr, pem: &str) -> Result<Door, Box<dyn Error + Send + Sync>> {
        let connector = |protocol: &str| -> Result<_, Box<dyn Error + Send + Sync>> {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(pem)?)?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.into()];
            config.resumption = rustls::client::Resumption::disabled();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Door {
            address,
            blank: false,
            takes: None,
            of_one: false,
            http1: connector("http/1.1")?,
            http2: connector("h2")?,
        })
    }

    /// A connection from the address of this number, or from the one that all have.
    async fn plain(&self, from: u32) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.takes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let source = match self.of_one {
            true => Ipv4Addr::new(127, 201, 0, 1),
            false => address(from),
        };
        socket.bind((IpAddr::V4(source), 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn tls(&self, from: u32, http2: bool) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = if http2 { &self.http2 } else { &self.http1 };
        let name = ServerName::try_from(NAME).map_err(std::io::Error::other)?;
        connector.connect(name, self.plain(from).await?).await
    }
}

/// Spread over all of 127.1.0.0 to 127.200.255.255; six million before one comes again.
fn address(number: u32) -> Ipv4Addr {
    if number == bystander::HOME {
        return Ipv4Addr::new(127, 250, 0, 1);
    }
    let part = |by: u32, of: u32| (number / by % of) as u8;
    Ipv4Addr::new(127, 1 + part(1, 200), part(200, 256), 1 + part(51_200, 250))
}
