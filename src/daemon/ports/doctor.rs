//! What `doctor` looks at: each part of the box asked at once, each with its own limit, all within seconds.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinError;

use crate::apps::Apps;
use crate::backup::Backups;
use crate::base::clock::UnixMs;
use crate::certs::{self, Certs, Place};
use crate::config::{Config, Listen};
use crate::db::Db;
use crate::docker::Engine;
use crate::doctor::{
    self, Clock, Database, Descriptors, Dump, Engine as EngineSeen, Facts, Keeper, Listening,
    Named, Owner, Pointing, Ports, State,
};
use crate::host::{self, Disk, FirewallFiles, Modes, descriptors};
use crate::http_client::{self, HttpClient, Timeouts};
use crate::monitor::Monitor;
use crate::wire::doctor::Report;

/// No question takes longer.
const LIMIT: Duration = Duration::from_secs(3);
/// Names looked up, at most, and at once.
const NAMES: usize = 200;
const AT_ONCE: usize = 16;

/// For so long an examination is told again: nobody mends and looks again as fast.
const SHARED: Duration = Duration::from_secs(2);

/// Handles on what is looked at.
#[derive(Clone)]
pub struct Examiner {
    /// The settings in force.
    pub settings: watch::Receiver<Arc<Config>>,
    /// Where the edge really listens.
    pub listen: Listen,
    /// Whether systemd holds the sockets.
    pub held: bool,
    /// Freehold's own database.
    pub db: Db,
    /// Domains.
    pub apps: Apps,
    /// Certificates.
    pub certs: Certs,
    /// Targets.
    pub backups: Backups,
    /// Knows how certificates and dumps stand.
    pub monitor: Monitor,
    /// What was seen last, and when.
    pub last: Arc<Mutex<Option<(Instant, Report)>>>,
}

impl Examiner {
    /// Looks at everything; one look at a time, and who asks while or right after another did is told what that one saw:
    /// it reads all of the database and asks the world outside.
    pub async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((_, report)) = last.as_ref().filter(|(at, _)| at.elapsed() < SHARED) {
            return report.clone();
        }
        let report = self.look().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn look(&self) -> Report {
        let begun = Instant::now();
        let facts = self.facts().await;
        let now = UnixMs::now();
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        doctor::report(doctor::examine(&facts, now), now, took)
    }

    /// What this box says of itself without asking anybody; off the threads that serve.
    pub async fn here(&self) -> Facts {
        let this = self.clone();
        unless_lost(tokio::task::spawn_blocking(move || this.read_here()).await)
    }

    fn read_here(&self) -> Facts {
        let settings = self.settings.borrow().clone();
        Facts {
            clock: Some(Clock {
                kept: host::timekeeper(Path::new("/run")),
                skew_ms: None,
            }),
            memory: host::memory().ok(),
            descriptors: Some(descriptors_of(&settings)),
            permissions: Some(Modes::read(
                &settings.data_dir,
                &settings.run_dir.join("freehold.sock"),
                Path::new("/etc/group"),
            )),
            ports: Some(ports_of(&self.listen, self.held)),
            ..Facts::default()
        }
    }

    async fn facts(&self) -> Facts {
        let settings = self.settings.borrow().clone();
        let (engine, here, names, skew, database, overview, targets) = tokio::join!(
            engine(&settings.docker.host),
            self.slow_files(&settings),
            self.names(&settings),
            self.skew(&settings),
            tokio::time::timeout(LIMIT, self.db.examine()),
            self.monitor.overview(UnixMs::now()),
            self.backups.targets(),
        );
        let mut facts = here;
        facts.engine = Some(engine);
        facts.names = names.unwrap_or_else(|why| {
            facts.unread.push(why);
            Vec::new()
        });
        facts.addresses = certs::local_addresses();
        if let Some(clock) = &mut facts.clock {
            clock.skew_ms = skew;
        }
        let check = match database {
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(seen)) => Ok(seen),
        };
        facts.database = Some(match check {
            Ok(seen) => State {
                path: seen.path,
                check: Ok(seen.check),
                took: seen.took,
                wal: seen.wal,
                steps: seen.steps,
            },
            Err(why) => State {
                path: settings.data_dir.join("state.db"),
                check: Err(why),
                took: LIMIT,
                wal: 0,
                steps: (0, 0),
            },
        });
        match overview {
            Err(error) => facts.unread.push(error.to_string()),
            Ok(overview) => {
                facts.attention = overview.attention;
                facts.certificates = Some(overview.certificates);
                facts.backups = Some(Database {
                    targets: targets
                        .unwrap_or_else(|error| {
                            facts.unread.push(error.to_string());
                            Vec::new()
                        })
                        .into_iter()
                        .map(|t| crate::doctor::Target {
                            away: t.is_away(),
                            name: t.name.to_string(),
                            is_default: t.is_default,
                            fault: t.fault,
                        })
                        .collect(),
                    dumps: overview
                        .databases
                        .into_iter()
                        .map(|d| Dump {
                            name: d.name,
                            born: d.born_ms,
                            stored: d.backup_ms,
                            failed: d.failed_why,
                        })
                        .collect(),
                });
            }
        }
        facts
    }

    /// Files and the kernel's tables, off the threads that serve.
    async fn slow_files(&self, settings: &Config) -> Facts {
        let (this, data_dir) = (self.clone(), settings.data_dir.clone());
        let read = tokio::task::spawn_blocking(move || Facts {
            disk: Disk::of(&data_dir).ok(),
            firewall: Some(FirewallFiles::read(Path::new("/etc"))),
            ..this.read_here()
        });
        unless_lost(read.await)
    }

    /// The names that should lead here, each looked up as an order of a certificate does.
    async fn names(&self, settings: &Config) -> Result<Vec<Named>, String> {
        let words = |e: crate::apps::AppError| e.to_string();
        let apps = self.apps.list().await.map_err(words)?;
        let mut wanted: Vec<(String, String)> = Vec::new();
        if let Some(host) = &settings.dashboard.host {
            wanted.push((host.to_string(), "the dashboard".into()));
        }
        for route in self.apps.routes(None).await.map_err(words)? {
            let app = apps.iter().find(|a| a.id == route.app);
            let of = app.map_or_else(String::new, |a| format!("the app {}", a.name));
            wanted.push((route.domain.host.to_string(), of));
        }
        for route in &settings.routes {
            wanted.push((route.host.to_string(), "a route of the settings".into()));
        }
        wanted.sort();
        wanted.dedup_by(|a, b| a.0 == b.0);
        // These lead to whoever asks, by definition.
        wanted.retain(|(host, _)| host != "localhost" && !host.ends_with(".localhost"));
        wanted.truncate(NAMES);
        let resolver = settings.acme.resolver;
        let mut named: Vec<Named> = stream::iter(wanted)
            .map(|(host, of)| async move {
                let found = tokio::time::timeout(LIMIT, certs::look_up(&host, resolver)).await;
                let pointing = match found {
                    Err(_) => Pointing::Unknown(format!("no answer within {} s", LIMIT.as_secs())),
                    Ok(Place::Addresses(all)) => Pointing::To(all),
                    Ok(Place::Nowhere) => Pointing::Nowhere,
                    Ok(Place::Unknown(why)) => Pointing::Unknown(why),
                };
                Named { host, of, pointing }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        named.sort_by(|a, b| a.host.cmp(&b.host));
        Ok(named)
    }

    /// How far the clock is from the ACME server's, where a certificate came from it: no new host is asked.
    async fn skew(&self, settings: &Config) -> Option<(i64, String)> {
        let statuses = self.certs.statuses().await.ok()?;
        if !statuses
            .iter()
            .any(|s| s.source == "acme" && s.not_after.is_some())
        {
            return None;
        }
        let url: http::Uri = settings.acme.directory.as_str().parse().ok()?;
        let whose = url.host()?.to_owned();
        let client = HttpClient::new(settings.acme.ca_file.clone()).ok()?;
        let request = http::Request::head(url).body(http_client::empty()).ok()?;
        let limits = Timeouts {
            answer: LIMIT,
            idle: LIMIT,
        };
        let sent = UnixMs::now();
        let answer = tokio::time::timeout(LIMIT, client.send(request, limits)).await;
        let answer = answer.ok()?.ok()?;
        let theirs = http_client::date(answer.headers())?;
        // The answer was written somewhere between the question and now.
        let ours = i64::midpoint(sent.0, UnixMs::now().0);
        Some((ours - theirs.0, whose))
    }
}

fn unless_lost(read: Result<Facts, JoinError>) -> Facts {
    read.unwrap_or_else(|error| Facts {
        unread: vec![format!("The files of this box could not be read: {error}")],
        ..Facts::default()
    })
}

async fn engine(host: &str) -> EngineSeen {
    let asked = async {
        let engine = Engine::connect(host).map_err(|e| e.to_string())?;
        engine.facts().await.map_err(|e| e.to_string())
    };
    let told = tokio::time::timeout(LIMIT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())));
    // An engine elsewhere has a disk elsewhere.
    let root = told.as_ref().ok().filter(|_| host.starts_with("unix:"));
    let root = root.and_then(|t| Disk::of(&t.folder()).ok());
    EngineSeen {
        host: host.to_owned(),
        told,
        root: root.map(|d| (d.available, d.total)),
    }
}

fn descriptors_of(settings: &Config) -> Descriptors {
    let (allowed, wanted) = (descriptors::allowed(), settings.limits.connections);
    Descriptors {
        in_use: descriptors::in_use(),
        allowed,
        connections: descriptors::connections(wanted, allowed),
        wanted,
    }
}

fn ports_of(listen: &Listen, held: bool) -> Ports {
    let wanted = [listen.http, listen.https];
    let sockets = host::listening_on(&wanted.map(|a| a.port()));
    let programs = host::programs(&sockets);
    Ports {
        wanted,
        keeper: match held {
            true => Keeper::Systemd,
            false => Keeper::Daemon,
        },
        listening: sockets
            .into_iter()
            .map(|socket| Listening {
                address: socket.address,
                owner: match programs.get(&socket.inode) {
                    Some((_, true)) => Owner::Ours,
                    Some((name, false)) => Owner::Program(name.clone()),
                    None => Owner::Hidden,
                },
            })
            .collect(),
    }
}
