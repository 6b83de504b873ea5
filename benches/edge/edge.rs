//! What `benches/edge/run` measures with: the edge alone in front of one address, and the loads that no tool makes.
//!
//! `serve`: the data plane with all its counting. `new`: one TLS connection a request, never resumed. `idle`: connections
//! that made one request and stay. `lookup`: a route found among so many hosts.
use std::error::Error;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use freehold::proxy::{
    Address, Edge, Limits, Listeners, Route, RouteSpec, RouteTable, Snapshot, Target, Upstream,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

const NAME: &str = "localhost";
const REQUEST: &[u8] =
    b"GET /1k HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", https, upstream, pem] => runtime.block_on(serve(https.parse()?, upstream.parse()?, pem)),
        ["new", address, pem, connections, seconds] => {
            runtime.block_on(new(address.parse()?, pem, connections.parse()?, seconds.parse()?))
        }
        ["idle", address, pem, connections] => runtime.block_on(idle(address.parse()?, pem, connections.parse()?)),
        ["lookup", hosts] => lookup(hosts.parse()?),
        _ => Err("usage: serve HTTPS UPSTREAM PEM | new ADDRESS PEM CONNECTIONS SECONDS | idle ADDRESS PEM CONNECTIONS | lookup HOSTS".into()),
    }
}

async fn serve(https: SocketAddr, upstream: SocketAddr, pem: &str) -> Outcome {
    let chain = CertificateDer::pem_file_iter(pem)?.collect::<Result<Vec<_>, _>>()?;
    let key =
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_file(pem)?)?;
    let target = Target::new("origin", Address::Tcp(upstream));
    let snapshot = Snapshot {
        routes: RouteTable::new([route(NAME, vec![target])]),
        certificates: [(NAME.into(), Arc::new(CertifiedKey::new(chain, key)))].into(),
        ..Snapshot::default()
    };
    let listeners = Listeners {
        http: vec![],
        https: vec![TcpListener::bind(https)?],
    };
    let limits = Limits {
        connections_per_address: 20_000,
        new_connections_per_address: u32::MAX,
        ..Limits::default()
    };
    let (report, _failures) = tokio::sync::mpsc::channel(1);
    let _edge = Edge::start(listeners, Arc::new(snapshot), limits, report)?;
    std::future::pending().await
}

fn route(host: &str, targets: Vec<Arc<Target>>) -> Arc<Route> {
    let spec = RouteSpec {
        key: host.into(),
        group: host.into(),
        host: host.into(),
        path_prefix: "/".into(),
        upstream: Upstream::Targets(targets),
        redirect_http: true,
        ..RouteSpec::default()
    };
    Route::new(spec, &Snapshot::default())
}

/// The time to find one route, drawn so that no two in a row are likely the same.
fn lookup(hosts: usize) -> Outcome {
    const DRAWN: usize = 4_000_000;
    let names: Vec<String> = (0..hosts.max(1))
        .map(|n| format!("app-{n}.example.com"))
        .collect();
    let table = RouteTable::new(names.iter().map(|name| route(name, vec![])));
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        &*names[(seed % names.len() as u64) as usize]
    };
    // Drawing has a cost of its own, among many names above all: it is taken out.
    let mut timed = |find: bool| {
        let began = Instant::now();
        let mut found = 0;
        for _ in 0..DRAWN {
            let name = draw();
            found += if find {
                usize::from(table.find(name, "/1k").is_some())
            } else {
                usize::from(std::hint::black_box(name).ends_with("m"))
            };
        }
        (began.elapsed(), std::hint::black_box(found) == DRAWN)
    };
    timed(true);
    let mut taken = Vec::new();
    for _ in 0..7 {
        let ((with, all_found), (without, _)) = (timed(true), timed(false));
        if !all_found {
            return Err("a route was not found".into());
        }
        taken.push(with.saturating_sub(without).as_nanos() as f64 / DRAWN as f64);
    }
    taken.sort_by(f64::total_cmp);
    let ns = taken[taken.len() / 2];
    println!("{{\"hosts\": {hosts}, \"ns\": {ns:.1}}}");
    Ok(())
}

fn connector(pem: &str) -> Result<TlsConnector, Box<dyn Error + Send + Sync>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(pem)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One connection, one request, its answer of 1 KB read whole.
async fn ask(
    connector: &TlsConnector,
    address: SocketAddr,
) -> Result<TlsStream<TcpStream>, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector
        .connect(ServerName::try_from(NAME)?, stream)
        .await?;
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::with_capacity(4_096);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the answer was cut short".into());
        }
        if let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            && answer.len() == head + 4 + 1_024
        {
            return if answer.starts_with(b"HTTP/1.1 200") {
                Ok(stream)
            } else {
                Err("the answer is not 200".into())
            };
        }
    }
}

async fn new(address: SocketAddr, pem: &str, connections: usize, seconds: f64) -> Outcome {
    let (good, bad, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let connector = connector(pem)?;
    let began = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (connector, good, bad, stop) =
            (connector.clone(), good.clone(), bad.clone(), stop.clone());
        asking.spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Relaxed) {
                let began = Instant::now();
                match ask(&connector, address).await {
                    Ok(stream) => {
                        latencies.push(began.elapsed().as_micros() as u64);
                        good.fetch_add(1, Relaxed);
                        drop(stream);
                    }
                    Err(_) => {
                        bad.fetch_add(1, Relaxed);
                    }
                }
            }
            latencies
        });
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Relaxed);
    let mut latencies: Vec<u64> = asking.join_all().await.into_iter().flatten().collect();
    latencies.sort_unstable();
    let quantile = |share: f64| {
        latencies
            .get((latencies.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(0)
    };
    println!(
        "{{\"requests\": {}, \"failures\": {}, \"seconds\": {:.3}, \"p50_us\": {}, \"p99_us\": {}, \"max_us\": {}}}",
        good.load(Relaxed),
        bad.load(Relaxed),
        began.elapsed().as_secs_f64(),
        quantile(0.5),
        quantile(0.99),
        latencies.last().copied().unwrap_or(0)
    );
    Ok(())
}

async fn idle(address: SocketAddr, pem: &str, connections: usize) -> Outcome {
    let connector = connector(pem)?;
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        held.push(ask(&connector, address).await?);
    }
    println!("{}", held.len());
    std::io::stdout().flush()?;
    // Held until the script closes our input.
    let mut byte = [0];
    tokio::io::stdin()
        .read_exact(&mut byte)
        .await
        .map(|_| ())
        .or(Ok(()))
}
