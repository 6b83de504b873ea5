//! The way to a box from elsewhere: TLS to its dashboard, the certificate verified, a token in each request.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::output::Fail;
use crate::base::secret::Secret;

/// Name lookup, TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(15);

/// A box somewhere else.
#[derive(Clone)]
pub struct Remote {
    /// Host and port as the box is addressed.
    pub authority: String,
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    pinned: bool,
    /// Sent with every request; none while logging in.
    pub token: Option<Secret>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.authority)
    }
}

/// Whom to believe.
pub enum Trust<'a> {
    /// The public roots of this system.
    Public,
    /// This root alone, PEM.
    Pinned(&'a str),
    /// Nobody is verified: only to fetch the root whose fingerprint a person then compares.
    Unverified,
}

/// Why a connection was not made.
pub enum Refused {
    /// The certificate is not trusted; what is wrong with it, and what to do.
    Certificate(String),
    /// Anything else.
    Other(Fail),
}

impl From<Refused> for Fail {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Other(fail) => fail,
            Refused::Certificate(why) => Self::Unreachable(why),
        }
    }
}

/// Host and port of what a person types: a name, an address, with a scheme or not.
///
/// # Errors
/// That it is none.
pub fn address(text: &str) -> Result<(String, u16), Fail> {
    let bad = || {
        Fail::usage(format!(
            "\"{}\" is not the address of a box: write it as panel.example.com or 203.0.113.7",
            text.chars().take(80).collect::<String>()
        ))
    };
    let bare = text.trim().trim_end_matches('/');
    let whole = match bare.split_once("://") {
        Some(("https", _)) => bare.to_owned(),
        Some(_) => return Err(bad()),
        None => format!("https://{bare}"),
    };
    let url = url::Url::parse(&whole).map_err(|_| bad())?;
    let plain = url.path() == "/" && url.query().is_none() && url.username().is_empty();
    let host = url.host_str().filter(|_| plain).ok_or_else(bad)?;
    Ok((host.to_owned(), url.port().unwrap_or(443)))
}

impl Remote {
    /// The way to `text` (see [`address`]), trusting `trust`.
    ///
    /// # Errors
    /// That the address is none, or the root cannot be used.
    pub fn new(text: &str, trust: &Trust<'_>, token: Option<Secret>) -> Result<Self, Fail> {
        let (host, port) = address(text)?;
        let authority = match port {
            443 => host.clone(),
            port => format!("{host}:{port}"),
        };
        Ok(Self {
            authority,
            host,
            port,
            tls: Arc::new(config(trust)?),
            pinned: matches!(trust, Trust::Pinned(_)),
            token,
        })
    }

    /// A connection, its certificate verified.
    ///
    /// # Errors
    /// [`Refused::Certificate`] when it is not trusted, else why there is none.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, Refused> {
        let away = |why: String| {
            Refused::Other(Fail::Unreachable(format!(
                "{} does not answer: {why}; see that the box is up and its name points to it",
                self.authority
            )))
        };
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|e| away(e.to_string()))?;
        let connecting = async {
            let tcp = TcpStream::connect((bare, self.port)).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.tls))
                .connect(name, tcp)
                .await
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Err(_) => Err(away(format!(
                "no connection within {} s",
                CONNECT.as_secs()
            ))),
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                let tls = error
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<rustls::Error>());
                match tls {
                    Some(rustls::Error::InvalidCertificate(why)) => Err(Refused::Certificate(
                        untrusted(&self.authority, why, self.pinned),
                    )),
                    Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)) => {
                        Err(Refused::Other(Fail::Unreachable(renamed(&self.authority))))
                    }
                    _ => Err(away(error.to_string())),
                }
            }
        }
    }
}

/// What is wrong with a certificate, and what to do.
fn untrusted(host: &str, why: &CertificateError, pinned: bool) -> String {
    match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            renamed(host)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {host} has ended: `freehold doctor` on the box says why it was not renewed, or the clock here is wrong"
        ),
        _ if pinned => format!(
            "the certificate of {host} is not signed by the root that was trusted when you logged in: if the box was made anew, compare the fingerprint that `freehold status` prints there and log in again with `freehold login {host}`; if not, somebody may be in between"
        ),
        _ => format!(
            "the certificate of {host} is not signed by a public root any more: if the box has one of its own now, log in again with `freehold login {host}`; if not, somebody may be in between"
        ),
    }
}

fn renamed(host: &str) -> String {
    format!(
        "a box answers at {host}, but that is not its name: if it was renamed, log in by its new one with `freehold login HOST`; `freehold boxes` shows those known here"
    )
}

fn config(trust: &Trust<'_>) -> Result<ClientConfig, Fail> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Fail::internal(format!("TLS: {e}")))?;
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Unverified => {
            return Ok(builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
                .with_no_client_auth());
        }
        Trust::Public => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::Pinned(pem) => {
            let root = CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|e| Fail::usage(format!("the box's root cannot be used: {e}")))?;
            roots
                .add(root)
                .map_err(|e| Fail::usage(format!("the box's root cannot be used: {e}")))?;
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate: what comes over it is compared by a person before it counts.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::{address, untrusted};

    #[test]
    fn a7_a_certificate_that_is_not_trusted_says_what_to_do() {
        let said = |why: CertificateError, pinned| untrusted("panel.test", &why, pinned);
        let made_anew = said(CertificateError::UnknownIssuer, true);
        assert!(made_anew.contains("compare the fingerprint"), "{made_anew}");
        let no_longer = said(CertificateError::UnknownIssuer, false);
        assert!(no_longer.contains("public root any more"), "{no_longer}");
        let other = said(CertificateError::NotValidForName, true);
        assert!(other.contains("renamed"), "{other}");
        let ended = said(CertificateError::Expired, false);
        assert!(ended.contains("has ended"), "{ended}");
    }

    #[test]
    fn a7_an_address_is_a_name_or_a_number_and_no_path() {
        let good = [
            ("panel.example.com", ("panel.example.com", 443)),
            ("https://panel.example.com/", ("panel.example.com", 443)),
            ("203.0.113.7:8443", ("203.0.113.7", 8443)),
            ("[2001:db8::1]", ("[2001:db8::1]", 443)),
        ];
        for (text, (host, port)) in good {
            assert_eq!(address(text).ok(), Some((host.to_owned(), port)), "{text}");
        }
        for bad in [
            "",
            "http://panel.test",
            "panel.test/apps",
            "a b",
            "me@panel.test",
            "ssh://x",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
