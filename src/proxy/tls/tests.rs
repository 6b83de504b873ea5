//! How many hellos a worker answers before everything else that is ready has had its turn.
use std::io::{Read, Write};
use std::net::TcpStream as Socket;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;

use rustls::crypto::{CryptoProvider, aws_lc_rs::kx_group};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;

const CLIENTS: usize = 64;
const NAME: &str = "tasks.test";
/// What `Handshakes` lets be answered between two rounds.
const AT_ONCE: usize = 8;

/// Counts the hellos that are answered.
struct Counting(FromSnapshot, Arc<AtomicUsize>);

impl ResolvesServerCert for Counting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.resolve(hello)
    }
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn snapshot() -> Arc<ArcSwap<Snapshot>> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let der = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let signer = aws_lc_rs::sign::any_supported_type(&der).unwrap();
    let key = Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], signer));
    let mut snapshot = Snapshot::default();
    snapshot.certificates.insert(NAME.into(), key);
    Arc::new(ArcSwap::from_pointee(snapshot))
}

fn only(groups: &[&'static dyn rustls::crypto::SupportedKxGroup]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = groups.to_vec();
    Arc::new(provider)
}

struct Hello {
    socket: Socket,
    client: ClientConnection,
}

impl Hello {
    fn say(&mut self) {
        let mut bytes = Vec::new();
        self.client.write_tls(&mut bytes).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }

    /// Reads what it was asked for instead of what it offered.
    fn hear(&mut self) {
        let mut bytes = [0; 1024];
        let count = self.socket.read(&mut bytes).unwrap();
        self.client.read_tls(&mut &bytes[..count]).unwrap();
        self.client.process_new_packets().unwrap();
    }
}

/// The most hellos that were answered between two turns of another task, until so many were.
async fn most_between(answered: &AtomicUsize, until: usize) -> usize {
    let (mut before, mut most) = (answered.load(Ordering::Relaxed), 0);
    while before < until {
        yield_now().await;
        let now = answered.load(Ordering::Relaxed);
        (most, before) = (most.max(now - before), now);
    }
    most
}

#[tokio::test]
async fn e4_other_tasks_have_their_turn_between_a_few_hellos_and_between_second_ones() {
    let answered = Arc::new(AtomicUsize::new(0));
    let snapshot = snapshot();
    let resolver = Counting(FromSnapshot(snapshot.clone()), answered.clone());
    let config = ServerConfig::builder_with_provider(only(&[kx_group::X25519]))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let config = Arc::new(config);
    // They offer a key of another kind, and are asked for the right one.
    let offers =
        ClientConfig::builder_with_provider(only(&[kx_group::SECP384R1, kx_group::X25519]))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
    let offers = Arc::new(offers);
    let handshakes = Rc::new(Handshakes::new(1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    LocalSet::new()
        .run_until(async {
            let mut hellos = Vec::new();
            for _ in 0..CLIENTS {
                let name = ServerName::try_from(NAME).unwrap();
                let mut hello = Hello {
                    socket: Socket::connect(listener.local_addr().unwrap()).unwrap(),
                    client: ClientConnection::new(offers.clone(), name).unwrap(),
                };
                hello.say();
                hellos.push(hello);
                let (stream, _) = listener.accept().await.unwrap();
                let (config, snapshot) = (config.clone(), snapshot.clone());
                let handshakes = handshakes.clone();
                spawn_local(async move {
                    drop(handshake(stream, &config, &snapshot, &handshakes, None).await);
                });
            }
            let most = most_between(&answered, CLIENTS).await;
            assert!((1..=AT_ONCE).contains(&most), "{most} first hellos at once");
            for hello in &mut hellos {
                hello.hear();
            }
            for hello in &mut hellos {
                hello.say();
            }
            let most = most_between(&answered, 2 * CLIENTS).await;
            assert!((1..=AT_ONCE).contains(&most), "{most} second ones at once");
        })
        .await;
}
