//! Open-loop load: a request leaves at its time whether or not the earlier
//! ones have come back, and every one is accounted for.
//!
//! A socket error, a wrong status or body, a cut body and a late answer are
//! each a failure with its own line; nothing is retried (wrk and hey hide
//! reconnects).

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::pem::PemObject;

use super::edge::Edge;

/// An answer later than this is a failure.
const LATE: Duration = Duration::from_secs(10);

/// Load that runs until [`Load::finish`].
pub struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: JoinHandle<Report>,
}

/// While it runs.
#[derive(Default)]
struct Counts {
    sent: AtomicUsize,
    over: AtomicUsize,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sent: usize,
    pub good: usize,
    /// Each failure's sentence and how often.
    pub failures: BTreeMap<String, usize>,
    pub slowest: Duration,
    /// How long each took.
    pub took: Vec<Duration>,
    /// Which `X-Instance` answered, and how often.
    pub instances: BTreeMap<String, usize>,
}

impl Load {
    /// Starts `rate` requests a second of `url`; `good` judges each answer's
    /// body, whose status must be 200.
    pub fn start(edge: &Edge, url: &str, rate: u32, good: fn(&str) -> bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<Counts> = Arc::default();
        let (edge, url, until) = (edge.clone(), url.to_owned(), stop.clone());
        let counted = counts.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(drive(&edge, &url, rate, good, &until, &counted))
        });
        Self {
            stop,
            counts,
            thread,
        }
    }

    /// How many requests were sent so far.
    pub fn sent(&self) -> usize {
        self.counts.sent.load(Ordering::SeqCst)
    }

    /// How many of them have no answer yet.
    pub fn under_way(&self) -> usize {
        let over = self.counts.over.load(Ordering::SeqCst);
        self.sent() - over
    }

    /// Stops sending, waits for what is under way, and reports.
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Report {
    /// Panics unless every request was answered well, and there were some.
    pub fn assert_flawless(&self, least: usize) {
        assert!(self.sent >= least, "only {} requests were sent", self.sent);
        assert!(
            self.failures.is_empty() && self.good == self.sent,
            "{} of {} requests went well; failures: {:#?}",
            self.good,
            self.sent,
            self.failures
        );
    }
}

type Connector = hyper_rustls::HttpsConnector<HttpConnector<Here>>;

async fn drive(
    edge: &Edge,
    url: &str,
    rate: u32,
    good: fn(&str) -> bool,
    stop: &AtomicBool,
    counts: &Arc<Counts>,
) -> Report {
    let client = client(edge);
    let report = Arc::new(Mutex::new(Report::default()));
    let mut running = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        while running.try_join_next().is_some() {}
        report.lock().unwrap().sent += 1;
        counts.sent.fetch_add(1, Ordering::SeqCst);
        let (client, url, report) = (client.clone(), url.to_owned(), report.clone());
        let counts = counts.clone();
        running.spawn(async move {
            let begun = Instant::now();
            let outcome = tokio::time::timeout(LATE * 4, once(&client, &url, good)).await;
            let took = begun.elapsed();
            counts.over.fetch_add(1, Ordering::SeqCst);
            let mut report = report.lock().unwrap();
            report.slowest = report.slowest.max(took);
            report.took.push(took);
            match outcome {
                Ok(Ok(instance)) if took <= LATE => {
                    report.good += 1;
                    *report.instances.entry(instance).or_default() += 1;
                }
                Ok(Ok(_)) => *report.failures.entry("late".into()).or_default() += 1,
                Ok(Err(why)) => *report.failures.entry(why).or_default() += 1,
                Err(_) => *report.failures.entry("never answered".into()).or_default() += 1,
            }
        });
    }
    while running.join_next().await.is_some() {}
    Arc::try_unwrap(report).unwrap().into_inner().unwrap()
}

async fn once(
    client: &Client<Connector, Empty<Bytes>>,
    url: &str,
    good: fn(&str) -> bool,
) -> Result<String, String> {
    let answer = client
        .get(url.parse().unwrap())
        .await
        .map_err(|e| chain(&e))?;
    let status = answer.status();
    let instance = answer.headers().get("x-instance");
    let instance = instance.map_or("", |v| v.to_str().unwrap_or("")).to_owned();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|e| format!("cut body: {e}"))?;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status != 200 {
        return Err(format!(
            "status {status}: {}",
            body.chars().take(200).collect::<String>()
        ));
    }
    if !good(&body) {
        return Err(format!(
            "wrong body: {}",
            body.chars().take(200).collect::<String>()
        ));
    }
    Ok(instance)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// A client's TLS that trusts what `edge` trusts.
pub fn trust(edge: &Edge) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for root in rustls_pki_types::CertificateDer::pem_file_iter(&edge.roots).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn client(edge: &Edge) -> Client<Connector, Empty<Bytes>> {
    let mut tcp = HttpConnector::new_with_resolver(Here(edge.address.into()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust(edge))
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .pool_idle_timeout(Duration::from_secs(1))
        .build(connector)
}

/// Resolves every name to the box.
#[derive(Clone)]
struct Here(std::net::IpAddr);

impl tower::Service<Name> for Here {
    type Response = std::iter::Once<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let address = SocketAddr::new(self.0, 0);
        Box::pin(std::future::ready(Ok(std::iter::once(address))))
    }
}
