//! Every URL with the role it needs, on one page.
//!
//! What does not stand here does not exist; what stands here without a
//! [`Needs`] does not compile. `tests/` walks [`table`] as nobody and as owner.

use axum::Router;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access::Needs;
use super::services::App;
use super::{api, auth, error, forgery, hooks, pages};

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
        GET  "/setup/{token}"                   Proof     pages::setup::show;
        POST "/setup/{token}"                   Proof     pages::setup::submit;
        GET  "/sign-in"                         Nobody    pages::sign_in::show;
        POST "/sign-in"                         Nobody    pages::sign_in::submit;
        POST "/sign-out"                        Person    pages::sign_in::sign_out;
        POST "/theme"                           Nobody    pages::visit::theme;
        GET  "/static/{file}"                   Nobody    pages::assets::file;
        // Dashboard
        GET  "/"                                User      pages::overview::show;
        GET  "/apps/new"                        ChangeBox pages::app::new::show;
        POST "/apps"                            ChangeBox pages::app::new::submit;
        GET  "/apps/{app}"                      SeeApp    pages::app::overview::show;
        GET  "/apps/{app}/deploys"              SeeApp    pages::app::deploys::show;
        POST "/apps/{app}/deploys"              DeployApp pages::app::actions::deploy;
        GET  "/apps/{app}/deploys/{id}"         SeeApp    pages::app::deploy::show;
        GET  "/apps/{app}/deploys/{id}/log"     SeeApp    pages::app::deploy_log::stream;
        POST "/apps/{app}/deploys/{id}/cancel"  DeployApp pages::app::actions::cancel;
        POST "/apps/{app}/rollback"             DeployApp pages::app::actions::rollback;
        POST "/apps/{app}/restart"              ChangeApp pages::app::actions::restart;
        POST "/apps/{app}/stop"                 ChangeApp pages::app::actions::stop;
        POST "/apps/{app}/start"                ChangeApp pages::app::actions::start;
        GET  "/apps/{app}/remove"               ChangeApp pages::app::actions::ask_removal;
        POST "/apps/{app}/remove"               ChangeApp pages::app::actions::remove;
        GET  "/apps/{app}/logs"                 SeeApp    pages::app::logs::show;
        GET  "/apps/{app}/logs/stream"          SeeApp    pages::app::logs::stream;
        GET  "/apps/{app}/activity"             SeeApp    pages::app::activity::show;
        GET  "/apps/{app}/env"                  SeeApp    pages::app::env::show;
        POST "/apps/{app}/env"                  ChangeApp pages::app::env::set;
        POST "/apps/{app}/env/unset"            ChangeApp pages::app::env::unset;
        POST "/apps/{app}/env/import"           ChangeApp pages::app::env::import;
        GET  "/apps/{app}/domains"              SeeApp    pages::app::domains::show;
        POST "/apps/{app}/domains"              ChangeApp pages::app::domains::add;
        POST "/apps/{app}/domains/remove"       ChangeApp pages::app::domains::remove;
        GET  "/apps/{app}/settings"             SeeApp    pages::app::settings::show;
        POST "/apps/{app}/source"               ChangeApp pages::app::settings::source;
        POST "/apps/{app}/registry"             ChangeApp pages::app::settings::registry;
        POST "/apps/{app}/webhook-secret"       ChangeApp pages::app::webhook::show;
        POST "/apps/{app}/webhook-secret/replace" ChangeApp pages::app::webhook::replace;
        POST "/apps/{app}/scale"                ChangeApp pages::app::settings::scale;
        POST "/apps/{app}/maintenance"          ChangeApp pages::app::settings::maintenance;
        GET  "/databases"                       SeeBox    pages::databases::show;
        POST "/databases"                       ChangeBox pages::databases::create;
        GET  "/databases/{database}"            SeeBox    pages::database::show;
        POST "/databases/{database}/attach"     ChangeBox pages::database_actions::attach;
        POST "/databases/{database}/detach"     ChangeBox pages::database_actions::detach;
        POST "/databases/{database}/backups"    ChangeBox pages::database_actions::back_up;
        GET  "/databases/{database}/restore/{backup}" ChangeBox pages::database_actions::ask_restore;
        POST "/databases/{database}/restore/{backup}" ChangeBox pages::database_actions::restore;
        GET  "/databases/{database}/restores/{restore}/confirm" ChangeBox pages::database_actions::ask_drop;
        POST "/databases/{database}/restores/{restore}/confirm" ChangeBox pages::database_actions::drop_old;
        GET  "/databases/{database}/remove"     ChangeBox pages::database_actions::ask_removal;
        POST "/databases/{database}/remove"     ChangeBox pages::database_actions::remove;
        POST "/apps/{app}/attach"               ChangeBox pages::database_actions::attach_from_app;
        POST "/settings/targets"                ChangeBox pages::targets::add;
        POST "/settings/targets/{target}/test"  ChangeBox pages::targets::test;
        POST "/settings/targets/{target}/use"   ChangeBox pages::targets::make_default;
        GET  "/settings/targets/{target}/remove" ChangeBox pages::targets::ask_removal;
        POST "/settings/targets/{target}/remove" ChangeBox pages::targets::remove;
        GET  "/box"                             SeeBox    pages::box_page::show;
        GET  "/checks"                          SeeBox    pages::checks::show;
        POST "/checks"                          ChangeBox pages::checks::add;
        POST "/checks/{id}/remove"              ChangeBox pages::checks::remove;
        GET  "/settings"                        SeeBox     pages::settings::show;
        GET  "/settings/ca.pem"                 User      pages::settings::root;
        GET  "/settings/people"                 SeeBox    pages::people::show;
        POST "/settings/people"                 ChangeBox pages::people::invite;
        POST "/settings/people/{user}"          ChangeBox pages::people::change;
        POST "/settings/people/{user}/reset"    ChangeBox pages::people::reset;
        GET  "/settings/people/{user}/remove"   ChangeBox pages::people::ask_removal;
        POST "/settings/people/{user}/remove"   ChangeBox pages::people::remove;
        GET  "/account"                         Person    pages::account::show;
        POST "/account/password"                Person    pages::account::password;
        POST "/account/sessions/end"            Person    pages::account::end_session;
        POST "/account/tokens"                  Person    pages::account::new_token;
        POST "/account/tokens/end"              Person    pages::account::end_token;
        // API
        GET  "/api/v1/health"                   Nobody    api::health::show;
        GET  "/api/v1/status"                   SeeBox    api::status::show;
        POST "/api/v1/setup-link"               Local     api::users::setup_link;
        GET  "/api/v1/users"                    SeeBox    api::users::list;
        POST "/api/v1/users"                    ChangeBox api::users::invite;
        PATCH "/api/v1/users/{user}"            ChangeBox api::users::change;
        DELETE "/api/v1/users/{user}"           ChangeBox api::users::remove;
        POST "/api/v1/users/{user}/reset"       ChangeBox api::users::reset;
        GET  "/api/v1/tokens"                   Person    api::tokens::list;
        POST "/api/v1/tokens"                   Person    api::tokens::create;
        DELETE "/api/v1/tokens/{id}"            Person    api::tokens::remove;
        GET  "/api/v1/root.pem"                 Nobody    pages::settings::root;
        GET  "/api/v1/apps"                     User      api::apps::list;
        POST "/api/v1/apps"                     ChangeBox api::apps::create;
        GET  "/api/v1/apps/{app}"               SeeApp    api::apps::show;
        PATCH "/api/v1/apps/{app}"              ChangeApp api::apps::change;
        DELETE "/api/v1/apps/{app}"             ChangeApp api::apps::remove;
        POST "/api/v1/apps/{app}/start"         ChangeApp api::apps::start;
        POST "/api/v1/apps/{app}/stop"          ChangeApp api::apps::stop;
        POST "/api/v1/apps/{app}/restart"       ChangeApp api::apps::restart;
        POST "/api/v1/apps/{app}/webhook-secret" ChangeApp api::apps::replace_webhook_secret;
        GET  "/api/v1/apps/{app}/env"           ChangeApp api::env::list;
        PATCH "/api/v1/apps/{app}/env"          ChangeApp api::env::change;
        GET  "/api/v1/apps/{app}/domains"       SeeApp    api::domains::list;
        POST "/api/v1/apps/{app}/domains"       ChangeApp api::domains::add;
        DELETE "/api/v1/apps/{app}/domains"     ChangeApp api::domains::remove;
        POST "/api/v1/apps/{app}/maintenance"   ChangeApp api::domains::maintenance;
        POST "/api/v1/apps/{app}/scale"         ChangeApp api::domains::scale;
        GET  "/api/v1/apps/{app}/deploys"       SeeApp    api::deploys::list;
        POST "/api/v1/apps/{app}/deploys"       DeployApp api::deploys::create;
        POST "/api/v1/apps/{app}/deploys/upload" DeployApp api::deploys::upload;
        GET  "/api/v1/apps/{app}/deploys/{id}"  SeeApp    api::deploys::show;
        GET  "/api/v1/apps/{app}/deploys/{id}/log" SeeApp    api::deploys::log;
        POST "/api/v1/apps/{app}/deploys/{id}/cancel" DeployApp api::deploys::cancel;
        POST "/api/v1/apps/{app}/rollback"      DeployApp api::deploys::rollback;
        GET  "/api/v1/apps/{app}/releases"      SeeApp    api::deploys::releases;
        GET  "/api/v1/apps/{app}/deliveries"    SeeApp    api::deploys::deliveries;
        GET  "/api/v1/apps/{app}/logs"          SeeApp    api::app_logs::show;
        POST "/api/v1/apps/{app}/exec"          ChangeApp api::app_logs::exec;
        POST "/api/v1/apps/{app}/run"           ChangeApp api::app_logs::run;
        // Git hosts
        POST "/hooks/{app}"                     Proof     hooks::take;
        GET  "/api/v1/events"                   SeeBox    api::events::list;
        GET  "/api/v1/events/stream"            SeeBox    api::events::stream;
        GET  "/api/v1/overview"                 User      api::overview::show;
        GET  "/api/v1/metrics/box"              SeeBox    api::metrics::of_box;
        GET  "/api/v1/metrics/apps/{app}"       SeeApp    api::metrics::of_app;
        GET  "/api/v1/checks"                   SeeBox    api::checks::list;
        POST "/api/v1/checks"                   ChangeBox api::checks::add;
        DELETE "/api/v1/checks/{check}"         ChangeBox api::checks::remove;
        GET  "/api/v1/incidents"                SeeBox    api::checks::incidents;
        GET  "/api/v1/databases"                SeeBox    api::databases::list;
        POST "/api/v1/databases"                ChangeBox api::databases::create;
        GET  "/api/v1/databases/{name}"         SeeBox    api::databases::show;
        DELETE "/api/v1/databases/{name}"       ChangeBox api::databases::remove;
        POST "/api/v1/databases/{name}/attachments" ChangeBox api::databases::attach;
        DELETE "/api/v1/databases/{name}/attachments/{app}" ChangeBox api::databases::detach;
        POST "/api/v1/databases/{name}/psql"    ChangeBox api::databases::psql;
        POST "/api/v1/databases/{name}/backups" ChangeBox api::backups::now;
        GET  "/api/v1/targets"                  SeeBox    api::targets::list;
        POST "/api/v1/targets"                  ChangeBox api::targets::add;
        DELETE "/api/v1/targets/{name}"         ChangeBox api::targets::remove;
        POST "/api/v1/targets/{name}/test"      ChangeBox api::targets::test;
        POST "/api/v1/targets/{name}/default"   ChangeBox api::targets::make_default;
        GET  "/api/v1/backups"                  SeeBox    api::backups::list;
        GET  "/api/v1/backups/{id}"             SeeBox    api::backups::show;
        POST "/api/v1/backups/{id}/verify"      ChangeBox api::backups::verify;
        POST "/api/v1/backups/{id}/restore"     ChangeBox api::backups::restore;
        GET  "/api/v1/backups/{id}/download"    ChangeBox api::backups::download;
        GET  "/api/v1/restores"                 SeeBox    api::backups::restores;
        GET  "/api/v1/restores/{id}"            SeeBox    api::backups::show_restore;
        POST "/api/v1/restores/{id}/confirm"    ChangeBox api::backups::confirm;
    }
}

/// The table as a service.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in table() {
        let needs = route.needs;
        router = router.route(
            route.path,
            route.handler.layer(from_fn(forgery::proven)).layer(from_fn(
                move |caller, params, request, next| {
                    auth::guard(needs, caller, params, request, next)
                },
            )),
        );
    }
    router
        .fallback(error::no_such_page)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn(forgery::refuse_foreign))
        .layer(from_fn(pages::visit::forget_flash))
        .layer(from_fn(super::error::dress))
        .layer(from_fn_with_state(app.clone(), forgery::give_token))
        .layer(from_fn_with_state(app.clone(), auth::identify))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            error::panicked,
        ))
        .layer(from_fn(super::error::harden))
        .with_state(app)
}
