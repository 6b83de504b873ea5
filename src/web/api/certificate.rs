//! The root certificate of the box's own CA: what a caller from elsewhere pins.

use axum::extract::State;

use crate::web::answer::{As, Pem};
use crate::web::pages;
use crate::web::services::App;

/// `GET /api/v1/root.pem`
pub async fn root(app: State<App>) -> As<Pem> {
    As::new(pages::settings::root(app).await)
}
