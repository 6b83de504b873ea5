//! What `benches/abuse/run` attacks with, and whom: the edge alone before an app, a blank listener, a bystander.
//!
//! `serve`: the edge with its default limits. `origin`: an app behind it; the downloads of slow readers come from one of their
//! own, so that its work for them is not taken for the edge's. `blank`: answers handshakes, and throws away what comes.
//! `attack`: one kind of abuse for some seconds. `bystander`: asks at a fixed rate and tells how long it waited.
mod attacks;
mod bystander;
mod origin;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use freehold::proxy::{
    Address, Edge, Limits, Listeners, Route, RouteSpec, RouteTable, Snapshot, Target, Upstream,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

const NAME: &str = "localhost";

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
        ["serve", https, upstream, downloads, pem] => {
            let apps = [("/", upstream.parse()?), ("/10m", downloads.parse()?)];
            runtime.block_on(serve(https.parse()?, apps, pem))
        }
        ["origin", address] => runtime.block_on(origin::serve(address.parse()?)),
        ["blank", address, pem] => runtime.block_on(blank(address.parse()?, pem)),
        ["attack", kind, whom, address, pem, seconds, size] => {
            let mut door = Door::new(address.parse()?, pem)?;
            door.blank = whom == "blank";
            if kind == "slow-readers" {
                door.takes = Some(4096);
            }
            let seconds = Duration::from_secs_f64(seconds.parse()?);
            runtime.block_on(attacks::attack(kind, door, seconds, size.parse()?))
        }
        ["bystander", address, pem, rate, seconds] => {
            let door = Door::new(address.parse()?, pem)?;
            runtime.block_on(bystander::ask(door, rate.parse()?, seconds.parse()?))
        }
        _ => Err(
            "usage: serve HTTPS UPSTREAM DOWNLOADS PEM | origin ADDRESS | blank ADDRESS PEM | attack KIND edge|blank ADDRESS PEM SECONDS SIZE | bystander ADDRESS PEM RATE SECONDS"
                .into(),
        ),
    }
}

/// The edge, until its standard input ends; then it tells what it refused.
async fn serve(https: SocketAddr, apps: [(&str, SocketAddr); 2], pem: &str) -> Outcome {
    let (chain, key) = identity(pem)?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    let routes = apps.map(|(path, address)| {
        let spec = RouteSpec {
            key: path.into(),
            group: NAME.into(),
            host: NAME.into(),
            path_prefix: path.into(),
            upstream: Upstream::Targets(vec![Target::new("origin", Address::Tcp(address))]),
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
    let edge = Edge::start(listeners, Arc::new(snapshot), Limits::default(), report)?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    println!("{:?}", edge.stats().refusals);
    Ok(())
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

/// Where to connect to, by TLS or as it is.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    /// Nothing is answered there.
    blank: bool,
    /// The system takes no more than this for a client that does not read.
    takes: Option<u32>,
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
            http1: connector("http/1.1")?,
            http2: connector("h2")?,
        })
    }

    /// A connection from one of many addresses, by number.
    async fn plain(&self, from: u32) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.takes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let [_, _, high, low] = (from % 60_000 + 1).to_be_bytes();
        let source = IpAddr::V4(Ipv4Addr::new(127, 1, high, low));
        socket.bind((source, 0).into())?;
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
