//! Named volumes. They hold what users gave us: removal is one explicit call,
//! and nothing here prunes.

use std::collections::HashMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters as query;

use super::engine::{Engine, MIDDLE, SHORT};
use super::error::EngineError;

/// A volume as the engine shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where it lies on the box.
    pub mountpoint: String,
    /// Labels.
    pub labels: HashMap<String, String>,
}

fn ours(volume: bollard::models::Volume) -> Volume {
    Volume {
        name: volume.name,
        mountpoint: volume.mountpoint,
        labels: volume.labels,
    }
}

impl Engine {
    /// Makes a volume. One of that name that exists is given as it is: compare its labels.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn create_volume(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<Volume, EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..Default::default()
        };
        let what = format!("create volume {name}");
        self.call(&what, MIDDLE, self.docker.create_volume(request))
            .await
            .map(ours)
    }

    /// Looks at one volume.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn inspect_volume(&self, name: &str) -> Result<Volume, EngineError> {
        let what = format!("inspect volume {name}");
        self.call(&what, SHORT, self.docker.inspect_volume(name))
            .await
            .map(ours)
    }

    /// Removes a volume with its data; one that is not there is no error.
    ///
    /// # Errors
    /// `Conflict` while a container uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let what = format!("remove volume {name}");
        match self
            .call(
                &what,
                MIDDLE,
                self.docker
                    .remove_volume(name, None::<query::RemoveVolumeOptions>),
            )
            .await
        {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// The volumes that carry every one of `labels`.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn list_volumes(&self, labels: &[String]) -> Result<Vec<Volume>, EngineError> {
        let options = query::ListVolumesOptions {
            filters: Some(HashMap::from([("label".to_owned(), labels.to_vec())])),
        };
        let list = self
            .call(
                "list volumes",
                SHORT,
                self.docker.list_volumes(Some(options)),
            )
            .await?;
        Ok(list
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(ours)
            .collect())
    }
}
