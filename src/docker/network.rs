//! Networks with a subnet of their own.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters as query;

use super::engine::{Engine, MIDDLE, SHORT};
use super::error::EngineError;

/// A network as the engine shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Its subnets, such as `10.83.0.0/26`.
    pub subnets: Vec<String>,
}

impl Engine {
    /// Makes a bridge network with this subnet.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; `Refused` when the subnet overlaps another.
    pub async fn create_network(
        &self,
        name: &str,
        subnet: &str,
        gateway: &str,
        labels: HashMap<String, String>,
    ) -> Result<String, EngineError> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.to_owned()),
                    gateway: Some(gateway.to_owned()),
                    ..Default::default()
                }]),
                ..Default::default()
            }),
            labels: Some(labels),
            ..Default::default()
        };
        let what = format!("create network {name}");
        self.call(&what, MIDDLE, self.docker.create_network(request))
            .await
            .map(|made| made.id)
    }

    /// Removes a network; one that is not there is no error.
    ///
    /// # Errors
    /// `Refused` or `Conflict` when containers are in it.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let what = format!("remove network {name}");
        match self
            .call(&what, MIDDLE, self.docker.remove_network(name))
            .await
        {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// The networks that carry every one of `labels`; all when there is none.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn list_networks(&self, labels: &[String]) -> Result<Vec<Network>, EngineError> {
        let options = query::ListNetworksOptions {
            filters: (!labels.is_empty())
                .then(|| HashMap::from([("label".to_owned(), labels.to_vec())])),
        };
        let list = self
            .call(
                "list networks",
                SHORT,
                self.docker.list_networks(Some(options)),
            )
            .await?;
        Ok(list
            .into_iter()
            .map(|network| Network {
                id: network.id.unwrap_or_default(),
                name: network.name.unwrap_or_default(),
                labels: network.labels.unwrap_or_default(),
                subnets: network
                    .ipam
                    .and_then(|ipam| ipam.config)
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|config| config.subnet)
                    .collect(),
            })
            .collect())
    }
}
