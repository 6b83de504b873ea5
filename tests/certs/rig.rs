//! A control plane with nothing but certificates in it, and a port 80 that
//! answers its challenges as the edge would.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freehold::base::secret::MasterKey;
use freehold::base::shutdown::{Shutdown, Tasks};
use freehold::certs::{Boxed, CertSet, CertState, CertStatus, Certs, Publish, Settings};
use freehold::config;
use freehold::db::{Db, DbError, Kind};
use freehold::jobs::{Handlers, Jobs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::acme::Acme;

/// The settings that lead to `acme`.
pub fn settings(acme: &Acme) -> Settings {
    with(config::Acme {
        email: String::new(),
        directory: acme.directory.clone(),
        ca_file: Some(acme.ca_file.clone()),
        resolver: Some(acme.resolver.parse().unwrap()),
    })
}

pub fn with(acme: config::Acme) -> Settings {
    Settings::new(acme)
}

/// Settings for tests that never ask an ACME server.
pub fn nobody() -> Settings {
    with(config::Acme {
        email: String::new(),
        directory: "https://127.0.0.1:1/dir".into(),
        ca_file: None,
        resolver: None,
    })
}

/// A running control plane; dropping it is as good as its end.
pub struct Running {
    pub certs: Certs,
    pub db: Db,
    tasks: Tasks,
    port_80: Option<tokio::task::JoinHandle<()>>,
}

impl Running {
    /// Opens what is in `folder`. Challenges are answered at `address`, when there is one.
    pub async fn open(folder: &Path, settings: Settings, address: Option<Ipv4Addr>) -> Self {
        let master = MasterKey::open_or_create(&folder.join("master.key")).unwrap();
        let db = Db::open(&folder.join("state.db"), Kind::State).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let certs = Certs::open(db.clone(), Arc::new(master), settings)
            .await
            .unwrap();
        let mut handlers = Handlers::default();
        let publish = Arc::new(Live {
            current: certs.current(),
            stuck: address.is_none(),
        });
        certs.register(&mut handlers, publish);
        let port_80 = match address {
            Some(address) => Some(answer_challenges(address, certs.current()).await),
            None => None,
        };
        Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
        certs.spawn(&tasks);
        Self {
            certs,
            db,
            tasks,
            port_80,
        }
    }

    /// Ends it, work in progress cut where it is.
    pub async fn stop(self) {
        if let Some(port_80) = &self.port_80 {
            port_80.abort();
        }
        assert!(self.tasks.finish(Duration::from_secs(60)).await);
    }

    /// The status of `host` once `enough` of it.
    pub async fn status(
        &self,
        host: &str,
        limit: Duration,
        enough: impl Fn(&CertStatus) -> bool,
    ) -> CertStatus {
        let begun = std::time::Instant::now();
        loop {
            let all = self.certs.statuses().await.unwrap();
            let found = all.into_iter().find(|s| s.host == host);
            if let Some(status) = found.as_ref().filter(|s| enough(s)) {
                return status.clone();
            }
            assert!(begun.elapsed() < limit, "waited {limit:?}; last: {found:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `host` is in service, and no challenge is left over.
    pub async fn valid(&self, host: &str) -> CertStatus {
        let status = self
            .status(host, Duration::from_secs(120), |s| {
                s.state == CertState::Valid && s.order.is_none()
            })
            .await;
        let mut current = self.certs.current();
        let served = current.wait_for(|set| set.certificates.contains_key(host));
        let seen = tokio::time::timeout(Duration::from_secs(60), served).await;
        drop(seen.expect("valid, but not served").unwrap());
        status
    }

    /// The first column of one row.
    pub async fn number(&self, sql: &'static str) -> i64 {
        self.db
            .read(move |c| Ok::<_, DbError>(c.query_row(sql, [], |r| r.get(0))?))
            .await
            .unwrap()
    }

    pub async fn text(&self, sql: &'static str) -> String {
        self.db
            .read(move |c| Ok::<_, DbError>(c.query_row(sql, [], |r| r.get(0))?))
            .await
            .unwrap()
    }

    pub async fn bytes(&self, sql: &'static str) -> Vec<u8> {
        self.db
            .read(move |c| Ok::<_, DbError>(c.query_row(sql, [], |r| r.get(0))?))
            .await
            .unwrap()
    }

    /// The leaf that is served for `host` now.
    pub fn served(&self, host: &str) -> Option<Vec<u8>> {
        let set = self.certs.current().borrow().clone();
        Some(set.certificates.get(host)?.cert[0].to_vec())
    }
}

/// Tokens are live as soon as the set has them: port 80 here reads the set itself.
struct Live {
    current: watch::Receiver<Arc<CertSet>>,
    stuck: bool,
}

impl Publish for Live {
    fn challenge_live<'a>(&'a self, token: &'a str) -> Boxed<'a, Result<(), String>> {
        let mut current = self.current.clone();
        Box::pin(async move {
            if self.stuck {
                std::future::pending::<()>().await;
            }
            let seen = current.wait_for(|set| set.challenges.contains_key(token));
            match tokio::time::timeout(Duration::from_secs(20), seen).await {
                Ok(Ok(_)) => Ok(()),
                _ => Err("it is not in the snapshot".into()),
            }
        })
    }
}

async fn answer_challenges(
    address: Ipv4Addr,
    current: watch::Receiver<Arc<CertSet>>,
) -> tokio::task::JoinHandle<()> {
    let listener = TcpListener::bind(SocketAddr::from((address, 80)))
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let current = current.clone();
            tokio::spawn(async move {
                let mut head = vec![0u8; 8192];
                let n = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let token = path.strip_prefix("/.well-known/acme-challenge/");
                let set = current.borrow().clone();
                let answer = match token.and_then(|t| set.challenges.get(t)) {
                    Some(answer) => format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
                        answer.len()
                    ),
                    None => {
                        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                            .to_owned()
                    }
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    })
}
