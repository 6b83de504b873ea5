//! Every URL with the role it needs, on one page.
//!
//! What does not stand here does not exist; what stands here without a
//! [`Needs`] does not compile. `tests/` walks [`table`] as nobody and as owner.

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::services::App;
use super::{api, auth, error, hooks, pages};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody: sign-in, static files, health.
    Nobody,
    /// Anybody; the handler checks a signature or one-time token itself.
    Proof,
    /// A signed-in owner, or the box's own user over `freehold.sock`.
    Owner,
    /// Only over `freehold.sock`.
    Local,
}

/// One row of the table.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, in axum's notation.
    pub path: &'static str,
    /// Who may use it.
    pub needs: Needs,
    handler: MethodRouter<App>,
}

fn row<H, T>(method: Method, path: &'static str, needs: Needs, handler: H) -> Route
where
    H: axum::handler::Handler<T, App>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::TRACE);
    Route {
        method,
        path,
        needs,
        handler: on(filter, handler),
    }
}

macro_rules! routes {
    ($($method:ident $path:literal $needs:ident $handler:path;)*) => {
        vec![$(row(Method::$method, $path, Needs::$needs, $handler)),*]
    };
}

/// The table itself.
#[rustfmt::skip]
pub fn table() -> Vec<Route> {
    routes! {
        // Coming in
        GET  "/setup/{token}"                   Proof  pages::setup::show;
        POST "/setup/{token}"                   Proof  pages::setup::submit;
        GET  "/sign-in"                         Nobody pages::sign_in::show;
        POST "/sign-in"                         Nobody pages::sign_in::submit;
        POST "/sign-out"                        Owner  pages::sign_in::sign_out;
        POST "/theme"                           Nobody pages::visit::theme;
        GET  "/static/{file}"                   Nobody pages::assets::file;
        // Dashboard
        GET  "/"                                Owner  pages::overview::show;
        GET  "/apps/new"                        Owner  pages::app::new::show;
        POST "/apps"                            Owner  pages::app::new::submit;
        GET  "/apps/{app}"                      Owner  pages::app::overview::show;
        GET  "/apps/{app}/deploys"              Owner  pages::app::deploys::show;
        POST "/apps/{app}/deploys"              Owner  pages::app::actions::deploy;
        GET  "/apps/{app}/deploys/{id}"         Owner  pages::app::deploy::show;
        GET  "/apps/{app}/deploys/{id}/log"     Owner  pages::app::deploy_log::stream;
        POST "/apps/{app}/deploys/{id}/cancel"  Owner  pages::app::actions::cancel;
        POST "/apps/{app}/rollback"             Owner  pages::app::actions::rollback;
        POST "/apps/{app}/restart"              Owner  pages::app::actions::restart;
        POST "/apps/{app}/stop"                 Owner  pages::app::actions::stop;
        POST "/apps/{app}/start"                Owner  pages::app::actions::start;
        GET  "/apps/{app}/remove"               Owner  pages::app::actions::ask_removal;
        POST "/apps/{app}/remove"               Owner  pages::app::actions::remove;
        GET  "/apps/{app}/logs"                 Owner  pages::app::logs::show;
        GET  "/apps/{app}/logs/stream"          Owner  pages::app::logs::stream;
        GET  "/apps/{app}/activity"             Owner  pages::app::activity::show;
        GET  "/apps/{app}/env"                  Owner  pages::app::env::show;
        POST "/apps/{app}/env"                  Owner  pages::app::env::set;
        POST "/apps/{app}/env/unset"            Owner  pages::app::env::unset;
        POST "/apps/{app}/env/import"           Owner  pages::app::env::import;
        GET  "/apps/{app}/domains"              Owner  pages::app::domains::show;
        POST "/apps/{app}/domains"              Owner  pages::app::domains::add;
        POST "/apps/{app}/domains/remove"       Owner  pages::app::domains::remove;
        GET  "/apps/{app}/settings"             Owner  pages::app::settings::show;
        POST "/apps/{app}/source"               Owner  pages::app::settings::source;
        POST "/apps/{app}/registry"             Owner  pages::app::settings::registry;
        POST "/apps/{app}/webhook-secret"       Owner  pages::app::settings::show_secret;
        POST "/apps/{app}/scale"                Owner  pages::app::settings::scale;
        POST "/apps/{app}/maintenance"          Owner  pages::app::settings::maintenance;
        GET  "/databases"                       Owner  pages::databases::show;
        POST "/databases"                       Owner  pages::databases::create;
        GET  "/databases/{database}"            Owner  pages::database::show;
        POST "/databases/{database}/attach"     Owner  pages::database_actions::attach;
        POST "/databases/{database}/detach"     Owner  pages::database_actions::detach;
        POST "/databases/{database}/backups"    Owner  pages::database_actions::back_up;
        GET  "/databases/{database}/restore/{backup}" Owner pages::database_actions::ask_restore;
        POST "/databases/{database}/restore/{backup}" Owner pages::database_actions::restore;
        GET  "/databases/{database}/restores/{restore}/confirm" Owner pages::database_actions::ask_drop;
        POST "/databases/{database}/restores/{restore}/confirm" Owner pages::database_actions::drop_old;
        GET  "/databases/{database}/remove"     Owner  pages::database_actions::ask_removal;
        POST "/databases/{database}/remove"     Owner  pages::database_actions::remove;
        POST "/apps/{app}/attach"               Owner  pages::database_actions::attach_from_app;
        POST "/settings/targets"                Owner  pages::targets::add;
        POST "/settings/targets/{target}/test"  Owner  pages::targets::test;
        POST "/settings/targets/{target}/use"   Owner  pages::targets::make_default;
        GET  "/settings/targets/{target}/remove" Owner pages::targets::ask_removal;
        POST "/settings/targets/{target}/remove" Owner pages::targets::remove;
        GET  "/box"                             Owner  pages::box_page::show;
        GET  "/checks"                          Owner  pages::checks::show;
        POST "/checks"                          Owner  pages::checks::add;
        POST "/checks/{id}/remove"              Owner  pages::checks::remove;
        GET  "/settings"                        Owner  pages::settings::show;
        GET  "/settings/ca.pem"                 Owner  pages::settings::root;
        POST "/settings/password"               Owner  pages::settings::password;
        // API
        GET  "/api/v1/health"                   Nobody api::health::show;
        GET  "/api/v1/status"                   Owner  api::status::show;
        POST "/api/v1/setup-link"               Local  api::users::setup_link;
        GET  "/api/v1/apps"                     Owner  api::apps::list;
        POST "/api/v1/apps"                     Owner  api::apps::create;
        GET  "/api/v1/apps/{app}"               Owner  api::apps::show;
        PATCH "/api/v1/apps/{app}"              Owner  api::apps::change;
        DELETE "/api/v1/apps/{app}"             Owner  api::apps::remove;
        POST "/api/v1/apps/{app}/start"         Owner  api::apps::start;
        POST "/api/v1/apps/{app}/stop"          Owner  api::apps::stop;
        POST "/api/v1/apps/{app}/restart"       Owner  api::apps::restart;
        GET  "/api/v1/apps/{app}/env"           Owner  api::env::list;
        PATCH "/api/v1/apps/{app}/env"          Owner  api::env::change;
        GET  "/api/v1/apps/{app}/domains"       Owner  api::domains::list;
        POST "/api/v1/apps/{app}/domains"       Owner  api::domains::add;
        DELETE "/api/v1/apps/{app}/domains"     Owner  api::domains::remove;
        POST "/api/v1/apps/{app}/maintenance"   Owner  api::domains::maintenance;
        POST "/api/v1/apps/{app}/scale"         Owner  api::domains::scale;
        GET  "/api/v1/apps/{app}/deploys"       Owner  api::deploys::list;
        POST "/api/v1/apps/{app}/deploys"       Owner  api::deploys::create;
        POST "/api/v1/apps/{app}/deploys/upload" Owner api::deploys::upload;
        GET  "/api/v1/apps/{app}/deploys/{id}"  Owner  api::deploys::show;
        GET  "/api/v1/apps/{app}/deploys/{id}/log" Owner api::deploys::log;
        POST "/api/v1/apps/{app}/deploys/{id}/cancel" Owner api::deploys::cancel;
        POST "/api/v1/apps/{app}/rollback"      Owner  api::deploys::rollback;
        GET  "/api/v1/apps/{app}/releases"      Owner  api::deploys::releases;
        GET  "/api/v1/apps/{app}/deliveries"    Owner  api::deploys::deliveries;
        GET  "/api/v1/apps/{app}/logs"          Owner  api::app_logs::show;
        POST "/api/v1/apps/{app}/exec"          Owner  api::app_logs::exec;
        POST "/api/v1/apps/{app}/run"           Owner  api::app_logs::run;
        // Git hosts
        POST "/hooks/{app}"                     Proof  hooks::take;
        GET  "/api/v1/events"                   Owner  api::events::list;
        GET  "/api/v1/events/stream"            Owner  api::events::stream;
        GET  "/api/v1/overview"                 Owner  api::overview::show;
        GET  "/api/v1/metrics/box"              Owner  api::metrics::of_box;
        GET  "/api/v1/metrics/apps/{app}"       Owner  api::metrics::of_app;
        GET  "/api/v1/checks"                   Owner  api::checks::list;
        POST "/api/v1/checks"                   Owner  api::checks::add;
        DELETE "/api/v1/checks/{check}"         Owner  api::checks::remove;
        GET  "/api/v1/incidents"                Owner  api::checks::incidents;
        GET  "/api/v1/databases"                Owner  api::databases::list;
        POST "/api/v1/databases"                Owner  api::databases::create;
        GET  "/api/v1/databases/{name}"         Owner  api::databases::show;
        DELETE "/api/v1/databases/{name}"       Owner  api::databases::remove;
        POST "/api/v1/databases/{name}/attachments" Owner api::databases::attach;
        DELETE "/api/v1/databases/{name}/attachments/{app}" Owner api::databases::detach;
        POST "/api/v1/databases/{name}/psql"    Owner  api::databases::psql;
        POST "/api/v1/databases/{name}/backups" Owner  api::backups::now;
        GET  "/api/v1/targets"                  Owner  api::targets::list;
        POST "/api/v1/targets"                  Owner  api::targets::add;
        DELETE "/api/v1/targets/{name}"         Owner  api::targets::remove;
        POST "/api/v1/targets/{name}/test"      Owner  api::targets::test;
        POST "/api/v1/targets/{name}/default"   Owner  api::targets::make_default;
        GET  "/api/v1/backups"                  Owner  api::backups::list;
        GET  "/api/v1/backups/{id}"             Owner  api::backups::show;
        POST "/api/v1/backups/{id}/verify"      Owner  api::backups::verify;
        POST "/api/v1/backups/{id}/restore"     Owner  api::backups::restore;
        GET  "/api/v1/backups/{id}/download"    Owner  api::backups::download;
        GET  "/api/v1/restores"                 Owner  api::backups::restores;
        GET  "/api/v1/restores/{id}"            Owner  api::backups::show_restore;
        POST "/api/v1/restores/{id}/confirm"    Owner  api::backups::confirm;
    }
}

/// The table as a service.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in table() {
        let needs = route.needs;
        router = router.route(
            route.path,
            route.handler.layer(from_fn(move |caller, request, next| {
                auth::guard(needs, caller, request, next)
            })),
        );
    }
    router
        .fallback(error::no_such_page)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn(super::forgery::refuse_foreign))
        .layer(from_fn(pages::visit::forget_flash))
        .layer(from_fn(super::error::dress))
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            auth::identify,
        ))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            error::panicked,
        ))
        .with_state(app)
}
