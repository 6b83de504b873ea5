//! Networks and volumes of ours at the engine.
//!
//! A network's subnet is a row before the network exists, so a network that
//! the engine lost comes back with the same addresses.

use crate::base::clock::UnixMs;
use crate::docker::{EngineError, Network};

use super::error::SuperviseError;
use super::plan::Orphans;
use super::shared::Shared;
use super::spec::Kind;
use super::store;
use super::subnet::{self, Range};

/// Subnets tried when the engine finds one in use that we could not see.
const TRIES: usize = 8;

impl Shared {
    pub(super) async fn ensure_network(&self, name: &str) -> Result<(), SuperviseError> {
        let _one_at_a_time = self.networks.lock().await;
        let engine_name = self.names.of(name);
        let present = self.engine.list_networks(&[]).await?;
        if let Some(network) = present.iter().find(|n| n.name == engine_name) {
            return match self.names.is_ours(&network.labels) {
                true => self.keep_one(&engine_name, &present).await,
                false => Err(EngineError::Conflict {
                    what: format!("create network {engine_name}"),
                    message: "a network of that name belongs to another installation".to_owned(),
                }
                .into()),
            };
        }
        let mut taken: Vec<Range> = present
            .iter()
            .flat_map(|n| &n.subnets)
            .filter_map(|s| Range::parse(s))
            .collect();
        taken.extend(box_routes().await);
        let mut last = None;
        for _ in 0..TRIES {
            let range = self.subnet_for(name, &taken).await?;
            let made = self
                .engine
                .create_network(
                    &engine_name,
                    &range.to_string(),
                    &range.gateway().to_string(),
                    self.names.network(name),
                )
                .await;
            match made {
                Ok(_) => {
                    let present = self.engine.list_networks(&[self.names.filter()]).await?;
                    return self.keep_one(&engine_name, &present).await;
                }
                Err(EngineError::Refused { message, what })
                    if message.to_lowercase().contains("overlap") =>
                {
                    taken.push(range);
                    let name = name.to_owned();
                    self.write(move |tx| store::free_subnet(tx, &name)).await?;
                    last = Some(EngineError::Refused { what, message });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.map_or_else(
            || SuperviseError::NoSubnet(self.settings().pool.to_string()),
            SuperviseError::Engine,
        ))
    }

    /// The engine takes two networks of one name, and then starts nothing on it. So it comes to be when a daemon is killed
    /// whose request for it is still being worked off while the next one asks: one of them goes.
    async fn keep_one(&self, engine_name: &str, present: &[Network]) -> Result<(), SuperviseError> {
        let ours = present
            .iter()
            .filter(|n| n.name == engine_name && self.names.is_ours(&n.labels));
        let ours: Vec<_> = ours.collect();
        let mut left = ours.len();
        for network in ours {
            if left < 2 {
                break;
            }
            // One that is in use stays, and the other goes.
            match self.engine.remove_network(&network.id).await {
                Ok(()) => left -= 1,
                Err(error) => tracing::debug!(%error, "a second network of one name is in use"),
            }
        }
        Ok(())
    }

    /// The subnet the network has, or a free one that it is given.
    async fn subnet_for(&self, name: &str, taken: &[Range]) -> Result<Range, SuperviseError> {
        let rows = self.read(store::networks).await?;
        let own = rows.iter().find(|(n, _)| n == name);
        if let Some(range) = own.and_then(|(_, subnet)| Range::parse(subnet)) {
            if !taken.iter().any(|t| t.overlaps(range)) {
                return Ok(range);
            }
            let name = name.to_owned();
            self.write(move |tx| store::free_subnet(tx, &name)).await?;
        }
        let mut taken = taken.to_vec();
        taken.extend(rows.iter().filter_map(|(_, subnet)| Range::parse(subnet)));
        let settings = self.settings();
        let range = subnet::free(settings.pool, settings.prefix, &taken)
            .ok_or_else(|| SuperviseError::NoSubnet(settings.pool.to_string()))?;
        let (name, text) = (name.to_owned(), range.to_string());
        self.write(move |tx| store::give_subnet(tx, &name, &text, UnixMs::now()))
            .await?;
        Ok(range)
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<(), SuperviseError> {
        let _one_at_a_time = self.networks.lock().await;
        let engine_name = self.names.of(name);
        let present = self.engine.list_networks(&[self.names.filter()]).await?;
        if let Some(network) = present.iter().find(|n| n.name == engine_name) {
            self.engine.remove_network(&network.id).await?;
        }
        let name = name.to_owned();
        self.write(move |tx| store::free_subnet(tx, &name)).await
    }

    /// Removes networks that carry our label and that no row knows.
    pub(super) async fn sweep_networks(&self) -> Result<(), SuperviseError> {
        if self.orphans().await == Orphans::Stay {
            return Ok(());
        }
        let _one_at_a_time = self.networks.lock().await;
        let rows = self.read(store::networks).await?;
        let present = self.engine.list_networks(&[self.names.filter()]).await?;
        for network in present {
            let known = rows
                .iter()
                .any(|(name, _)| self.names.of(name) == network.name);
            if !known
                && self.names.is_ours(&network.labels)
                && let Err(error) = self.engine.remove_network(&network.id).await
            {
                tracing::debug!(%error, "an old network of ours is still in use");
            }
        }
        Ok(())
    }

    pub(super) async fn ensure_volume(&self, name: &str) -> Result<(), SuperviseError> {
        let engine_name = self.names.of(name);
        let volume = match self.engine.inspect_volume(&engine_name).await {
            Err(EngineError::NotFound { .. }) => {
                self.engine
                    .create_volume(&engine_name, self.names.volume(name))
                    .await?
            }
            other => other?,
        };
        match self.names.is_ours(&volume.labels) {
            true => Ok(()),
            false => Err(foreign_volume(&engine_name).into()),
        }
    }

    /// Makes sure that a volume is there which is not to be made for `container`.
    pub(super) async fn need_volume(
        &self,
        kind: Kind,
        container: &str,
        name: &str,
    ) -> Result<(), SuperviseError> {
        let engine_name = self.names.of(name);
        match self.engine.inspect_volume(&engine_name).await {
            Err(EngineError::NotFound { .. }) => Err(SuperviseError::BadSpec {
                name: container.to_owned(),
                why: match kind {
                    Kind::Database => format!(
                        "its volume {engine_name} is not there, and an empty one is not made in its place: is the disk that holds the engine's volumes mounted? A database whose data is lost is removed, created again, and filled from its last backup with `freehold backup restore`"
                    ),
                    _ => format!(
                        "the volume {engine_name} of the server that it works beside is not there: that server is gone, or has not started yet"
                    ),
                },
            }),
            Err(error) => Err(error.into()),
            Ok(volume) if self.names.is_ours(&volume.labels) => Ok(()),
            Ok(_) => Err(foreign_volume(&engine_name).into()),
        }
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), SuperviseError> {
        let engine_name = self.names.of(name);
        let volume = match self.engine.inspect_volume(&engine_name).await {
            Err(EngineError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        if !self.names.is_ours(&volume.labels) {
            return Err(foreign_volume(&engine_name).into());
        }
        Ok(self.engine.remove_volume(&engine_name).await?)
    }
}

fn foreign_volume(engine_name: &str) -> EngineError {
    EngineError::Conflict {
        what: format!("use volume {engine_name}"),
        message: "a volume of that name belongs to another installation; it is left alone"
            .to_owned(),
    }
}

/// What the box routes already. Unreadable means nothing is known, not an error:
/// the engine itself refuses what overlaps.
async fn box_routes() -> Vec<Range> {
    match tokio::fs::read_to_string("/proc/net/route").await {
        Ok(text) => subnet::routes(&text),
        Err(error) => {
            tracing::debug!(%error, "the box's routes could not be read");
            Vec::new()
        }
    }
}
