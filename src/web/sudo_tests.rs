//! Every route that changes something is either dangerous, and marked so in the table, or stands here as one that is not.

use axum::http::Method;

use super::router::table;

/// What asks for the password again: what cannot be undone, shows secrets, says who may come in, or says where the
/// dumps of every database go.
const DANGEROUS: &[&str] = &[
    "GET /apps/{app}/remove",
    "POST /apps/{app}/remove",
    "GET /apps/{app}/run",
    "POST /apps/{app}/run",
    "GET /apps/{app}/exec",
    "POST /apps/{app}/exec",
    "GET /databases/{database}/sql",
    "POST /databases/{database}/sql",
    "POST /apps/{app}/webhook-secret",
    "POST /apps/{app}/webhook-secret/replace",
    "GET /databases/{database}/backups/{backup}/download",
    "GET /databases/{database}/restore/{backup}",
    "POST /databases/{database}/restore/{backup}",
    "GET /databases/{database}/restores/{restore}/confirm",
    "POST /databases/{database}/restores/{restore}/confirm",
    "GET /databases/{database}/remove",
    "POST /databases/{database}/remove",
    "POST /settings/targets",
    "POST /settings/targets/{target}/use",
    "GET /settings/targets/{target}/remove",
    "POST /settings/targets/{target}/remove",
    "POST /settings/people",
    "POST /settings/people/{user}",
    "POST /settings/people/{user}/sessions/end",
    "POST /settings/people/{user}/sessions/end-all",
    "POST /settings/people/{user}/second-factor/off",
    "POST /settings/people/{user}/reset",
    "GET /settings/people/{user}/remove",
    "POST /settings/people/{user}/remove",
    "POST /account/tokens",
    "GET /account/second-factor",
    "POST /account/second-factor",
    "POST /account/second-factor/confirm",
    "POST /account/second-factor/codes",
    "POST /account/second-factor/off",
    "POST /api/v1/account/second-factor",
    "DELETE /api/v1/account/second-factor",
    "POST /api/v1/account/second-factor/confirm",
    "POST /api/v1/account/second-factor/recovery-codes",
    "DELETE /api/v1/users/{user}/sessions",
    "DELETE /api/v1/users/{user}/sessions/{mark}",
    "DELETE /api/v1/users/{user}/second-factor",
    "POST /api/v1/users",
    "PATCH /api/v1/users/{user}",
    "DELETE /api/v1/users/{user}",
    "POST /api/v1/users/{user}/reset",
    "POST /api/v1/tokens",
    "DELETE /api/v1/apps/{app}",
    "POST /api/v1/apps/{app}/webhook-secret",
    "POST /api/v1/apps/{app}/webhook-secret/reveal",
    "POST /apps/{app}/env/reveal",
    "POST /api/v1/apps/{app}/env/reveal",
    "POST /api/v1/databases/{name}/attachments/{app}/reveal",
    "POST /api/v1/apps/{app}/exec",
    "POST /api/v1/apps/{app}/run",
    "DELETE /api/v1/databases/{name}",
    "POST /api/v1/databases/{name}/psql",
    "POST /api/v1/targets",
    "POST /api/v1/targets/{name}/default",
    "DELETE /api/v1/targets/{name}",
    "POST /api/v1/backups/{id}/restore",
    "GET /api/v1/backups/{id}/download",
    "POST /api/v1/restores/{id}/confirm",
];

/// What changes something and does not ask: it can be undone, ends something of one's own, or asks for a password, a
/// link or a signature itself.
const NOT_DANGEROUS: &[&str] = &[
    "POST /setup/{token}",
    "POST /sign-in",
    "POST /sign-in/code",
    "POST /sign-out",
    "DELETE /api/v1/sessions/{mark}",
    "POST /confirm-password",
    "POST /theme",
    "POST /apps",
    "POST /apps/{app}/deploys",
    "POST /apps/{app}/deploys/upload",
    "POST /apps/{app}/deploys/{id}/cancel",
    "POST /apps/{app}/rollback",
    "POST /apps/{app}/restart",
    "POST /apps/{app}/stop",
    "POST /apps/{app}/start",
    "POST /apps/{app}/env",
    "POST /apps/{app}/env/unset",
    "POST /apps/{app}/env/import",
    "POST /apps/{app}/domains",
    "POST /apps/{app}/domains/remove",
    "POST /apps/{app}/domains/{domain}/policies",
    "POST /apps/{app}/source",
    "POST /apps/{app}/registry",
    "POST /apps/{app}/scale",
    "POST /apps/{app}/maintenance",
    "POST /databases",
    "POST /databases/{database}/attach",
    "POST /databases/{database}/detach",
    "POST /databases/{database}/backups",
    "POST /databases/{database}/backups/{backup}/verify",
    "POST /apps/{app}/attach",
    "POST /settings/targets/{target}/test",
    "POST /checks",
    "POST /checks/{id}/remove",
    "POST /account/password",
    "POST /api/v1/account/password",
    "POST /account/sessions/end",
    "POST /account/tokens/end",
    "POST /api/v1/setup-link",
    "POST /api/v1/session/confirm",
    "POST /jobs/{id}/cancel",
    "POST /api/v1/jobs/{id}/cancel",
    "DELETE /api/v1/tokens/{id}",
    "POST /api/v1/apps",
    "PATCH /api/v1/apps/{app}",
    "POST /api/v1/apps/{app}/start",
    "POST /api/v1/apps/{app}/stop",
    "POST /api/v1/apps/{app}/restart",
    "PATCH /api/v1/apps/{app}/env",
    "POST /api/v1/apps/{app}/domains",
    "DELETE /api/v1/apps/{app}/domains",
    "PUT /api/v1/apps/{app}/domains/{domain}/policies",
    "DELETE /api/v1/apps/{app}/domains/{domain}/policies",
    "POST /api/v1/apps/{app}/maintenance",
    "POST /api/v1/apps/{app}/scale",
    "POST /api/v1/apps/{app}/deploys",
    "POST /api/v1/apps/{app}/deploys/upload",
    "POST /api/v1/apps/{app}/deploys/{id}/cancel",
    "POST /api/v1/apps/{app}/rollback",
    "POST /hooks/{app}",
    "POST /api/v1/doctor/confirm",
    "POST /api/v1/handover",
    "POST /api/v1/checks",
    "DELETE /api/v1/checks/{check}",
    "POST /api/v1/databases",
    "POST /api/v1/databases/{name}/attachments",
    "DELETE /api/v1/databases/{name}/attachments/{app}",
    "POST /api/v1/databases/{name}/backups",
    "POST /api/v1/targets/{name}/test",
    "POST /api/v1/backups/{id}/verify",
];

#[test]
fn a2_every_route_that_changes_something_is_dangerous_or_is_not() {
    let mut wrong = Vec::new();
    let mut known = Vec::new();
    for route in table() {
        let name = format!("{} {}", route.method, route.path);
        let dangerous = DANGEROUS.contains(&name.as_str());
        let not = NOT_DANGEROUS.contains(&name.as_str());
        if route.sudo != dangerous {
            wrong.push(format!("{name}: marked {}, here {dangerous}", route.sudo));
        }
        if route.method != Method::GET && dangerous == not {
            wrong.push(format!(
                "{name}: say whether it is dangerous: mark it `sudo` in the table and put it into DANGEROUS, or into NOT_DANGEROUS"
            ));
        }
        known.push(name);
    }
    let gone = |name: &&&str| !known.iter().any(|k| k == **name);
    wrong.extend(
        DANGEROUS
            .iter()
            .chain(NOT_DANGEROUS)
            .filter(gone)
            .map(|name| format!("{name}: is not in the table any more")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
