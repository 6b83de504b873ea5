//! Asks every check in its turn, confirms failures, and keeps incidents.
//!
//! Checks of domains follow what the apps want, from a domain's birth to its
//! end. A check is never asked twice at once; a hiccup that a quick recheck
//! does not meet again is no failure.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::base::clock::UnixMs;
use crate::base::shutdown::Shutdown;
use crate::config::{Checks, Config};
use crate::db::{Db, DbError};

use super::ports::{WantedCheck, World};
use super::probe::{self, Failure, Question, Stage};
use super::series::{CheckSample, Series};
use super::store::{self, CheckRow};
use super::verdict::{self, Standing, Verdict};

/// How often due checks are looked for.
const TICK: Duration = Duration::from_secs(1);
/// How often the wanted checks are asked for when nothing was committed.
const LOOK: Duration = Duration::from_secs(30);
/// Questions at once; what is more waits for the next tick. Each may hold one of
/// the daemon's 16 threads that block for as long as a dead resolver takes, and
/// SQLite's readers and sign-ins need the rest.
const AT_ONCE: usize = 6;

pub(super) struct Uptime {
    pub(super) db: Db,
    pub(super) series: Series,
    pub(super) world: Arc<dyn World>,
    pub(super) trust: Mutex<Trust>,
    /// Beside the system's, in PEM.
    pub(super) extra_roots: Arc<Vec<Vec<u8>>>,
    /// The edge's own https listener.
    pub(super) edge: SocketAddr,
    pub(super) settings: watch::Receiver<Arc<Config>>,
}

/// What checks trust, and the issuers it was made with.
pub(super) struct Trust {
    pub(super) issuers: Vec<Vec<u8>>,
    pub(super) tls: Arc<ClientConfig>,
}

impl Uptime {
    /// Runs until the daemon stops.
    pub(super) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut commits = self.db.commits();
        let mut looked: Option<Instant> = None;
        let mut checks: Vec<CheckRow> = Vec::new();
        let mut due: HashMap<i64, Instant> = HashMap::new();
        let mut asked: HashSet<i64> = HashSet::new();
        let mut questions: JoinSet<i64> = JoinSet::new();
        loop {
            let changed = commits.has_changed().unwrap_or(false);
            if changed || looked.is_none_or(|at| at.elapsed() >= LOOK) {
                commits.mark_unchanged();
                looked = Some(Instant::now());
                match self.follow().await {
                    Ok(found) => checks = found,
                    Err(error) => {
                        tracing::warn!(%error, "the list of checks could not be brought up to date")
                    }
                }
            }
            let settings = self.settings.borrow().checks;
            let now = Instant::now();
            due.retain(|id, _| checks.iter().any(|c| c.id == *id));
            // Who waited longest first: some that hang must not keep those after them from being asked.
            let mut active: Vec<&CheckRow> = checks.iter().filter(|c| c.active).collect();
            active.sort_by_key(|c| *due.entry(c.id).or_insert(now));
            for check in active {
                let at = *due.entry(check.id).or_insert(now);
                if at <= now && questions.len() < AT_ONCE && asked.insert(check.id) {
                    due.insert(check.id, now + settings.every);
                    let (this, check) = (Arc::clone(&self), check.clone());
                    questions.spawn(async move { this.check(check, settings).await });
                }
            }
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(TICK) => {}
                Some(done) = questions.join_next() => match done {
                    Ok(id) => { asked.remove(&id); }
                    // Its id is lost with it; all are free to be asked again.
                    Err(error) => {
                        tracing::error!(%error, "a check panicked");
                        asked.clear();
                    }
                }
            }
        }
    }

    /// Brings the checks of domains in line with what is wanted.
    async fn follow(&self) -> Result<Vec<CheckRow>, String> {
        self.follow_issuers().await?;
        let mut wanted = self.world.wanted().await?;
        wanted.sort_by(|a, b| a.url.cmp(&b.url));
        wanted.dedup_by(|a, b| a.url == b.url);
        let known = self
            .db
            .read(store::checks)
            .await
            .map_err(|e: DbError| e.to_string())?;
        if same(&known, &wanted) {
            return Ok(known);
        }
        let gone = self
            .db
            .write(move |tx| store::reconcile(tx, &wanted, UnixMs::now()))
            .await
            .map_err(|e: DbError| e.to_string())?;
        for check in gone {
            self.series
                .forget_check(check)
                .await
                .map_err(|e| e.to_string())?;
        }
        self.db
            .read(store::checks)
            .await
            .map_err(|e: DbError| e.to_string())
    }

    /// Trusts what a private ACME server signs with from now on.
    async fn follow_issuers(&self) -> Result<(), String> {
        let issuers = self.world.private_issuers().await?;
        if self.trust().issuers == issuers {
            return Ok(());
        }
        let (extra, new) = (Arc::clone(&self.extra_roots), issuers.clone());
        let tls = tokio::task::spawn_blocking(move || probe::trust(&extra, &new))
            .await
            .map_err(|e| e.to_string())??;
        *self.trust() = Trust { issuers, tls };
        Ok(())
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks once, again where that failed, and writes what came of it.
    async fn check(&self, check: CheckRow, settings: Checks) -> i64 {
        let standing = Standing {
            proven: check.proven,
            down: check.open.is_some(),
            created: check.created,
        };
        let mut ended = self.ask(&check, settings).await;
        for _ in 0..verdict::rechecks(standing, settings.rechecks) {
            if ended.is_ok() {
                break;
            }
            tokio::time::sleep(verdict::RECHECK_AFTER).await;
            ended = self.ask(&check, settings).await;
        }
        let id = check.id;
        if let Err(error) = self.conclude(check, standing, ended).await {
            tracing::warn!(check = id, %error, "the end of a check could not be written");
        }
        id
    }

    async fn ask(&self, check: &CheckRow, settings: Checks) -> Result<Duration, Failure> {
        let Ok(url) = Url::parse(&check.url) else {
            return Err(Failure {
                stage: Stage::Http,
                why: "the address cannot be read".into(),
            });
        };
        let question = Question {
            url,
            through: (!check.by_hand).then_some(self.edge),
            proxy_protocol: self.settings.borrow().listen.proxy_protocol.clone(),
            strict: check.strict,
            timeout: settings.timeout,
        };
        let tls = Arc::clone(&self.trust().tls);
        probe::ask(&tls, &question).await
    }

    async fn conclude(
        &self,
        check: CheckRow,
        standing: Standing,
        ended: Result<Duration, Failure>,
    ) -> Result<(), DbError> {
        let now = UnixMs::now();
        let verdict = verdict::decide(standing, ended.is_ok(), now);
        if verdict == Verdict::TooYoung {
            return Ok(());
        }
        let took = ended.as_ref().copied().unwrap_or_default();
        let sample = CheckSample {
            check: check.id,
            failed: ended
                .as_ref()
                .err()
                .map(|f| (f.stage.as_str(), f.why.clone())),
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        self.series.add_check(now, sample).await?;
        match (verdict, ended) {
            (Verdict::Open, Err(failure)) => {
                self.db
                    .write(move |tx| store::open_incident(tx, &check, &failure, now))
                    .await
            }
            (Verdict::Close, _) => {
                self.db
                    .write(move |tx| store::close_incident(tx, &check, now))
                    .await
            }
            (Verdict::Proven, _) => {
                self.db
                    .write(move |tx| store::mark_proven(tx, check.id))
                    .await
            }
            _ => Ok(()),
        }
    }
}

fn same(known: &[CheckRow], wanted: &[WantedCheck]) -> bool {
    let of_domains = known.iter().filter(|c| !c.by_hand);
    of_domains.clone().count() == wanted.len()
        && of_domains.into_iter().all(|c| {
            wanted.iter().any(|w| {
                (&w.url, &w.subject, &w.name, w.strict, w.active)
                    == (&c.url, &c.subject, &c.name, c.strict, c.active)
            })
        })
}
