//! The one place that turns failures into answers: problem+json for programs,
//! a page for browsers, the same words in both.

use std::any::Any;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::pages::visit::Visit;
use crate::apps::AppError;
use crate::backup::BackupError;
use crate::base::secret::random_id;
use crate::db::DbError;
use crate::deploy::DeployError;
use crate::objects::StoreError;
use crate::postgres::PostgresError;
use crate::users::UserError;
use crate::wire::problem::{Problem, ProblemKind};

/// What to do about whatever is ours: the request cannot mend it.
const OURS: &str = "Everything else goes on. Try again; when it stays so, the daemon's log says more: `journalctl -u freehold`.";

/// A handler's error: what the person is told.
#[derive(Debug)]
pub struct Failure(pub Box<Problem>);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl Failure {
    /// A failure of `kind` told by `detail`.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }
}

impl Failure {
    /// The same, with what to do next where the sentence does not say it itself.
    fn mended_by(mut self, remedy: &str) -> Self {
        if self.0.remedy.is_empty() {
            self.0.remedy = remedy.to_owned();
        }
        self
    }

    /// What to tell when something was changed, and only what brings it to the app's containers could not be asked for:
    /// that is owed and asked for again (`jobs::Owed`), and whoever reads "not made" would make the change twice.
    pub fn once_changed(error: DeployError) -> Self {
        let error = match error {
            DeployError::Db(error) => error,
            other => return other.into(),
        };
        tracing::error!(%error, "the work that a change needs could not be queued; it is tried again");
        let why = match error {
            DbError::DiskFull => {
                "the disk that holds Freehold's state is full: free some space".to_owned()
            }
            other => other.to_string(),
        };
        let remedy = "Nothing has to be asked for again: that is queued by itself, within a minute of when it can be.";
        let detail =
            format!("the change is made, but what brings it to the app could not be queued: {why}");
        Self::new(ProblemKind::Unavailable, detail).mended_by(remedy)
    }

    /// What a form's page tells of it; `None` when a form cannot mend it.
    pub fn words_for_a_form(&self) -> Option<String> {
        match self.0.kind {
            ProblemKind::Internal | ProblemKind::Unavailable | ProblemKind::SignIn => None,
            _ if self.0.remedy.is_empty() => Some(self.0.detail.clone()),
            _ => {
                let detail = self.0.detail.trim_end_matches('.');
                Some(format!("{detail}. {}", self.0.remedy))
            }
        }
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        let kind = match &error {
            DbError::DiskFull | DbError::Unavailable(_) => ProblemKind::Unavailable,
            _ => ProblemKind::Internal,
        };
        tracing::error!(%error, "a request met a database error");
        let says_it = matches!(
            error,
            DbError::DiskFull | DbError::Newer { .. } | DbError::Damaged { .. }
        );
        let remedy = if says_it { "" } else { OURS };
        Self::new(kind, error.to_string()).mended_by(remedy)
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let kind = match error {
            AppError::NotFound(_) | AppError::NoDomain(_) => ProblemKind::NotFound,
            AppError::NameTaken(_) | AppError::DomainTaken { .. } | AppError::HostTaken { .. } => {
                ProblemKind::Conflict
            }
            AppError::Invalid(_) => ProblemKind::Invalid,
            AppError::Db(error) => return error.into(),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        let (kind, remedy) = match error {
            DeployError::NotFound(_) => (
                ProblemKind::NotFound,
                "`freehold deploys NAME` shows those it has.",
            ),
            DeployError::NoRelease(_) => (
                ProblemKind::NotFound,
                "`freehold deploys NAME` shows what was deployed.",
            ),
            DeployError::Conflict(_) => (
                ProblemKind::Conflict,
                "`freehold deploys NAME` and `freehold app show NAME` say how it stands now.",
            ),
            DeployError::Invalid(_) => (ProblemKind::Invalid, ""),
            DeployError::TooLarge(_) => (ProblemKind::TooLarge, ""),
            DeployError::Unavailable(_) => (
                ProblemKind::Unavailable,
                "Try again; `freehold doctor` looks for what is wrong with the box.",
            ),
            DeployError::Db(error) => return error.into(),
        };
        Self::new(kind, error.to_string()).mended_by(remedy)
    }
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        let kind = match error {
            PostgresError::NotFound(_) => ProblemKind::NotFound,
            PostgresError::NameTaken(_) | PostgresError::Conflict(_) => ProblemKind::Conflict,
            PostgresError::Invalid(_) => ProblemKind::Invalid,
            PostgresError::Refused(_)
            | PostgresError::NotAsAsked(_)
            | PostgresError::Supervise(_) => ProblemKind::Outside,
            PostgresError::Db(error) => return error.into(),
        };
        let remedy = match kind {
            ProblemKind::Outside => {
                "`freehold db show NAME` says how the server stands, `freehold doctor` how the engine does."
            }
            _ => "",
        };
        Self::new(kind, error.to_string()).mended_by(remedy)
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let kind = match error {
            BackupError::NotFound(_)
            | BackupError::NoRestore(_)
            | BackupError::NoDatabase(_)
            | BackupError::NoTarget(_) => ProblemKind::NotFound,
            BackupError::TargetTaken(_) | BackupError::Conflict(_) => ProblemKind::Conflict,
            BackupError::Invalid(_) | BackupError::Trial(_) => ProblemKind::Invalid,
            BackupError::Store(StoreError::BadLocation(_)) => ProblemKind::Invalid,
            BackupError::Work(_)
            | BackupError::Store(_)
            | BackupError::Server(_)
            | BackupError::Supervise(_)
            | BackupError::Cut(_) => ProblemKind::Outside,
            BackupError::Db(error) => return error.into(),
        };
        let remedy = match &error {
            BackupError::Trial(_) => {
                "Mend the place, its endpoint or its key, and try it out again; nothing was added or changed."
            }
            BackupError::Server(_) | BackupError::Supervise(_) | BackupError::Cut(_) => {
                "`freehold db show NAME` says how the server stands, `freehold doctor` how the engine does."
            }
            _ => "",
        };
        Self::new(kind, error.to_string()).mended_by(remedy)
    }
}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Self {
        let kind = match &error {
            UserError::LinkInvalid
            | UserError::NotFound(_)
            | UserError::NoToken(_)
            | UserError::NoSession => ProblemKind::NotFound,
            UserError::PasswordRule(_) | UserError::Invalid(_) => ProblemKind::Invalid,
            UserError::NameTaken(_)
            | UserError::NotInYet(_)
            | UserError::LastOwner
            | UserError::SecondFactor(_) => ProblemKind::Conflict,
            UserError::OnlyOwners | UserError::NotInCharge => ProblemKind::Forbidden,
            UserError::WrongPassword
            | UserError::CodeNeeded
            | UserError::WrongCode
            | UserError::HalfWayOver => ProblemKind::SignIn,
            UserError::SlowDown(_) => ProblemKind::SlowDown,
            UserError::Hash(_) => ProblemKind::Internal,
            UserError::Busy | UserError::Db(_) => ProblemKind::Unavailable,
        };
        let remedy = match &error {
            UserError::WrongPassword => {
                "Type both again. A new link comes from an admin, by `freehold user reset NAME`; the owner's comes from the box, by `freehold user reset`."
            }
            UserError::CodeNeeded => {
                "Give the code, or a recovery code when the authenticator is lost."
            }
            UserError::OnlyOwners => "Ask an owner of this box to do it.",
            UserError::NotInCharge => "Ask an admin of this box to do it, or sign in as one.",
            UserError::NoSession => {
                "It may be over already: the page of the account lists the sessions there are, and so does `freehold user sessions NAME`."
            }
            UserError::Hash(_) | UserError::Db(_) => OURS,
            _ => "",
        };
        Self::new(kind, error.to_string()).mended_by(remedy)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&*self.0).unwrap_or_default();
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        if self.0.kind == ProblemKind::Unavailable {
            let soon = HeaderValue::from_static(SOON);
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        response.extensions_mut().insert(self.0);
        response
    }
}

/// Seconds until what is not available just now is worth another try.
const SOON: &str = "5";

/// Whether the client is a browser asking for a page.
pub fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Nothing lives at this URL.
pub async fn no_such_page(request: Request) -> Response {
    let caller = request.extensions().get::<Caller>();
    if caller.is_none_or(|c| *c == Caller::Nobody) {
        return super::auth::sign_in(&request);
    }
    Failure::new(ProblemKind::NotFound, "there is nothing at this address")
        .mended_by(
            "The pages are led to from /, the API's addresses stand in /api/v1/openapi.json.",
        )
        .into_response()
}

/// The URL lives, this method does not.
pub async fn no_such_method() -> Response {
    Failure::from(
        Problem::new(
            ProblemKind::NoSuchMethod,
            "this address does not take that method",
        )
        .remedy("Allow says which methods it takes."),
    )
    .into_response()
}

/// A handler panicked; that is this request's fault alone.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> http::Response<Body> {
    tracing::error!("a request's handler panicked");
    Failure::new(
        ProblemKind::Internal,
        "this request met a fault of Freehold's",
    )
    .mended_by(OURS)
    .into_response()
}

/// What axum says of a request it cannot read is a bare line of text; here it becomes a problem.
async fn tell_bare(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let bare = kind
        .and_then(|v| v.to_str().ok())
        .is_none_or(|kind| kind.starts_with("text/plain"));
    let refused = status.is_client_error() || status.is_server_error();
    if !refused || !bare || response.extensions().get::<Box<Problem>>().is_some() {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), LONGEST_BARE).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    Failure::from(bare_problem(status, &text)).into_response()
}

/// The longest bare line that is read.
const LONGEST_BARE: usize = 8 << 10;

fn bare_problem(status: StatusCode, text: &str) -> Problem {
    let (kind, remedy) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => (ProblemKind::TooLarge, "Send less at once."),
        StatusCode::NOT_FOUND => (ProblemKind::NotFound, ""),
        StatusCode::BAD_REQUEST if text.starts_with("Invalid URL") => {
            return Problem::new(ProblemKind::NotFound, "there is nothing at this address")
                .remedy("Use a name or number that a list shows.");
        }
        StatusCode::BAD_REQUEST => (ProblemKind::Malformed, ""),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            ProblemKind::Unsupported,
            "A page takes the fields of its own form.",
        ),
        _ if status.is_client_error() => (
            ProblemKind::Invalid,
            "The API takes JSON with Content-Type: application/json, a page the fields of its own form.",
        ),
        _ => (ProblemKind::Internal, ""),
    };
    let detail = match text.trim() {
        "" => "the request could not be read".to_owned(),
        text => match text.strip_prefix("Failed to deserialize form body: ") {
            Some(why) => format!("a field of the form is not what it takes: {why}"),
            None => format!("the request could not be read: {text}"),
        },
    };
    Problem::new(kind, detail).remedy(remedy)
}

/// The edge's id of the request; on the box's own socket a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    match given {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => random_id(16).unwrap_or_default(),
    }
}

/// A problem says which request it answers.
fn numbered(mut response: Response, id: &str) -> Response {
    let Some(mut problem) = response.extensions_mut().remove::<Box<Problem>>() else {
        return response;
    };
    problem.instance = format!("urn:freehold:request:{id}");
    let (mut head, _) = response.into_parts();
    let body = serde_json::to_string(&*problem).unwrap_or_default();
    head.headers.remove(header::CONTENT_LENGTH);
    head.extensions.insert(problem);
    Response::from_parts(head, Body::from(body))
}

/// Gives browsers a page instead of problem+json.
pub async fn dress(request: Request, next: Next) -> Response {
    let page = wants_page(request.headers()) && !request.uri().path().starts_with("/api/");
    let visit = Visit::read(
        request.headers(),
        request.uri().path(),
        request.extensions(),
    );
    let id = request_id(request.headers());
    let mut response = tell_bare(next.run(request).await).await;
    response = numbered(response, &id);
    if page && let Some(problem) = response.extensions_mut().remove::<Box<Problem>>() {
        let status = response.status();
        let again = response.headers_mut().remove(header::RETRY_AFTER);
        response = super::pages::problem::page(&problem, visit);
        *response.status_mut() = status;
        if let Some(again) = again {
            response.headers_mut().insert(header::RETRY_AFTER, again);
        }
    }
    response
}

/// Gives every answer, whoever made it, the headers that keep it from being misused.
pub async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not "no-referrer": with it a browser sends `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Nothing inline, nothing from outside, nobody may frame us.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Nothing of the machine a page is read on; copying a token is all a page does there.
const PERMISSIONS: &str = "accelerometer=(), browsing-topics=(), camera=(), clipboard-read=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), magnetometer=(), microphone=(), midi=(), payment=(), publickey-credentials-get=(), serial=(), usb=()";

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads a problem finds what to do next: in its remedy, or as its sentence's second half.
    #[test]
    fn a1_a_problem_says_what_to_do_next() {
        let all: Vec<Failure> = vec![
            AppError::NotFound("shop".into()).into(),
            AppError::NameTaken("shop".into()).into(),
            AppError::NoDomain("shop.test".into()).into(),
            DeployError::NotFound(7).into(),
            DeployError::NoRelease("there is no release v9 of this app".into()).into(),
            DeployError::Conflict("the app is gone".into()).into(),
            DeployError::TooLarge(1 << 30).into(),
            DeployError::Unavailable("the upload could not be kept".into()).into(),
            PostgresError::NotFound("main".into()).into(),
            PostgresError::Refused("permission denied".into()).into(),
            BackupError::NotFound(7).into(),
            BackupError::TargetTaken("offsite".into()).into(),
            UserError::LinkInvalid.into(),
            UserError::WrongPassword.into(),
            UserError::CodeNeeded.into(),
            UserError::WrongCode.into(),
            UserError::HalfWayOver.into(),
            UserError::SlowDown(3).into(),
            UserError::NoSession.into(),
            UserError::NotFound("ana".into()).into(),
            UserError::NoToken(7).into(),
            UserError::LastOwner.into(),
            UserError::NotInCharge.into(),
            DbError::DiskFull.into(),
            DbError::Unavailable("every reader was busy for 10 s".into()).into(),
        ];
        for Failure(problem) in all {
            let says_it = problem.detail.contains(": ") || !problem.remedy.is_empty();
            assert!(says_it, "{}", problem.detail);
        }
    }
}
