//! The box's own certificate authority: one root, made once, that signs leaves
//! for private names and for the box's address.
//!
//! Pure but for the key generation: storing and sealing are the caller's. The
//! root is named after its key, so that two boxes' roots are told apart in a
//! browser's list. It signs leaves only (path length 0).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, sha256_hex};

const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Before the clock of the box's first start.
const ROOT_SLACK: Duration = Duration::from_secs(5 * 365 * 86_400);
/// Clocks of clients may be behind ours.
const SLACK: Duration = Duration::from_secs(300);

/// A certificate and its private key, both PEM.
pub(super) struct Made {
    pub(super) chain_pem: String,
    pub(super) key_pem: Secret,
}

/// A new root.
pub(super) fn make_root(now: UnixMs) -> Result<Made, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mark = &sha256_hex(key.public_key_raw())[..6];
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("Freehold box CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Made at a box's first start, whose clock may be ahead: nothing hangs on when it begins.
    params.not_before = at(now.minus(ROOT_SLACK)).into();
    params.not_after = at(now.plus(ROOT_LIFE)).into();
    Ok(Made {
        chain_pem: params.self_signed(&key)?.pem(),
        key_pem: Secret::new(key.serialize_pem()),
    })
}

/// A leaf for `names` (host names and addresses) that lives for `life`.
pub(super) fn make_leaf(
    root: &Made,
    names: &[String],
    now: UnixMs,
    life: Duration,
) -> Result<Made, rcgen::Error> {
    let issuer =
        Issuer::from_ca_cert_pem(&root.chain_pem, KeyPair::from_pem(root.key_pem.expose())?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = named(names.first().map_or("freehold", |n| n.as_str()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = at(now.minus(SLACK.min(life / 10))).into();
    params.not_after = at(now.plus(life)).into();
    Ok(Made {
        chain_pem: params.signed_by(&key, &issuer)?.pem(),
        key_pem: Secret::new(key.serialize_pem()),
    })
}

/// A key for `host` and the request (DER) that asks for its certificate.
pub(super) fn make_request(host: &str) -> Result<(Secret, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((Secret::new(key.serialize_pem()), request.der().to_vec()))
}

/// SHA-256 over the certificate as browsers show it: `AB:CD:…`.
pub fn fingerprint(pem: &str) -> Result<String, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
    let hex = sha256_hex(&der).to_uppercase();
    let pairs: Vec<&str> = (0..hex.len()).step_by(2).map(|i| &hex[i..i + 2]).collect();
    Ok(pairs.join(":"))
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // A common name has at most 64 characters (RFC 5280); the names that count are the alternative ones.
    let short: String = common_name.chars().take(64).collect();
    name.push(DnType::CommonName, short);
    name
}

fn at(time: UnixMs) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(time.0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::leaf;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn f5_a_leaf_of_the_box_ca_names_hosts_and_addresses() {
        let now = UnixMs::now();
        let root = make_root(now).unwrap();
        let names: Vec<String> = ["box.internal", "10.1.2.3", "::1"].map(String::from).into();
        let made = make_leaf(&root, &names, now, DAY * 30).unwrap();
        let read = leaf::read(made.chain_pem.as_bytes(), made.key_pem.expose().as_bytes()).unwrap();
        assert!(read.facts.holds(&names));
        assert!(!read.facts.holds(&["10.1.2.4".into()]));
        assert!(read.facts.issuer.starts_with("Freehold box CA "));
        let left = read.facts.life.left(now);
        assert!(left > DAY * 29 && left <= DAY * 30, "{left:?}");
    }

    #[test]
    fn f5_a_client_that_trusts_the_root_accepts_the_leaf_and_no_other_name() {
        use rustls::client::WebPkiServerVerifier;
        use rustls::client::danger::ServerCertVerifier as _;
        use rustls_pki_types::{ServerName, UnixTime};
        let now = UnixMs::now();
        let root = make_root(now).unwrap();
        let names: Vec<String> = vec!["tasks.localhost".into(), "192.0.2.7".into()];
        let made = make_leaf(&root, &names, now, DAY).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(root.chain_pem.as_bytes()).unwrap())
            .unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(
            roots.into(),
            rustls::crypto::aws_lc_rs::default_provider().into(),
        )
        .build()
        .unwrap();
        let leaf = CertificateDer::from_pem_slice(made.chain_pem.as_bytes()).unwrap();
        let ask = |name: &'static str| {
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now())
        };
        assert!(ask("tasks.localhost").is_ok());
        assert!(ask("192.0.2.7").is_ok());
        assert!(ask("other.localhost").is_err());
    }

    #[test]
    fn f5_a_key_of_another_certificate_is_refused() {
        let now = UnixMs::now();
        let (one, two) = (make_root(now).unwrap(), make_root(now).unwrap());
        let why = leaf::read(one.chain_pem.as_bytes(), two.key_pem.expose().as_bytes())
            .err()
            .unwrap();
        assert!(why.contains("does not belong"), "{why}");
        assert!(leaf::read(b"", b"").is_err());
    }

    #[test]
    fn f5_the_fingerprint_is_as_browsers_show_it() {
        let root = make_root(UnixMs::now()).unwrap();
        let print = fingerprint(&root.chain_pem).unwrap();
        assert_eq!(print.len(), 95);
        assert!(print.split(':').all(|p| p.len() == 2));
    }
}
