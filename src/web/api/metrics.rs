//! Figures over time: of the box, of an app.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::monitor::Window;
use crate::web::error::Failure;
use crate::web::input::{Path, Query};
use crate::web::services::App;
use crate::wire::metrics::{AppHistory, BoxHistory};
use crate::wire::problem::ProblemKind;

/// Over which time.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Over {
    /// `hour`, `day` (when absent), `week`, `month`, `year`.
    #[schemars(regex(pattern = r"^(hour|day|week|month|year)$"))]
    over: Option<String>,
}

impl Over {
    /// What is asked for by name, up to `now`; none when nothing is.
    ///
    /// # Errors
    /// That the name is none of [`Window::NAMES`].
    pub fn named(&self, now: UnixMs) -> Result<Option<(&'static str, Window)>, Failure> {
        let Some(asked) = self.over.as_deref() else {
            return Ok(None);
        };
        let name = Window::NAMES.into_iter().find(|name| *name == asked);
        let named = name.and_then(|name| Some((name, Window::named(name, now)?)));
        named.map(Some).ok_or_else(|| {
            let names = Window::NAMES.join(", ");
            Failure::new(ProblemKind::Invalid, format!("over is one of {names}"))
        })
    }

    fn window(&self) -> Result<Window, Failure> {
        let now = UnixMs::now();
        let named = self.named(now)?;
        Ok(named.map_or_else(|| Window::day(now), |(_, window)| window))
    }
}

/// `GET /api/v1/metrics/box`
pub async fn of_box(
    State(app): State<App>,
    Query(over): Query<Over>,
) -> Result<Json<BoxHistory>, Failure> {
    Ok(Json(app.monitor.box_history(over.window()?).await?))
}

/// `GET /api/v1/metrics/apps/{app}`
pub async fn of_app(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(over): Query<Over>,
) -> Result<Json<AppHistory>, Failure> {
    let window = over.window()?;
    let found = app.apps.find(&name).await?;
    let mut histories = app.monitor.app_histories(&[found.id], window).await?;
    histories
        .pop()
        .map(Json)
        .ok_or_else(|| Failure::new(ProblemKind::Internal, "the app's figures could not be read"))
}
