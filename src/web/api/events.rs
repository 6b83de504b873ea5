//! What happened, as a list and live.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;

use crate::events::{self, Event, Level};
use crate::web::answer::Listed;
use crate::web::error::Failure;
use crate::web::input::{Path, Query};
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::listing::Listing;

/// Which events.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// `app:7`, `database:3`, `box`; all when absent.
    subject: Option<String>,
    /// Only those that want so much of their reader.
    level: Option<Level>,
}

/// Which events of an app.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct WhichOfApp {
    /// Only those that want so much of their reader.
    level: Option<Level>,
}

/// Which events of those to come.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Coming {
    /// `app:7`, `database:3`, `box`; all when absent.
    subject: Option<String>,
}

/// `GET /api/v1/events`
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<Event>, Failure> {
    Ok(Listed(
        piece(&app, which.subject, which.level, &page).await?,
    ))
}

/// `GET /api/v1/apps/{app}/events`: for those who may see the app and not the box.
pub async fn of_app(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(which): Query<WhichOfApp>,
    page: Page,
) -> Result<Listed<Event>, Failure> {
    let row = app.apps.find(&name).await?;
    let subject = Some(row.subject());
    Ok(Listed(piece(&app, subject, which.level, &page).await?))
}

/// A piece of what happened, and where the rest begins.
///
/// # Errors
/// Only the database's.
pub async fn piece(
    app: &App,
    subject: Option<String>,
    level: Option<Level>,
    page: &Page,
) -> Result<Listing<Event>, Failure> {
    let slice = page.slice(level.map(|l| l.as_str().to_owned()));
    let found = app
        .db
        .read(move |c| events::newest(c, subject.as_deref(), slice))
        .await?;
    Ok(page.of_rows(found, |e| e.id, |e| e))
}

/// `GET /api/v1/events/stream`: server-sent events from now on. Each carries
/// the event as JSON; a reader that falls behind gets `missed` and should list.
pub async fn stream(
    State(app): State<App>,
    Query(which): Query<Coming>,
) -> Sse<impl Stream<Item = Result<Message, Infallible>>> {
    let messages = BroadcastStream::new(app.events.subscribe()).filter_map(move |next| {
        let message = match next {
            Err(_) => Some(Message::default().event("missed").data("")),
            Ok(event) => {
                let wanted = which.subject.as_ref().is_none_or(|s| *s == event.subject);
                wanted
                    .then(|| serde_json::to_string(&event).ok())
                    .flatten()
                    .map(|json| {
                        Message::default()
                            .event("event")
                            .id(event.id.to_string())
                            .data(json)
                    })
            }
        };
        std::future::ready(message.map(Ok))
    });
    Sse::new(messages).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}
