//! What backups ask: the managed servers, and apps' traffic held for a moment.

use std::time::Duration;

use crate::apps::Apps;
use crate::backup::{Answer, Found, Part, Server, Servers, Traffic, Trouble};
use crate::base::clock::UnixMs;
use crate::base::sabotage::Sabotage;
use crate::daemon::publisher::Publisher;
use crate::postgres::{Database, Databases, PostgresError, State, derived};
use crate::proxy::drain;
use crate::supervise::Spec;

/// The managed servers as backups see them.
pub struct ServersPort(pub Databases);

fn trouble(error: PostgresError) -> Trouble {
    Trouble {
        passing: error.is_passing(),
        why: error.to_string(),
    }
}

fn passing(why: impl std::fmt::Display) -> Trouble {
    Trouble {
        why: why.to_string(),
        passing: true,
    }
}

impl ServersPort {
    async fn server(&self, id: i64) -> Result<Database, Trouble> {
        self.0
            .by_id(id)
            .await
            .map_err(trouble)?
            .ok_or_else(|| Trouble {
                why: "the database is not there any more".into(),
                passing: false,
            })
    }
}

impl Servers for ServersPort {
    fn list(&self) -> Answer<'_, Vec<Server>> {
        Box::pin(async move {
            let all = self.0.list().await.map_err(trouble)?;
            Ok(all
                .into_iter()
                .filter(|d| !matches!(d.state, State::Removing))
                .map(|d| Server {
                    id: d.id,
                    name: d.name.to_string(),
                    version: d.version,
                    ready: d.state == State::Ready,
                })
                .collect())
        })
    }

    fn parts(&self, server: i64) -> Answer<'_, Vec<Part>> {
        Box::pin(async move {
            let database = self.server(server).await?;
            let parts = self.0.contents(&database).await.map_err(trouble)?;
            Ok(parts
                .into_iter()
                .map(|p| Part {
                    name: p.logical.name,
                    owner: p.logical.owner,
                    roles: p.roles,
                    size_bytes: p.logical.size_bytes,
                    has_content: p.has_content,
                })
                .collect())
        })
    }

    fn side(&self, server: i64, name: String, argv: Vec<String>, part: String) -> Answer<'_, Spec> {
        Box::pin(async move {
            let database = self.server(server).await?;
            self.0.side(&database, name, argv, &part).map_err(trouble)
        })
    }

    fn end_sessions(&self, server: i64, tool: &'static str, name: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let database = self.server(server).await?;
            let ended = self.0.end_sessions(&database, tool, &name).await;
            ended.map_err(trouble)
        })
    }

    fn dbname(&self, part: &str) -> String {
        Databases::dbname_argument(part)
    }

    fn derived(&self, base: &str, suffix: &str) -> String {
        derived(base, suffix)
    }

    fn make_fresh(
        &self,
        server: i64,
        fresh: String,
        like: String,
        (owner, roles): (String, Vec<String>),
    ) -> Answer<'_, ()> {
        Box::pin(async move {
            let database = self.server(server).await?;
            self.0
                .make_fresh(&database, &fresh, &like, &owner, &roles)
                .await
                .map_err(trouble)
        })
    }

    fn found(&self, server: i64, part: String) -> Answer<'_, Found> {
        Box::pin(async move {
            let database = self.server(server).await?;
            let counts = self.0.counts(&database, &part).await.map_err(trouble)?;
            Ok(Found {
                tables: counts.tables,
                rows: counts.rows,
            })
        })
    }

    fn swap(&self, server: i64, live: String, fresh: String, kept: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let database = self.server(server).await?;
            self.0
                .swap(&database, &live, &fresh, &kept)
                .await
                .map_err(trouble)
        })
    }

    fn open_doors(&self, server: i64, part: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let database = self.server(server).await?;
            self.0.open_doors(&database, &part).await.map_err(trouble)
        })
    }

    fn drop_part(&self, server: i64, part: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let database = self.server(server).await?;
            self.0.drop_logical(&database, &part).await.map_err(trouble)
        })
    }

    fn apps(&self, server: i64, part: String) -> Answer<'_, Vec<i64>> {
        Box::pin(async move {
            let attached = self.0.attached(server).await.map_err(trouble)?;
            Ok(attached
                .into_iter()
                .filter(|a| a.role == part)
                .map(|a| a.app)
                .collect())
        })
    }
}

/// How long requests that run may take to end when their apps are paused.
const RUNNING: Duration = Duration::from_secs(5);

/// Apps' traffic as backups see it.
pub struct TrafficPort {
    /// Where a pause is a row.
    pub apps: Apps,
    /// What makes it so at the edge.
    pub publisher: Publisher,
}

impl Traffic for TrafficPort {
    fn pause(&self, owner: String, apps: Vec<i64>, limit: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            if Sabotage::NoPause.is_on() {
                return Ok(());
            }
            // Requests of a process before this one would not be held.
            self.publisher.alone().await;
            let targets = self.publisher.targets(&apps);
            self.apps
                .pause(owner, apps, limit, UnixMs::now())
                .await
                .map_err(passing)?;
            self.publisher.published().await.map_err(passing)?;
            // No new ones come; what goes on beyond this, such as a stream, may lose its connection to the database.
            if !drain::ended(&targets, RUNNING).await {
                tracing::info!("requests went on for longer than a pause waits for them");
            }
            Ok(())
        })
    }

    fn resume(&self, owner: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.apps.resume(owner).await.map_err(passing)?;
            self.publisher.published().await.map_err(passing)
        })
    }
}
