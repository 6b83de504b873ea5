//! What deploying asks: apps, attached databases, traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apps;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::daemon::publisher::Publisher;
use crate::deploy::ports::{AppFacts, Apps, Attachments, Boxed, RegistryLogin, Scale, Traffic};
use crate::git::{GitUrl, Remote};
use crate::postgres::Databases;

/// Apps as deploying sees them.
pub struct AppsPort(pub apps::Apps);

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Apps for AppsPort {
    fn facts(&self, app: i64) -> Boxed<'_, Result<Option<AppFacts>, String>> {
        Box::pin(async move {
            let Some(found) = self.0.by_id(app).await.map_err(words)? else {
                return Ok(None);
            };
            let git = self.0.git(app).await.map_err(words)?;
            let registry = self.0.registry(app).await.map_err(words)?;
            let scale = self.0.scale(app).await.map_err(words)?;
            Ok(Some(AppFacts {
                id: app,
                name: found.name.to_string(),
                git: git.map(|g| (g.remote, g.branch)),
                registry: registry.map(|r| RegistryLogin {
                    host: r.host,
                    user: r.user,
                    password: r.password,
                }),
                env: self.0.env(app).await.map_err(words)?,
                scale: scale
                    .into_iter()
                    .map(|(process, s)| {
                        let scale = Scale {
                            min: s.min,
                            memory_bytes: s.memory_bytes,
                            nano_cpus: s.nano_cpus,
                        };
                        (process, scale)
                    })
                    .collect(),
                removing: found.removing,
            }))
        })
    }

    fn remote_for(&self, app: i64, url: GitUrl) -> Boxed<'_, Result<Remote, String>> {
        Box::pin(async move { self.0.remote_for(app, &url).await.map_err(words) })
    }

    fn webhook_secret(&self, app: i64) -> Boxed<'_, Result<Secret, String>> {
        Box::pin(async move { self.0.webhook_secret(app).await.map_err(words) })
    }

    fn delete(&self, app: i64, name: String) -> Boxed<'_, Result<(), String>> {
        Box::pin(async move { self.0.delete(app, name, UnixMs::now()).await.map_err(words) })
    }
}

/// Databases as deploying sees them.
pub struct AttachmentsPort(pub Databases);

impl Attachments for AttachmentsPort {
    fn env_for(&self, app: i64) -> Boxed<'_, Result<BTreeMap<String, Secret>, String>> {
        Box::pin(async move {
            let given = self.0.given_to(app).await.map_err(words)?;
            Ok(given.into_iter().map(|g| (g.env_name, g.url)).collect())
        })
    }

    fn networks_for(&self, app: i64) -> Boxed<'_, Result<Vec<String>, String>> {
        Box::pin(async move {
            let given = self.0.given_to(app).await.map_err(words)?;
            Ok(given.into_iter().map(|g| g.network).collect())
        })
    }

    fn forget(&self, app: i64) -> Boxed<'_, Result<(), String>> {
        Box::pin(async move {
            self.0
                .app_removed(app, "the app's removal")
                .await
                .map_err(words)
        })
    }
}

/// The edge as deploying sees it.
pub struct TrafficPort(pub Publisher);

impl Traffic for TrafficPort {
    fn switched(&self, app: i64) -> Boxed<'_, Result<(), String>> {
        Box::pin(self.0.switched(app))
    }

    fn alone(&self) -> Boxed<'_, ()> {
        Box::pin(self.0.alone())
    }

    fn drained(&self, _app: i64, containers: Vec<i64>, limit: Duration) -> Boxed<'_, bool> {
        Box::pin(async move { self.0.drained(&containers, limit).await == 0 })
    }
}
