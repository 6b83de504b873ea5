//! F5: certificates from a real ACME server over HTTP-01.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use freehold::certs::{CertState, Source, Wanted};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::rig::{Running, settings};
use crate::support::acme::Acme;
use crate::support::address::own_address;

const DAY: Duration = Duration::from_secs(86_400);

fn acme(host: &str) -> Wanted {
    Wanted {
        host: host.into(),
        source: Source::Acme,
    }
}

#[tokio::test]
async fn f5_a_name_gets_a_certificate_that_clients_of_that_ca_accept() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    let ca = Acme::start(&folder.path().join("acme"), address, DAY * 90);
    let run = Running::open(folder.path(), settings(&ca), Some(address)).await;
    run.certs
        .want(vec![acme("tasks.test"), acme("shop.test")])
        .await
        .unwrap();
    let status = run.valid("tasks.test").await;
    run.valid("shop.test").await;
    assert!(status.issuer.unwrap().contains("Pebble"));
    assert_eq!((status.error, status.warning), (None, None));
    let left = status.not_after.unwrap().since(status.renews_at.unwrap());
    assert!(
        left > DAY * 29 && left < DAY * 31,
        "renewed with {left:?} left"
    );

    let root = folder.path().join("pebble-root.pem");
    ca.save_root(&root);
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&root).unwrap())
        .unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(
        roots.into(),
        rustls::crypto::aws_lc_rs::default_provider().into(),
    )
    .build()
    .unwrap();
    let set = run.certs.current().borrow().clone();
    let chain = &set.certificates["tasks.test"].cert;
    let accepts = |name: &'static str| {
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now())
    };
    accepts("tasks.test").unwrap();
    accepts("other.test").unwrap_err();

    let mut current = run.certs.current();
    let cleared = current.wait_for(|set| set.challenges.is_empty());
    let seen = tokio::time::timeout(Duration::from_secs(60), cleared).await;
    drop(seen.expect("a challenge is left over").unwrap());
    assert_eq!(run.number("SELECT count(*) FROM acme_accounts").await, 1);
    assert_eq!(
        run.number("SELECT count(*) FROM events WHERE kind = 'certificate.issued'")
            .await,
        2
    );
    run.stop().await;

    // A restart serves at once what was issued, and asks for nothing.
    let again = Running::open(folder.path(), settings(&ca), Some(address)).await;
    assert_eq!(again.served("tasks.test").unwrap(), chain[0].to_vec());
    again.stop().await;
}

#[tokio::test]
async fn f5_a_short_lived_certificate_is_renewed_at_a_third_and_served_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    // A third of it is what a busy machine has for the order.
    let life = Duration::from_secs(45);
    let ca = Acme::start(&folder.path().join("acme"), address, life);
    let run = Running::open(folder.path(), settings(&ca), Some(address)).await;
    run.certs.want(vec![acme("tasks.test")]).await.unwrap();
    run.valid("tasks.test").await;
    let (first, issued) = (run.served("tasks.test").unwrap(), Instant::now());
    let mut current = run.certs.current();
    current.mark_unchanged();
    let renewed = async {
        while run.served("tasks.test").as_ref() == Some(&first) {
            current.changed().await.unwrap();
        }
    };
    tokio::time::timeout(life, renewed)
        .await
        .expect("not renewed within its life");
    let age = issued.elapsed();
    assert!(age > life / 2, "renewed too soon, after {age:?}");
    assert_eq!(
        run.number("SELECT count(*) FROM events WHERE kind = 'certificate.renewed'")
            .await,
        1
    );
    run.stop().await;
}

#[tokio::test]
async fn f5_a_refusal_is_a_sentence_with_a_remedy_and_the_next_try_waits() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    let ca = Acme::start(&folder.path().join("acme"), address, DAY * 90);
    ca.point("astray.test", own_address());
    let run = Running::open(folder.path(), settings(&ca), Some(address)).await;
    run.certs
        .want(vec![acme("astray.test"), acme("tasks.test")])
        .await
        .unwrap();
    // Looked at as soon as it is told: the other one may take longer than this one waits.
    let status = run
        .status("astray.test", Duration::from_secs(120), |s| {
            s.error.is_some()
        })
        .await;
    assert_eq!(status.state, CertState::Failed);
    let said = status.error.unwrap();
    assert!(
        said.contains("could not reach astray.test on port 80") && said.contains("Open port 80"),
        "{said}"
    );
    let warning = status.warning.unwrap();
    assert!(warning.contains("astray.test"), "{warning}");
    let now = freehold::base::clock::UnixMs::now();
    let wait = status.next_try.unwrap().since(now);
    assert!(
        wait > Duration::from_secs(50) && wait <= Duration::from_secs(60),
        "{wait:?}"
    );
    assert_eq!(
        run.text("SELECT state FROM certificate_orders WHERE host = 'astray.test'")
            .await,
        "failed"
    );
    run.valid("tasks.test").await;

    // The name is mended and tried again by hand.
    ca.point("astray.test", address);
    assert!(run.certs.try_now("astray.test").await.unwrap());
    let status = run.valid("astray.test").await;
    assert_eq!((status.error, status.warning), (None, None));
    run.stop().await;
}

#[tokio::test]
async fn f5_a_name_that_does_not_exist_costs_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    let ca = Acme::start(&folder.path().join("acme"), address, DAY * 90);
    let names = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(&ca);
    settings.acme.resolver = Some(names.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0u8; 512];
        while let Ok((n, from)) = names.recv_from(&mut buffer) {
            buffer[2..4].copy_from_slice(&[0x81, 3]);
            names.send_to(&buffer[..n], from).unwrap();
        }
    });
    let run = Running::open(folder.path(), settings.clone(), Some(address)).await;
    run.certs.want(vec![acme("tasks.test")]).await.unwrap();
    let status = run
        .status("tasks.test", Duration::from_secs(60), |s| s.error.is_some())
        .await;
    let said = status.error.unwrap();
    assert!(
        said.contains("has no address yet") && said.contains("Add an A or AAAA record"),
        "{said}"
    );
    assert_eq!(run.number("SELECT count(*) FROM acme_accounts").await, 0);

    settings.acme.resolver = Some(ca.resolver.parse().unwrap());
    run.certs.configure(settings);
    run.certs.try_now("tasks.test").await.unwrap();
    run.valid("tasks.test").await;
    run.stop().await;
}

#[tokio::test]
async fn f5_a_removed_name_ends_its_order_and_another_server_issues_anew() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    let ca = Acme::start(&folder.path().join("acme"), address, DAY * 90);
    // Nobody answers on port 80 yet, so the order stays open.
    let stuck = Running::open(folder.path(), settings(&ca), None).await;
    stuck.certs.want(vec![acme("tasks.test")]).await.unwrap();
    stuck
        .status("tasks.test", Duration::from_secs(60), |s| {
            s.order == Some("ordered")
        })
        .await;
    stuck.certs.want(vec![]).await.unwrap();
    assert_eq!(
        stuck
            .number("SELECT count(*) FROM certificate_orders WHERE state <> 'failed'")
            .await,
        0
    );
    stuck.stop().await;

    let run = Running::open(folder.path(), settings(&ca), Some(address)).await;
    run.certs.want(vec![acme("tasks.test")]).await.unwrap();
    run.valid("tasks.test").await;
    let first = run.served("tasks.test").unwrap();
    let other = Acme::start(&folder.path().join("other"), address, DAY * 90);
    run.certs.configure(settings(&other));
    let begun = Instant::now();
    while run.served("tasks.test").unwrap() == first {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "not issued anew"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(run.number("SELECT count(*) FROM acme_accounts").await, 2);
    run.stop().await;
}

#[tokio::test]
async fn f8_an_order_cut_off_goes_on_with_the_key_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    let ca = Acme::start(&folder.path().join("acme"), address, DAY * 90);
    let stuck = Running::open(folder.path(), settings(&ca), None).await;
    stuck.certs.want(vec![acme("tasks.test")]).await.unwrap();
    stuck
        .status("tasks.test", Duration::from_secs(60), |s| {
            s.order == Some("ordered")
        })
        .await;
    let key = stuck
        .bytes("SELECT key_sealed FROM certificate_orders")
        .await;
    let url = stuck.text("SELECT url FROM certificate_orders").await;
    assert!(!key.is_empty(), "no key is stored");
    stuck.stop().await;

    let run = Running::open(folder.path(), settings(&ca), Some(address)).await;
    run.certs.want(vec![acme("tasks.test")]).await.unwrap();
    run.valid("tasks.test").await;
    assert_eq!(
        run.bytes("SELECT key_sealed FROM certificates WHERE host = 'tasks.test'")
            .await,
        key
    );
    assert_eq!(run.text("SELECT url FROM certificate_orders").await, url);
    assert_eq!(
        run.number("SELECT count(*) FROM certificate_orders").await,
        1
    );
    run.stop().await;
}

#[tokio::test]
async fn f5_an_unreachable_server_is_named_and_the_order_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let address = own_address();
    let ca = Acme::start(&folder.path().join("acme"), address, DAY * 90);
    let mut settings = settings(&ca);
    settings.acme.directory = "https://127.0.0.1:1/dir".into();
    let run = Running::open(folder.path(), settings, Some(address)).await;
    run.certs.want(vec![acme("tasks.test")]).await.unwrap();
    let status = run
        .status("tasks.test", Duration::from_secs(120), |s| {
            s.error.is_some()
        })
        .await;
    let said = status.error.unwrap();
    assert!(
        said.contains("127.0.0.1:1") && said.contains("[acme]"),
        "{said}"
    );
    assert_eq!(status.order, Some("prepared"));
    run.stop().await;
}
