//! The audit log: searched a page at a time, exported as it is read.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use bytes::Bytes;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::audit::{Entry, Filter};
use crate::base::clock::UnixMs;
use crate::web::answer::{As, Lines, Listed};
use crate::web::error::Failure;
use crate::web::input::Query;
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::audit as wire;
use crate::wire::listing::Listing;
use crate::wire::problem::ProblemKind;

/// Entries read at once for an export.
const BATCH: u32 = 500;

/// Which entries. An empty text is none.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct Which {
    /// A user, a token by its name, or a kind: user, token, local, webhook, nobody, file.
    #[schemars(length(max = 200))]
    pub who: Option<String>,
    /// An action, or the beginning of some: `app.env`.
    #[schemars(length(max = 200))]
    pub action: Option<String>,
    /// A name, or with its kind: `app:shop`.
    #[schemars(length(max = 200))]
    pub subject: Option<String>,
    /// Not before.
    pub since_ms: Option<i64>,
    /// Not after.
    pub until_ms: Option<i64>,
    /// Stands anywhere in it.
    #[schemars(length(max = 200))]
    pub q: Option<String>,
}

impl Which {
    /// What is looked for.
    ///
    /// # Errors
    /// Which text is too long.
    pub fn filter(&self) -> Result<Filter, Failure> {
        let text = |name: &str, text: &Option<String>| match text.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) if text.chars().count() > LONGEST => Err(Failure::new(
                ProblemKind::Invalid,
                format!("{name} is longer than {LONGEST} characters"),
            )),
            Some(text) => Ok(Some(text.to_owned())),
        };
        Ok(Filter {
            who: text("who", &self.who)?,
            action: text("action", &self.action)?,
            subject: text("subject", &self.subject)?,
            since: self.since_ms.map(UnixMs),
            until: self.until_ms.map(UnixMs),
            text: text("q", &self.q)?,
            before: None,
        })
    }
}

/// The longest text looked for.
const LONGEST: usize = 200;

/// An entry as it is told.
pub fn told(entry: Entry) -> wire::Entry {
    let state = entry.state().to_owned();
    let detail = entry.detail().to_owned();
    let subject = wire::Subject {
        kind: entry.subject_kind,
        id: entry.subject_id,
        name: entry.subject,
    };
    let end = entry.end;
    wire::Entry {
        id: entry.id,
        at_ms: entry.at.0,
        who: wire::Who {
            kind: entry.kind,
            id: entry.who_id,
            name: entry.who,
            via: entry.via,
        },
        address: entry.address,
        request: entry.request,
        action: entry.action,
        subject: Some(subject).filter(|s| !s.kind.is_empty()),
        state,
        status: end.as_ref().map(|end| end.status),
        detail,
        ended_ms: end.as_ref().map(|end| end.at.0),
        before: end.as_ref().map(|end| end.was.clone()).unwrap_or_default(),
        after: end.map(|end| end.became).unwrap_or_default(),
    }
}

/// A piece of the log, and where the rest begins.
///
/// # Errors
/// What is wrong with `which` or `page`, or the database's.
pub async fn piece(app: &App, which: &Which, page: &Page) -> Result<Listing<wire::Entry>, Failure> {
    let slice = page.slice(None);
    let filter = Filter {
        before: slice.before,
        ..which.filter()?
    };
    let found = app.audit.list(filter, slice.limit).await?;
    Ok(page.of_rows(found, |entry| entry.id, told))
}

/// `GET /api/v1/audit`: newest first.
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<wire::Entry>, Failure> {
    Ok(Listed(piece(&app, &which, &page).await?))
}

/// `GET /api/v1/audit/export`: all that fit as newline-delimited JSON, newest first, in constant
/// memory. What is begun after the export is not in it.
pub async fn export(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<As<Lines<wire::Entry>>, Failure> {
    let first = which.filter()?;
    let lines = stream::unfold(Some((app, first)), |left| async {
        let (app, filter) = left?;
        let found = match app.audit.list(filter.clone(), BATCH).await {
            Ok(found) => found,
            Err(error) => {
                // A cut body tells the reader that this is not all.
                tracing::error!(%error, "an export of the audit log was cut off");
                return Some((Err(std::io::Error::other(error.to_string())), None));
            }
        };
        let oldest = found.last()?.id;
        let mut lines = Vec::new();
        for entry in found {
            if serde_json::to_writer(&mut lines, &told(entry)).is_ok() {
                lines.push(b'\n');
            }
        }
        let rest = Filter {
            before: Some(oldest),
            ..filter
        };
        Some((Ok(Bytes::from(lines)), Some((app, rest))))
    });
    let head = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"freehold-audit.ndjson\"",
        ),
    ];
    Ok(As::new((head, Body::from_stream(lines))))
}
