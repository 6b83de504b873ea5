//! The thread to the engine: is it there, and what does it tell.
//!
//! Asks for its version until it answers, then follows its events until they
//! end, for ever. What it tells goes to the executor; nothing is decided here.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::base::shutdown::Shutdown;
use crate::docker::{Engine, EngineEvent, EngineVersion};

/// News from the engine.
#[derive(Debug)]
pub(super) enum News {
    /// It answers (again); everything is to be looked at anew.
    Here(EngineVersion),
    /// It does not.
    Away(String),
    /// Something happened to a container of ours.
    Event(EngineEvent),
}

/// Between questions while it is away.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn follow(
    engine: Engine,
    label: String,
    news: mpsc::Sender<News>,
    shutdown: Shutdown,
) {
    tokio::select! {
        () = shutdown.begun() => {}
        () = follow_for_ever(engine, label, news) => {}
    }
}

async fn follow_for_ever(engine: Engine, label: String, news: mpsc::Sender<News>) {
    loop {
        let version = match engine.negotiate().await {
            Ok(version) => version,
            Err(error) => {
                if news.send(News::Away(error.to_string())).await.is_err() {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        // The stream is asked for before the first look, so nothing falls between.
        let mut events = engine.container_events(&label);
        let first = tokio::time::timeout(Duration::from_millis(50), events.next()).await;
        if news.send(News::Here(version)).await.is_err() {
            return;
        }
        let mut next = match first {
            Ok(item) => item,
            Err(_) => events.next().await,
        };
        let why = loop {
            match next {
                Some(Ok(event)) => {
                    if news.send(News::Event(event)).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => break error.to_string(),
                None => break "its events ended".to_owned(),
            }
            next = events.next().await;
        };
        tracing::debug!(why, "the engine's events broke off; asking again");
        tokio::time::sleep(AGAIN / 10).await;
    }
}
