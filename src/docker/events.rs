//! What the engine tells of containers as it happens.

use std::collections::HashMap;
use std::pin::Pin;

use bollard::query_parameters as query;
use futures_util::{Stream, StreamExt};

use super::engine::Engine;
use super::error::EngineError;

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerEvent {
    /// Its process began.
    Started,
    /// Its process ended with this code.
    Died(i64),
    /// The kernel took a process of it for want of memory.
    OutOfMemory,
    /// It was removed.
    Destroyed,
    /// It was put into or taken out of something, renamed, paused …
    Changed,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// The container's id.
    pub container_id: String,
    /// Its labels and name, as the engine gives them.
    pub attributes: HashMap<String, String>,
    /// What happened.
    pub what: ContainerEvent,
    /// When, unix milliseconds.
    pub at_ms: i64,
}

/// A stream of events that owns what it needs.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<EngineEvent, EngineError>> + Send>>;

impl Engine {
    /// Events of containers with this label (`key=value`) from now on. The
    /// stream ends, or fails, when the engine goes away.
    pub fn container_events(&self, label: &str) -> EventStream {
        let options = query::EventsOptions {
            since: None,
            until: None,
            filters: Some(HashMap::from([
                ("type".to_owned(), vec!["container".to_owned()]),
                ("label".to_owned(), vec![label.to_owned()]),
            ])),
        };
        let engine = self.clone();
        let stream = Box::pin(self.docker.events(Some(options)));
        Box::pin(stream.filter_map(move |item| {
            let item = match item {
                Ok(message) => read(message).map(Ok),
                Err(error) => Some(Err(engine.error("follow events", error))),
            };
            std::future::ready(item)
        }))
    }
}

fn read(message: bollard::models::EventMessage) -> Option<EngineEvent> {
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    let what = match message.action.as_deref()? {
        "start" => ContainerEvent::Started,
        "die" => ContainerEvent::Died(
            attributes
                .get("exitCode")
                .and_then(|c| c.parse().ok())
                .unwrap_or(-1),
        ),
        "oom" => ContainerEvent::OutOfMemory,
        "destroy" => ContainerEvent::Destroyed,
        "pause" | "unpause" | "rename" | "update" => ContainerEvent::Changed,
        _ => return None,
    };
    Some(EngineEvent {
        container_id: actor.id?,
        attributes,
        what,
        at_ms: message.time_nano.unwrap_or(0) / 1_000_000,
    })
}
