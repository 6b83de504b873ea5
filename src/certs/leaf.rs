//! A certificate with its key, read from PEM and checked: what it names, how
//! long it lives, who issued it, and that key and certificate belong together.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::base::clock::UnixMs;
use crate::base::hearsay::one_line;

use super::timing::Life;

/// The longest name of an issuer that is told.
const NAME: usize = 200;
/// A certificate has a hundred names at most, but for one that a person made.
const LISTED: usize = 10_000;

/// What is known of a leaf certificate.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) life: Life,
    /// The issuer's common name, or its organization.
    pub(super) issuer: String,
    pub(super) names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Facts {
    /// Whether the certificate names `host`, a wildcard covering one label.
    pub(super) fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| {
            name == host
                || name.strip_prefix("*.").is_some_and(|parent| {
                    !host.starts_with('*') && host.split_once('.').is_some_and(|(_, p)| p == parent)
                })
        })
    }

    /// Whether the certificate names every one of these addresses and names.
    pub(super) fn holds(&self, names: &[String]) -> bool {
        names.iter().all(|name| match name.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address),
            Err(_) => self.covers(name),
        })
    }

    /// The names as a person reads them.
    pub(super) fn listed(&self) -> String {
        let mut all = self.names.clone();
        all.extend(self.addresses.iter().map(ToString::to_string));
        if all.is_empty() {
            return "no name".into();
        }
        one_line(&all.join(", "), LISTED)
    }
}

/// A certificate that rustls can serve, and what it says.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: Facts,
}

/// Reads a chain (leaf first) and its key. The error is the reason alone,
/// without naming the certificate, for the caller's sentence.
pub(super) fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Leaf, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("the certificate is not PEM: {e}"))?;
    let first = chain
        .first()
        .ok_or("the certificate file holds no PEM certificate")?;
    let facts = facts(first)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|e| format!("the key file holds no PEM private key: {e}"))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|e| format!("the private key cannot be used: {e}"))?;
    let certified = CertifiedKey::new(chain, key);
    certified
        .keys_match()
        .map_err(|_| "the private key does not belong to the certificate")?;
    Ok(Leaf {
        key: Arc::new(certified),
        facts,
    })
}

/// What the leaf of a PEM chain says, without its key.
pub(super) fn facts_of(chain_pem: &[u8]) -> Result<Facts, String> {
    let first = CertificateDer::from_pem_slice(chain_pem)
        .map_err(|e| format!("the certificate is not PEM: {e}"))?;
    facts(&first)
}

pub(super) fn facts(der: &CertificateDer<'_>) -> Result<Facts, String> {
    let (_, parsed) =
        parse_x509_certificate(der).map_err(|e| format!("the certificate is not X.509: {e}"))?;
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    if let Ok(Some(found)) = parsed.subject_alternative_name() {
        for name in &found.value.general_names {
            match name {
                GeneralName::DNSName(dns) => names.push(dns.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    let said = |seconds: i64| UnixMs(seconds.saturating_mul(1_000));
    let issuer = parsed.issuer();
    let issuer = issuer
        .iter_common_name()
        .chain(issuer.iter_organization())
        .find_map(|a| a.as_str().ok())
        .map(|name| one_line(name, NAME))
        .unwrap_or("an unnamed issuer".to_owned());
    Ok(Facts {
        life: Life {
            not_before: said(parsed.validity().not_before.timestamp()),
            not_after: said(parsed.validity().not_after.timestamp()),
        },
        issuer,
        names,
        addresses,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
