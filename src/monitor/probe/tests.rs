//! The probe against real sockets that misbehave in one way each.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    Authority { issuer }
}

/// A server that presents a certificate for `name` and answers `answer` to whatever comes.
async fn server(
    authority: &Authority,
    name: &str,
    expired: bool,
    answer: &'static str,
) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let leaf = params.signed_by(&key, &authority.issuer).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![leaf.der().clone()],
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut head = [0; 2048];
                if stream.read(&mut head).await.is_ok() {
                    stream
                        .write_all(answer.as_bytes())
                        .await
                        .unwrap_or_default();
                    stream.shutdown().await.unwrap_or_default();
                }
            });
        }
    });
    address
}

fn question(url: &str, through: SocketAddr) -> Question {
    Question {
        url: Url::parse(url).unwrap(),
        through: Some(through),
        proxy_protocol: Vec::new(),
        strict: true,
        timeout: Duration::from_millis(1500),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A proxy may run on the box itself; the box's own checks are then none of its connections, and say so.
#[tokio::test]
async fn e2_a_check_from_an_address_that_speaks_first_speaks_first() {
    let tls = trust(&[], &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let got = async |proxies: &[&str]| {
        let question = Question {
            proxy_protocol: proxies
                .iter()
                .map(|text| Cidr::parse(text).unwrap())
                .collect(),
            ..question("http://shop.test/", address)
        };
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 2048];
            let read = stream.read(&mut head).await.unwrap();
            let mut seen = head[..read].to_vec();
            while !seen.ends_with(b"\r\n\r\n") || seen.len() <= PROXY_LOCAL.len() {
                let read = stream.read(&mut head).await.unwrap();
                seen.extend_from_slice(&head[..read]);
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
            seen
        };
        let (answered, seen) = tokio::join!(ask(&tls, &question), server);
        assert!(answered.is_ok(), "{answered:?}");
        seen
    };
    assert!(got(&[]).await.starts_with(b"GET / "));
    assert!(got(&["192.0.2.7"]).await.starts_with(b"GET / "));
    let seen = got(&["192.0.2.7", "127.0.0.1"]).await;
    assert!(seen.starts_with(&PROXY_LOCAL), "{seen:?}");
    assert!(seen[PROXY_LOCAL.len()..].starts_with(b"GET / "));
}

#[tokio::test]
async fn f7_dns_tcp_tls_and_http_are_told_apart() {
    let ours = authority("ours");
    let tls = trust(&[ours.issuer.pem().into_bytes()], &[]).unwrap();
    let good = server(&ours, "shop.test", false, OK).await;
    let found = ask(&tls, &question("https://shop.test/healthz", good)).await;
    assert!(found.is_ok(), "{found:?}");

    let by_issuer = trust(&[], &[ours.issuer.der().to_vec()]).unwrap();
    let found = ask(&by_issuer, &question("https://shop.test/healthz", good)).await;
    assert!(found.is_ok(), "{found:?}");

    let stage = async |question: Question| {
        let failure = ask(&tls, &question).await.unwrap_err();
        (failure.stage, failure.why)
    };
    let (at, why) = stage(question("https://other.test/", good)).await;
    assert!(at == Stage::Tls && why.contains("another name"), "{why}");

    let stranger = server(&authority("a stranger"), "shop.test", false, OK).await;
    let (at, why) = stage(question("https://shop.test/", stranger)).await;
    assert!(
        at == Stage::Tls && why.contains("nobody this box trusts"),
        "{why}"
    );

    let old = server(&ours, "shop.test", true, OK).await;
    let (at, why) = stage(question("https://shop.test/", old)).await;
    assert!(at == Stage::Tls && why.contains("expired"), "{why}");

    let broken = server(
        &ours,
        "shop.test",
        false,
        "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let (at, why) = stage(question("https://shop.test/", broken)).await;
    assert!(at == Stage::Http && why.contains("answered 503"), "{why}");

    let cut = server(&ours, "shop.test", false, "").await;
    let (at, why) = stage(question("https://shop.test/", cut)).await;
    assert!(
        at == Stage::Http && why.contains("before an answer"),
        "{why}"
    );

    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (at, why) = stage(question("https://shop.test/", free)).await;
    assert!(at == Stage::Tcp && why.contains("refused"), "{why}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, why) = stage(question("https://shop.test/", silent.local_addr().unwrap())).await;
    assert!(at == Stage::Tls && why.contains("within 1.5 s"), "{why}");

    let mut nowhere = question("https://nowhere.invalid/", good);
    nowhere.through = None;
    assert_eq!(stage(nowhere).await.0, Stage::Dns);
}

#[test]
fn f7_what_counts_as_an_answer() {
    let status = |code| StatusCode::from_u16(code).unwrap();
    for (code, strict, good) in [
        (200, true, true),
        (302, true, true),
        (404, true, false),
        (404, false, true),
        (500, false, false),
        (502, false, false),
    ] {
        assert_eq!(judge(status(code), strict).is_ok(), good, "{code} {strict}");
    }
}

#[test]
fn f7_a_listener_on_every_address_is_reached_over_loopback() {
    for (listener, expected) in [
        ("[::]:443", "[::1]:443"),
        ("0.0.0.0:8443", "127.0.0.1:8443"),
        ("10.1.2.3:443", "10.1.2.3:443"),
    ] {
        assert_eq!(reachable(listener.parse().unwrap()).to_string(), expected);
    }
}
