//! Certificates: for every name that is routed, one that is in service and
//! renewed in time.
//!
//! Three sources: the configured ACME server over HTTP-01 ([`order`](mod@order)),
//! the box's own certificate authority for private names and the box's address,
//! and files the user keeps. Invariants: a key is stored, sealed, before any
//! server hears of it; one order a name at a time (jobs keyed by host); the
//! server is told to look only when port 80 answers ([`Publish`]); one bad
//! certificate leaves the others in service; nothing happens in a handshake.
//!
//! Leaves to others: which names there are (the daemon says, with
//! [`Certs::want`]), and serving ([`Certs::current`] goes into the snapshot).

mod account;
mod acme_http;
mod addresses;
mod box_ca;
mod dns;
mod due;
mod failure;
mod files;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod job;
mod keeper;
mod leaf;
mod order;
mod pending;
mod ports;
mod precheck;
mod reach;
mod set;
mod state;
mod status;
mod store;
mod timing;
mod wanted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Transaction;
use tokio::sync::{Notify, Semaphore, watch};

use crate::base::clock::UnixMs;
use crate::base::secret::MasterKey;
use crate::base::shutdown::Tasks;
use crate::config::Acme;
use crate::db::{Db, DbError};
use crate::jobs::{Handlers, Outcome};

use store::orders;
use timing::LONGEST_WAIT;

pub use addresses::{for_the_box as box_addresses, local as local_addresses};
pub use box_ca::fingerprint;
pub use dns::{Lookup as Place, lookup as look_up};
pub use job::KIND as JOB_KIND;
pub use ports::{Boxed, Publish};
pub use set::CertSet;
pub use state::{OrderState, crash_points};
pub use status::{CertState, CertStatus};
pub use wanted::{BOX, Source, Wanted};

/// Orders at work at once, over all names.
const AT_ONCE: usize = 4;

/// What this domain is told of the box.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[acme]`
    pub acme: Acme,
    /// Names of the certificate for connections that name no host, beside the
    /// addresses of the box's interfaces, which it follows.
    pub box_names: Vec<String>,
    /// How long certificates of the box's own CA live.
    pub internal_life: Duration,
    /// Where the world reaches the challenges; 80 except in tests.
    pub challenge_port: u16,
}

impl Settings {
    /// The usual ones: 30 days, port 80, `localhost`.
    pub fn new(acme: Acme) -> Self {
        Self {
            acme,
            box_names: vec!["localhost".to_owned()],
            internal_life: Duration::from_secs(30 * 86_400),
            challenge_port: 80,
        }
    }
}

/// The root of the box's own CA, as people need it to trust it.
#[derive(Clone, Debug)]
pub struct BoxRoot {
    /// The certificate.
    pub pem: String,
    /// SHA-256, `AB:CD:…`.
    pub fingerprint: String,
}

/// The handle on this domain; cheap to clone.
#[derive(Clone)]
pub struct Certs {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    master: Arc<MasterKey>,
    settings: Mutex<Arc<Settings>>,
    root_pem: String,
    root_key: Vec<u8>,
    wanted: Mutex<Option<Vec<Wanted>>>,
    served: watch::Sender<Arc<CertSet>>,
    built: tokio::sync::Mutex<set::Built>,
    files: Arc<files::Files>,
    at_work: Mutex<HashMap<String, UnixMs>>,
    orders: Semaphore,
    poke: Notify,
}

/// Keeps the names of the last stop, and makes what is due.
async fn begin(inner: &Inner) -> Result<(), DbError> {
    let now = UnixMs::now();
    inner
        .db
        .write(move |tx| {
            let mut kept: Vec<Wanted> = store::names(tx)?
                .into_iter()
                .filter(|n| n.host != BOX)
                .map(|n| Wanted {
                    host: n.host,
                    source: n.source,
                })
                .collect();
            kept.push(of_the_box());
            store::keep_names(tx, &kept, now)
        })
        .await?;
    keeper::tend(inner).await.map(drop)
}

impl Certs {
    /// Opens the domain: makes the box's CA at the first start, and has what
    /// was served before the last stop in [`Certs::current`] at once.
    ///
    /// # Errors
    /// When the database or `master.key` cannot be used.
    pub async fn open(db: Db, master: Arc<MasterKey>, settings: Settings) -> Result<Self, DbError> {
        let (root_pem, root_key) = root(&db, &master).await?;
        let inner = Arc::new(Inner {
            db,
            master,
            settings: Mutex::new(Arc::new(settings)),
            root_pem,
            root_key,
            wanted: Mutex::new(None),
            served: watch::Sender::new(Arc::new(CertSet::default())),
            built: tokio::sync::Mutex::default(),
            files: Arc::default(),
            at_work: Mutex::default(),
            orders: Semaphore::new(AT_ONCE),
            poke: Notify::new(),
        });
        match begin(&inner).await {
            Err(error) if error.is_disk_full() => {
                // The keeper tries again; sites must not stay down for want of space.
                tracing::warn!(%error, "certificates are served as they were kept");
                inner.publish_set().await?;
            }
            begun => begun?,
        }
        Ok(Self { inner })
    }

    /// Registers the job [`JOB_KIND`].
    pub fn register(&self, handlers: &mut Handlers, publish: Arc<dyn Publish>) {
        let inner = Arc::clone(&self.inner);
        handlers.on(JOB_KIND, job::MOST, move |context, payload| {
            let (inner, publish) = (Arc::clone(&inner), Arc::clone(&publish));
            async move {
                match payload.get("host").and_then(|h| h.as_str()) {
                    Some(host) => {
                        job::handle(inner, publish, host.to_owned(), context.cancel).await
                    }
                    None => Outcome::Failed("the job names no host".into()),
                }
            }
        });
    }

    /// Starts the task that keeps everything in time.
    pub fn spawn(&self, tasks: &Tasks) {
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("certs", keeper::run(Arc::clone(&self.inner), shutdown));
    }

    /// Says which names need a certificate from now on, all of them. Calling it
    /// with what it was told last costs nothing.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn want(&self, wanted: Vec<Wanted>) -> Result<(), DbError> {
        let mut wanted = wanted::settle(wanted);
        wanted.push(of_the_box());
        if lock(&self.inner.wanted).as_ref() == Some(&wanted) {
            return Ok(());
        }
        let now = UnixMs::now();
        let names = wanted.clone();
        self.inner
            .db
            .write(move |tx| store::keep_names(tx, &names, now))
            .await?;
        let hosts: Vec<&str> = wanted.iter().map(|w| w.host.as_str()).collect();
        self.inner.files.keep(&hosts);
        *lock(&self.inner.wanted) = Some(wanted);
        self.inner.poke.notify_one();
        Ok(())
    }

    /// Takes new settings.
    pub fn configure(&self, settings: Settings) {
        *lock(&self.inner.settings) = Arc::new(settings);
        self.inner.poke.notify_one();
    }

    /// Lets the next try for a failed name be now. Says whether one had failed.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn try_now(&self, host: &str) -> Result<bool, DbError> {
        let host = host.to_owned();
        let found = self
            .inner
            .db
            .write(move |tx| store::name_at_once(tx, &host))
            .await?;
        self.inner.poke.notify_one();
        Ok(found)
    }

    /// The same for every name that failed: what they failed at was changed.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn try_all_now(&self) -> Result<(), DbError> {
        self.inner.db.write(store::failed_names_at_once).await?;
        self.inner.poke.notify_one();
        Ok(())
    }

    /// The clock was set by `by_ms` (below 0: back); `None` when that happened while no daemon ran. Tries come when they
    /// had to.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn clock_set(&self, by_ms: Option<i64>, now: UnixMs) -> Result<(), DbError> {
        let set = move |tx: &Transaction<'_>| store::clock_set(tx, by_ms, LONGEST_WAIT, now);
        self.inner.db.write(set).await?;
        self.inner.poke.notify_one();
        Ok(())
    }

    /// What is to be served, now and after each change.
    pub fn current(&self) -> watch::Receiver<Arc<CertSet>> {
        self.inner.served.subscribe()
    }

    /// How every wanted name's certificate is doing, by name.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn statuses(&self) -> Result<Vec<CertStatus>, DbError> {
        let now = UnixMs::now();
        let (names, certs, open) = self
            .inner
            .db
            .read(|c| {
                Ok::<_, DbError>((
                    store::names(c)?,
                    store::certificates(c)?,
                    orders::all_open(c)?,
                ))
            })
            .await?;
        let of = |name: store::NameRow| {
            let in_service = match &name.source {
                Source::Files { .. } => {
                    self.inner
                        .files
                        .of(&name.host)
                        .map(|(_, leaf)| status::InService {
                            life: leaf.facts.life,
                            issuer: leaf.facts.issuer,
                            renews_at: None,
                        })
                }
                source => certs
                    .iter()
                    .find(|c| c.host == name.host && c.source == source.word())
                    .map(status::InService::of),
            };
            let order = open.iter().find(|o| o.host == name.host);
            status::status(name, in_service, order.map(|o| o.state), now)
        };
        Ok(names.into_iter().map(of).collect())
    }

    /// The root of the box's own CA.
    pub fn root(&self) -> BoxRoot {
        let pem = self.inner.root_pem.clone();
        BoxRoot {
            fingerprint: box_ca::fingerprint(&pem).unwrap_or_default(),
            pem,
        }
    }
}

impl Inner {
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.settings))
    }

    /// The box's CA with its key, opened for one use.
    fn root(&self) -> Result<box_ca::Made, String> {
        let key = self
            .master
            .open_text(ROOT_CONTEXT, &self.root_key)
            .map_err(|e| e.to_string())?;
        Ok(box_ca::Made {
            chain_pem: self.root_pem.clone(),
            key_pem: key,
        })
    }

    /// Whether the daemon has said yet which names it wants.
    fn wanted_once(&self) -> bool {
        lock(&self.wanted).is_some()
    }

    /// Claims the one job of `host`; a claim older than `lost` no longer counts.
    fn job_begins(&self, host: &str, now: UnixMs, lost: Duration) -> bool {
        let mut at_work = lock(&self.at_work);
        let busy = at_work
            .get(host)
            .is_some_and(|since| now.since(*since) < lost);
        if !busy {
            at_work.insert(host.to_owned(), now);
        }
        !busy
    }

    fn job_ended(&self, host: &str) {
        lock(&self.at_work).remove(host);
        self.poke.notify_one();
    }
}

const ROOT_CONTEXT: &str = "box_ca";

/// The stored root and its sealed key, made at the first start.
async fn root(db: &Db, master: &MasterKey) -> Result<(String, Vec<u8>), DbError> {
    if let Some(found) = db.read(store::box_ca).await? {
        return Ok(found);
    }
    let now = UnixMs::now();
    let made = box_ca::make_root(now)
        .map_err(|e| DbError::Unavailable(format!("the box's own CA could not be made: {e}")))?;
    let sealed = master.seal_text(ROOT_CONTEXT, &made.key_pem)?;
    db.write(move |tx| {
        store::keep_box_ca(tx, &made.chain_pem, &sealed, now)?;
        store::box_ca(tx)
    })
    .await?
    .ok_or_else(|| DbError::Unavailable("the box's own CA was not stored".into()))
}

fn of_the_box() -> Wanted {
    Wanted {
        host: BOX.into(),
        source: Source::Internal,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
