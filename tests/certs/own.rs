//! F5: the box's own CA and given files, beside each other.

use std::time::Duration;

use freehold::certs::{BOX, CertState, Source, Wanted};

use crate::rig::{Running, nobody};
use crate::support::authority::Authority;

fn want(host: &str, source: Source) -> Wanted {
    Wanted {
        host: host.into(),
        source,
    }
}

#[tokio::test]
async fn f5_private_names_are_served_at_once_from_one_root_that_survives_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::open(folder.path(), nobody(), None).await;
    let set = run.certs.current().borrow().clone();
    assert!(
        set.box_certificate.is_some(),
        "no certificate for the box's address"
    );
    run.certs
        .want(vec![
            want("tasks.localhost", Source::Acme),
            want("shop.example.com", Source::Internal),
        ])
        .await
        .unwrap();
    for host in ["tasks.localhost", "shop.example.com"] {
        let status = run.valid(host).await;
        assert_eq!(status.source, "internal");
        assert!(status.issuer.unwrap().starts_with("Freehold box CA"));
        assert!(run.served(host).is_some());
    }
    let root = run.certs.root();
    assert!(root.pem.starts_with("-----BEGIN CERTIFICATE-----"));
    let leaf = run.served("tasks.localhost");
    run.stop().await;
    let again = Running::open(folder.path(), nobody(), None).await;
    assert_eq!(again.certs.root().fingerprint, root.fingerprint);
    assert_eq!(again.served("tasks.localhost"), leaf);
    again.stop().await;
}

#[tokio::test]
async fn f5_own_certificates_are_renewed_while_served_and_the_box_follows_its_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = nobody();
    settings.internal_life = Duration::from_secs(30);
    let run = Running::open(folder.path(), settings.clone(), None).await;
    run.certs
        .want(vec![want("tasks.localhost", Source::Internal)])
        .await
        .unwrap();
    run.valid("tasks.localhost").await;
    let first = run.served("tasks.localhost");
    let begun = std::time::Instant::now();
    while run.served("tasks.localhost") == first {
        assert!(begun.elapsed() < settings.internal_life, "not renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let of_box = || {
        run.certs
            .current()
            .borrow()
            .box_certificate
            .clone()
            .unwrap()
    };
    let before = of_box().cert[0].clone();
    settings.internal_life = Duration::from_secs(3_600);
    settings.box_names.push("192.0.2.9".into());
    run.certs.configure(settings);
    let begun = std::time::Instant::now();
    while of_box().cert[0] == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "not made anew");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    run.stop().await;
}

#[tokio::test]
async fn f5_a_bad_given_certificate_is_told_by_name_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let company = Authority::new(&folder.path().join("company"));
    let good = company.issue(&["shop.example.com"]);
    let files = |cert: &std::path::Path, key: &std::path::Path| Source::Files {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    let rubbish = folder.path().join("rubbish.pem");
    std::fs::write(&rubbish, "rubbish").unwrap();
    let run = Running::open(folder.path(), nobody(), None).await;
    run.certs
        .want(vec![
            want("shop.example.com", files(&good.certificate, &good.key)),
            want("bad.example.com", files(&rubbish, &good.key)),
            want("tasks.localhost", Source::Internal),
        ])
        .await
        .unwrap();
    let status = run.valid("shop.example.com").await;
    assert!(status.issuer.unwrap().contains("A company's own root"));
    run.valid("tasks.localhost").await;
    let bad = run
        .status("bad.example.com", Duration::from_secs(60), |s| {
            s.error.is_some()
        })
        .await;
    assert_eq!(bad.state, CertState::Failed);
    let said = bad.error.unwrap();
    assert!(
        said.contains("bad.example.com") && said.contains("rubbish.pem"),
        "{said}"
    );
    assert_eq!(
        run.number("SELECT count(*) FROM events WHERE kind = 'certificate.refused'")
            .await,
        1
    );

    // Mended in place, it is served without a restart.
    let mended = company.issue(&["bad.example.com"]);
    std::fs::copy(&mended.key, &good.key).unwrap();
    std::fs::copy(&mended.certificate, &rubbish).unwrap();
    run.status("bad.example.com", Duration::from_secs(60), |s| {
        s.state == CertState::Valid && s.error.is_none()
    })
    .await;
    // The other pair, now with a key that is not its own, stays as it was loaded.
    run.status("shop.example.com", Duration::from_secs(60), |s| {
        s.state == CertState::Valid && s.error.is_some()
    })
    .await;
    assert!(run.served("shop.example.com").is_some());
    assert!(
        run.certs
            .statuses()
            .await
            .unwrap()
            .iter()
            .any(|s| s.host == BOX)
    );
    run.stop().await;
}

#[tokio::test]
async fn f5_the_end_of_a_certificate_is_told_before_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::open(folder.path(), nobody(), None).await;
    // A pair of the user's own, which Freehold cannot renew, with a short life.
    let mut short = nobody();
    // Long enough to be taken over before its end.
    short.internal_life = Duration::from_secs(45);
    let other = tempfile::tempdir().unwrap();
    let maker = Running::open(other.path(), short, None).await;
    maker
        .certs
        .want(vec![want("shop.example.com", Source::Internal)])
        .await
        .unwrap();
    maker.valid("shop.example.com").await;
    let pem = maker
        .text("SELECT chain_pem FROM certificates WHERE host = 'shop.example.com'")
        .await;
    let sealed = maker
        .bytes("SELECT key_sealed FROM certificates WHERE host = 'shop.example.com'")
        .await;
    maker.stop().await;
    let master =
        freehold::base::secret::MasterKey::open_or_create(&other.path().join("master.key"));
    let key = master
        .unwrap()
        .open("certificate_key:shop.example.com", &sealed)
        .unwrap();
    let (cert, key_file) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&cert, pem).unwrap();
    std::fs::write(&key_file, key).unwrap();
    run.certs
        .want(vec![want(
            "shop.example.com",
            Source::Files {
                cert,
                key: key_file,
            },
        )])
        .await
        .unwrap();
    run.status("shop.example.com", Duration::from_secs(120), |s| {
        s.state == CertState::Expired
    })
    .await;
    let told = "SELECT count(*) FROM events WHERE kind = 'certificate.expiring'";
    let begun = std::time::Instant::now();
    while run.number(told).await == 0
        || run
            .number("SELECT count(*) FROM events WHERE kind = 'certificate.expired'")
            .await
            != 1
    {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "nothing was told"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(run.number(told).await <= 3);
    assert!(run.served("shop.example.com").is_some(), "still served");
    run.stop().await;
}
