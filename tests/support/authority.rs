//! A private certificate authority, as a company would have for its git host
//! and registry. Everything that meets it must be told to trust it.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The authority, its root in `root_file`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    pub root_file: PathBuf,
}

/// A certificate chain and its key, as PEM files.
pub struct Served {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Makes one, with its files in `dir`.
    pub fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "A company's own root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap();
        let root_file = dir.join("root.pem");
        std::fs::write(&root_file, root.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            dir: dir.to_owned(),
            root_file,
        }
    }

    /// A server certificate for these names or addresses.
    pub fn issue(&self, names: &[&str]) -> Served {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let served = Served {
            certificate: self.dir.join(format!("{}.crt", names[0])),
            key: self.dir.join(format!("{}.key", names[0])),
        };
        std::fs::write(&served.certificate, certificate.pem()).unwrap();
        std::fs::write(&served.key, key.serialize_pem()).unwrap();
        served
    }
}
