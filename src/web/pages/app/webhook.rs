//! The secret of an app's webhook: shown when asked for, and replaced.

use axum::extract::State;
use axum::response::Response;

use super::act::Act;
use super::settings;
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::pages::visit::Visit;
use crate::web::services::App;

/// `POST /apps/{app}/webhook-secret`: the page with the secret on it, this once.
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    telling: Telling,
) -> Result<Response, Failure> {
    let secret = app.apps.webhook_secret(act.row.id).await?;
    telling.names("shown", ["webhook_secret"].into_iter());
    settings::with_secret(&app, visit, act.row.name.as_str(), &secret).await
}

/// `POST /apps/{app}/webhook-secret/replace`: the page with the new secret on
/// it, this once. The old one ends with this answer.
pub async fn replace(State(app): State<App>, visit: Visit, act: Act) -> Result<Response, Failure> {
    let replaced = app
        .apps
        .replace_webhook_secret(act.row.id, &act.by, act.now);
    let secret = replaced.await?;
    settings::with_secret(&app, visit, act.row.name.as_str(), &secret).await
}
