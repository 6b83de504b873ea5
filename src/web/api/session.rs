//! One's own session: who it is, and the password again before the dangerous.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;

use crate::base::clock::UnixMs;
use crate::users::{CONFIRMED_FOR, Proof, Role};
use crate::web::answer::Renewed;
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::confirm;
use crate::web::error::Failure;
use crate::web::input::Input;
use crate::web::services::App;
use crate::wire::sessions::{Confirmation, Me};

fn me(caller: &Caller) -> Me {
    let grant = caller.grant();
    Me {
        name: match caller {
            Caller::User { name, .. } => name.clone(),
            other => other.who(),
        },
        role: grant
            .as_ref()
            .map_or(Role::Developer, |g| g.role)
            .as_str()
            .into(),
        apps: grant.map_or(Vec::new(), |g| g.apps.into_iter().collect()),
        confirmed_until_ms: match caller {
            Caller::User { confirmed, .. } => Some(confirmed.plus(CONFIRMED_FOR).0),
            _ => None,
        },
    }
}

/// `GET /api/v1/session`
pub async fn show(Extension(caller): Extension<Caller>) -> Json<Me> {
    Json(me(&caller))
}

/// `POST /api/v1/session/confirm`: the session goes on under the cookie of this answer.
pub async fn confirm(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    telling: Telling,
    Input(given): Input<Confirmation>,
) -> Result<Renewed<Me>, Failure> {
    let proof = Proof {
        password: given.password,
        code: given.code.unwrap_or_default(),
    };
    let session = confirm::take(&app, &caller, &headers, proof).await?;
    telling.session(&session);
    let mut body = me(&caller);
    body.confirmed_until_ms = Some(UnixMs::now().plus(CONFIRMED_FOR).0);
    Ok(Renewed { body, session })
}
