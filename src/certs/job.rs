//! The job `certificate`, keyed by host: one try for one name.
//!
//! It looks at the rows itself, so a job queued twice, or for a name that is
//! no longer wanted, does nothing. How it went is in the rows when it ends.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::secret::fill_random;
use crate::config::Acme;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::Outcome;

use super::Inner;
use super::acme_http::Asked;
use super::due::{self, Due};
use super::failure::{Failure, Fate};
use super::ports::Publish;
use super::state::OrderState;
use super::store::{self, orders};
use super::timing::{dns_retry_in, retry_in};
use super::wanted::Source;
use super::{account, order};

/// The job's kind.
pub const KIND: &str = "certificate";

/// No try takes longer; the next one goes on where it was.
const LONGEST: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3_600);
/// With the wait for its turn, where many names are ordered at once.
pub(super) const MOST: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn handle(
    inner: Arc<Inner>,
    publish: Arc<dyn Publish>,
    host: String,
    cancel: CancellationToken,
) -> Outcome {
    let ended = Ended(&inner, &host);
    let outcome = match try_once(&inner, &*publish, &host, &cancel).await {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    drop(ended);
    outcome
}

/// Tells the keeper that the job is over, also when it panicked.
struct Ended<'a>(&'a Inner, &'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.job_ended(self.1);
    }
}

async fn try_once(
    inner: &Inner,
    publish: &dyn Publish,
    host: &str,
    cancel: &CancellationToken,
) -> Result<(), DbError> {
    let Ok(_place) = inner.orders.acquire().await else {
        return Ok(());
    };
    let acme = inner.settings().acme.clone();
    let asked_for = host.to_owned();
    let (name, cert, open) = inner
        .db
        .read(move |c| {
            Ok::<_, DbError>((
                store::name(c, &asked_for)?,
                store::certificate(c, &asked_for, "acme")?,
                orders::open(c, &asked_for)?,
            ))
        })
        .await?;
    let Some(name) = name.filter(|n| n.source == Source::Acme) else {
        return Ok(());
    };
    let now = UnixMs::now();
    match due::acme(&name, cert.as_ref(), open.is_some(), &acme.directory, now) {
        Due::At(_) => return Ok(()),
        Due::AskRenewalInfo => {
            if let Some(cert) = cert {
                ask_renewal_info(inner, &acme, &cert).await?;
            }
            return Ok(());
        }
        Due::Now => {}
    }
    let tried = tokio::time::timeout(LONGEST, order::run(inner, publish, &acme, host)).await;
    let failure = match tried {
        Ok(Ok(())) => {
            tracing::info!(host, "the certificate is issued and in service");
            return inner.publish_set().await;
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure::keep(format!(
            "The order for {host} did not end within {} minutes; Freehold goes on with it.",
            LONGEST.as_secs() / 60
        )),
    };
    if cancel.is_cancelled() {
        // What fails while the daemon stops says nothing about the name.
        return Ok(());
    }
    let left = cert.map(|c| c.life.left(now));
    record(inner, &acme, host, failure, left).await?;
    inner.publish_set().await
}

/// Failures one after another up to which a nonce that was refused is met by another try at once.
const AT_ONCE: u32 = 4;
/// Until that try.
const SOON: Duration = Duration::from_secs(2);

/// Writes how the try failed and when the next one is; the first failure, and
/// each that fails differently, is an event.
async fn record(
    inner: &Inner,
    acme: &Acme,
    host: &str,
    failure: Failure,
    left: Option<Duration>,
) -> Result<(), DbError> {
    if failure.fate == Fate::ForgetAccount {
        account::forget(inner, &acme.directory).await?;
    }
    tracing::warn!(host, why = failure.sentence, "no certificate this time");
    let ends = failure.fate != Fate::Keep;
    let (host, now) = (host.to_owned(), UnixMs::now());
    if ends {
        crash_point::hit(&OrderState::Failed.before());
    }
    inner
        .db
        .write(move |tx| {
            if ends {
                orders::give_up_open(tx, &host, &failure.sentence, now)?;
            }
            let Some(name) = store::name(tx, &host)? else {
                return Ok(());
            };
            let failures = name.failures.saturating_add(1);
            let wait = if failure.unasked {
                dns_retry_in(failures)
            } else if failure.at_once && failures <= AT_ONCE {
                SOON
            } else {
                retry_in(failures, left, failure.asked)
            };
            let next = now.plus(wait);
            store::name_failed(tx, &host, failures, &failure.sentence, Some(next))?;
            if name.error.as_deref() != Some(failure.sentence.as_str()) {
                events::record(
                    tx,
                    now,
                    &NewEvent::new(
                        "certificate.failed",
                        Level::Warning,
                        format!("certificate:{host}"),
                        format!("{} Next try: {next}.", failure.sentence),
                    ),
                )?;
            }
            Ok::<_, DbError>(())
        })
        .await?;
    if ends {
        crash_point::hit(&OrderState::Failed.after());
    }
    Ok(())
}

/// Asks when the server wants the certificate renewed (RFC 9773). A server
/// that does not say is not asked again; trouble only means asking later.
async fn ask_renewal_info(
    inner: &Inner,
    acme: &Acme,
    cert: &store::CertRow,
) -> Result<(), DbError> {
    let now = UnixMs::now();
    let (at, check) = match suggestion(inner, acme, cert).await {
        Ok(Some((at, again))) => {
            let again = again.clamp(HOUR, 24 * HOUR);
            (Some(at), Some(now.plus(again)))
        }
        Ok(None) => (None, None),
        Err(why) => {
            tracing::debug!(host = cert.host, why, "no renewal information");
            (None, Some(now.plus(6 * HOUR)))
        }
    };
    let id = cert.id;
    inner
        .db
        .write(move |tx| store::renewal_info(tx, id, at, check))
        .await
}

async fn suggestion(
    inner: &Inner,
    acme: &Acme,
    cert: &store::CertRow,
) -> Result<Option<(UnixMs, Duration)>, String> {
    let account = account::open(inner, &cert.host, acme, &Asked::default())
        .await
        .map_err(|f| f.sentence)?;
    let der =
        CertificateDer::from_pem_slice(cert.chain_pem.as_bytes()).map_err(|e| e.to_string())?;
    let id = CertificateIdentifier::try_from(&der)?;
    let (info, again) = match account.renewal_info(&id).await {
        Ok(found) => found,
        Err(instant_acme::Error::Unsupported(_)) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let window = info.suggested_window;
    let (start, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
    let mut random = [0u8; 2];
    fill_random(&mut random).map_err(|e| e.to_string())?;
    let share = i64::from(u16::from_be_bytes(random));
    let at = start.saturating_add(end.saturating_sub(start).max(0).saturating_mul(share) / 65_536);
    Ok(Some((UnixMs(at.saturating_mul(1_000)), again)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::{Certs, Settings, box_ca, leaf};
    use super::*;
    use crate::base::secret::MasterKey;
    use crate::db::{Db, Kind};

    /// An ACME server that knows its directory and, perhaps, renewal information.
    async fn server(with_ari: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let ari = format!(r#","renewalInfo":"{base}/ari""#);
        let directory = format!(
            r#"{{"newNonce":"{base}/n","newAccount":"{base}/a","newOrder":"{base}/o"{}}}"#,
            if with_ari { &ari } else { "" }
        );
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = [0u8; 4096];
                let n = stream.read(&mut seen).await.unwrap();
                let path = String::from_utf8_lossy(&seen[..n]).into_owned();
                let body = if path.starts_with("GET /dir ") {
                    directory.clone()
                } else {
                    assert!(path.starts_with("GET /ari/"), "{path}");
                    r#"{"suggestedWindow":{"start":"2030-01-02T00:00:00Z","end":"2030-01-03T00:00:00Z"}}"#.into()
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nRetry-After: 21600\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        format!("{base}/dir")
    }

    /// What is known of the renewal after asking a server, with the hours until it is asked again.
    async fn after_asking(with_ari: bool) -> (Option<UnixMs>, Option<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let master = MasterKey::open_or_create(&folder.path().join("master.key")).unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let acme = Acme {
            email: String::new(),
            directory: server(with_ari).await,
            ca_file: None,
            resolver: None,
        };
        let certs = Certs::open(db, Arc::new(master), Settings::new(acme.clone()))
            .await
            .unwrap();
        let inner = &certs.inner;
        account::keep_new_key(inner, &acme.directory).await.unwrap();
        let now = UnixMs::now();
        let root = inner.root().unwrap();
        let names = ["a.test".to_owned()];
        let made = box_ca::make_leaf(&root, &names, now, 900 * HOUR).unwrap();
        let facts = leaf::facts_of(made.chain_pem.as_bytes()).unwrap();
        let new = store::NewCert {
            host: "a.test".into(),
            source: "acme",
            directory: Some(acme.directory.clone()),
            chain_pem: made.chain_pem,
            key_sealed: Vec::new(),
            life: facts.life,
            issuer: facts.issuer,
        };
        let directory = acme.directory.clone();
        let cert = inner
            .db
            .write(move |tx| {
                orders::account_known(tx, &directory, Some("http://127.0.0.1/acct/1"), None)?;
                store::serve(tx, &new, now)?;
                store::certificate(tx, "a.test", "acme")
            })
            .await
            .unwrap()
            .unwrap();
        assert_eq!(cert.ari_check, Some(now), "not to be asked at once");
        ask_renewal_info(inner, &acme, &cert).await.unwrap();
        let read = inner.db.read(|c| store::certificate(c, "a.test", "acme"));
        let cert = read.await.unwrap().unwrap();
        let hours = |at: UnixMs| (at.since(now).as_secs() + 60) / 3_600;
        (cert.ari_at, cert.ari_check.map(hours))
    }

    #[tokio::test]
    async fn f5_the_servers_suggestion_when_to_renew_is_kept() {
        let (at, again) = after_asking(true).await;
        let day = UnixMs(1_893_542_400_000);
        let at = at.unwrap();
        assert!(at >= day && at <= day.plus(24 * HOUR), "{at}");
        assert_eq!(again, Some(6));
    }

    #[tokio::test]
    async fn f5_a_server_without_suggestions_is_not_asked_again() {
        assert_eq!(after_asking(false).await, (None, None));
    }
}
