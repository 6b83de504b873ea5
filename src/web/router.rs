//! Every URL with the role it needs, on one page.
//!
//! What does not stand here does not exist; what stands here without a
//! [`Needs`] does not compile, nor does an API row whose handler cannot be
//! described or that says nothing of itself. `tests/` walks [`table`] as everybody
//! there can be. What is dangerous is marked `sudo`: a person gives their password
//! again, unless they did within the last ten minutes of their session. Programs and
//! the box's own socket have no password and are let through; what they may is bound
//! when they are made.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access::Needs;
use super::contract::{self, Again, Compared, Described, Operation, Schemas};
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
    /// Whether a person gives their password again first, unless they just did.
    pub sudo: bool,
    /// What the description of the API says of it; none for pages.
    pub api: Option<Api>,
    handler: MethodRouter<App>,
}

/// An operation of the API.
pub struct Api {
    /// Its handler's name: `apps::list`.
    pub id: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What it takes and answers, by its handler's type.
    pub describe: fn(&mut Schemas) -> Operation,
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
        sudo: false,
        api: None,
        handler: on(filter, handler),
    }
}

/// A row of the API: its handler says what it takes and answers.
fn operation<H, T>(
    method: Method,
    path: &'static str,
    needs: Needs,
    (id, summary): (&'static str, &'static str),
    handler: H,
) -> Route
where
    H: axum::handler::Handler<T, App> + Described<T>,
    T: 'static,
{
    let api = Api {
        id: id.strip_prefix("api::").unwrap_or(id),
        summary,
        describe: H::describe,
    };
    Route {
        api: Some(api),
        ..row(method, path, needs, handler)
    }
}

/// What a row is marked with at its end.
macro_rules! marked {
    ($row:expr) => {
        $row
    };
    ($row:expr, sudo) => {
        Route { sudo: true, ..$row }
    };
}

macro_rules! pages {
    ($($method:ident $path:literal $needs:ident $handler:path $(, $mark:ident)?;)*) => {
        vec![$(marked!(row(Method::$method, $path, Needs::$needs, $handler) $(, $mark)?)),*]
    };
}

macro_rules! api {
    ($($method:ident $path:literal $needs:ident $handler:path, $summary:literal $(, $mark:ident)?;)*) => {
        vec![$(marked!(operation(
            Method::$method,
            concat!("/api/v1", $path),
            Needs::$needs,
            (stringify!($handler), $summary),
            $handler,
        ) $(, $mark)?)),*]
    };
}

/// The table itself.
#[rustfmt::skip]
pub fn table() -> Vec<Route> {
    let mut all = pages! {
        // Coming in
        GET  "/setup/{token}"                   Proof     pages::setup::show;
        POST "/setup/{token}"                   Proof     pages::setup::submit;
        GET  "/sign-in"                         Nobody    pages::sign_in::show;
        POST "/sign-in"                         Nobody    pages::sign_in::submit;
        GET  "/sign-in/code"                    Nobody    pages::sign_in_code::show;
        POST "/sign-in/code"                    Nobody    pages::sign_in_code::submit;
        POST "/sign-out"                        Person    pages::sign_in::sign_out;
        GET  "/confirm-password"                Person    pages::confirm_password::show;
        POST "/confirm-password"                Person    pages::confirm_password::submit;
        POST "/theme"                           Nobody    pages::visit::theme;
        GET  "/static/{file}"                   Nobody    pages::assets::file;
        // Dashboard
        GET  "/"                                User      pages::overview::show;
        GET  "/activity"                        SeeBox    pages::activity::show;
        GET  "/apps/new"                        ChangeBox pages::app::new::show;
        POST "/apps"                            ChangeBox pages::app::new::submit;
        GET  "/apps/{app}"                      SeeApp    pages::app::overview::show;
        GET  "/apps/{app}/deploys"              SeeApp    pages::app::deploys::show;
        POST "/apps/{app}/deploys"              DeployApp pages::app::actions::deploy;
        POST "/apps/{app}/deploys/upload"       DeployApp pages::app::upload::submit;
        GET  "/apps/{app}/deploys/{id}"         SeeApp    pages::app::deploy::show;
        GET  "/apps/{app}/deploys/{id}/log"     SeeApp    pages::app::deploy_log::stream;
        POST "/apps/{app}/deploys/{id}/cancel"  DeployApp pages::app::actions::cancel;
        POST "/apps/{app}/rollback"             DeployApp pages::app::actions::rollback;
        POST "/apps/{app}/restart"              ChangeApp pages::app::actions::restart;
        POST "/apps/{app}/stop"                 ChangeApp pages::app::actions::stop;
        POST "/apps/{app}/start"                ChangeApp pages::app::actions::start;
        GET  "/apps/{app}/remove"               ChangeApp pages::app::actions::ask_removal, sudo;
        POST "/apps/{app}/remove"               ChangeApp pages::app::actions::remove, sudo;
        GET  "/apps/{app}/logs"                 SeeApp    pages::app::logs::show;
        GET  "/apps/{app}/logs/stream"          SeeApp    pages::app::logs::stream;
        GET  "/apps/{app}/activity"             SeeApp    pages::app::activity::show;
        GET  "/apps/{app}/env"                  SeeApp    pages::app::env::show;
        POST "/apps/{app}/env"                  ChangeApp pages::app::env::set;
        POST "/apps/{app}/env/unset"            ChangeApp pages::app::env::unset;
        POST "/apps/{app}/env/import"           ChangeApp pages::app::env::import;
        POST "/apps/{app}/env/reveal"           ChangeApp pages::app::env::reveal, sudo;
        GET  "/apps/{app}/domains"              SeeApp    pages::app::domains::show;
        POST "/apps/{app}/domains"              ChangeApp pages::app::domains::add;
        POST "/apps/{app}/domains/remove"       ChangeApp pages::app::domains::remove;
        GET  "/apps/{app}/domains/{domain}/policies" SeeApp pages::app::policies::show;
        POST "/apps/{app}/domains/{domain}/policies" ChangeApp pages::app::policies::set;
        GET  "/apps/{app}/settings"             SeeApp    pages::app::settings::show;
        POST "/apps/{app}/source"               ChangeApp pages::app::settings::source;
        POST "/apps/{app}/registry"             ChangeApp pages::app::settings::registry;
        POST "/apps/{app}/webhook-secret"       ChangeApp pages::app::webhook::show, sudo;
        POST "/apps/{app}/webhook-secret/replace" ChangeApp pages::app::webhook::replace, sudo;
        POST "/apps/{app}/scale"                ChangeApp pages::app::settings::scale;
        GET  "/apps/{app}/run"                  ChangeApp pages::app::run::show, sudo;
        POST "/apps/{app}/run"                  ChangeApp pages::app::run::submit, sudo;
        GET  "/apps/{app}/exec"                 ChangeApp pages::app::run::show_inside, sudo;
        POST "/apps/{app}/exec"                 ChangeApp pages::app::run::submit_inside, sudo;
        POST "/apps/{app}/maintenance"          ChangeApp pages::app::settings::maintenance;
        GET  "/databases"                       SeeBox    pages::databases::show;
        POST "/databases"                       ChangeBox pages::databases::create;
        GET  "/databases/{database}"            SeeBox    pages::database::show;
        GET  "/databases/{database}/sql"        ChangeBox pages::database_sql::show, sudo;
        POST "/databases/{database}/sql"        ChangeBox pages::database_sql::submit, sudo;
        POST "/databases/{database}/attach"     ChangeBox pages::database_actions::attach;
        POST "/databases/{database}/detach"     ChangeBox pages::database_actions::detach;
        POST "/databases/{database}/backups"    ChangeBox pages::database_actions::back_up;
        POST "/databases/{database}/backups/{backup}/verify" ChangeBox pages::database_actions::verify;
        GET  "/databases/{database}/backups/{backup}/download" ChangeBox pages::database_actions::download, sudo;
        GET  "/databases/{database}/restore/{backup}" ChangeBox pages::database_actions::ask_restore, sudo;
        POST "/databases/{database}/restore/{backup}" ChangeBox pages::database_actions::restore, sudo;
        GET  "/databases/{database}/restores/{restore}/confirm" ChangeBox pages::database_actions::ask_drop, sudo;
        POST "/databases/{database}/restores/{restore}/confirm" ChangeBox pages::database_actions::drop_old, sudo;
        GET  "/databases/{database}/remove"     ChangeBox pages::database_actions::ask_removal, sudo;
        POST "/databases/{database}/remove"     ChangeBox pages::database_actions::remove, sudo;
        POST "/apps/{app}/attach"               ChangeBox pages::database_actions::attach_from_app;
        POST "/settings/targets"                ChangeBox pages::targets::add, sudo;
        POST "/settings/targets/{target}/test"  ChangeBox pages::targets::test;
        POST "/settings/targets/{target}/use"   ChangeBox pages::targets::make_default, sudo;
        GET  "/settings/targets/{target}/remove" ChangeBox pages::targets::ask_removal, sudo;
        POST "/settings/targets/{target}/remove" ChangeBox pages::targets::remove, sudo;
        GET  "/jobs"                            User      pages::jobs::show;
        POST "/jobs/{id}/cancel"                User      pages::jobs::cancel;
        GET  "/box"                             SeeBox    pages::box_page::show;
        GET  "/box/doctor"                      SeeBox    pages::doctor::show;
        GET  "/routes"                          User      pages::routes::show;
        GET  "/checks"                          SeeBox    pages::checks::show;
        POST "/checks"                          ChangeBox pages::checks::add;
        POST "/checks/{id}/remove"              ChangeBox pages::checks::remove;
        GET  "/settings"                        SeeBox     pages::settings::show;
        GET  "/settings/ca.pem"                 User      pages::settings::root;
        GET  "/settings/people"                 SeeBox    pages::people::show;
        POST "/settings/people"                 ChangePeople pages::people::invite, sudo;
        GET  "/settings/people/{user}"          ChangeBox pages::person::show;
        POST "/settings/people/{user}"          ChangePeople pages::people::change, sudo;
        POST "/settings/people/{user}/sessions/end" ChangeBox pages::person::end_session, sudo;
        POST "/settings/people/{user}/sessions/end-all" ChangeBox pages::person::end_sessions, sudo;
        POST "/settings/people/{user}/second-factor/off" ChangePeople pages::person::second_factor_off, sudo;
        POST "/settings/people/{user}/reset"    ChangePeople pages::people::reset, sudo;
        GET  "/settings/people/{user}/remove"   ChangeBox pages::people::ask_removal, sudo;
        POST "/settings/people/{user}/remove"   ChangeBox pages::people::remove, sudo;
        GET  "/settings/audit"                  SeeAudit  pages::audit::show;
        GET  "/account"                         Person    pages::account::show;
        POST "/account/password"                Person    pages::account::password;
        GET  "/account/second-factor"           Person    pages::second_factor::show, sudo;
        POST "/account/second-factor"           Person    pages::second_factor::begin, sudo;
        POST "/account/second-factor/confirm"   Person    pages::second_factor::confirm, sudo;
        POST "/account/second-factor/codes"     Person    pages::second_factor::codes, sudo;
        POST "/account/second-factor/off"       Person    pages::second_factor::off, sudo;
        POST "/account/sessions/end"            Person    pages::account::end_session;
        POST "/account/tokens"                  Person    pages::account::new_token, sudo;
        POST "/account/tokens/end"              Person    pages::account::end_token;
        // Git hosts
        POST "/hooks/{app}"                     Proof     hooks::take;
    };
    all.extend(api! {
        GET  "/health"                          Nobody    api::health::show, "Whether the daemon answers";
        GET  "/openapi.json"                    Nobody    api::openapi::show, "This description";
        GET  "/status"                          SeeBox    api::status::show, "One look at everything on the box";
        GET  "/doctor"                          SeeBox    api::doctor::show, "Examines the box: what is wrong, and how to mend it";
        POST "/doctor/confirm"                  ChangeBox api::doctor::confirm, "Says that all is well after Freehold's own state was made anew: what it does not know is removed again";
        GET  "/handover"                        SeeBox    api::handover::show, "How the last handover to another Freehold stands, and who answers now";
        POST "/handover"                        ChangeBox api::handover::begin, "Lets the Freehold that is installed take this one's place; no request is lost";
        POST "/setup-link"                      Local     api::users::setup_link, "A new one-time path to set the owner's password";
        GET  "/audit"                           SeeAudit  api::audit::list, "Searches the audit log, newest first";
        GET  "/audit/export"                    SeeAudit  api::audit::export, "All entries of the audit log that fit, newest first";
        GET  "/users"                           SeeBox    api::users::list, "Lists the users, and those asked in";
        POST "/users"                           ChangePeople api::users::invite, "Asks somebody in; the answer holds the link, told this once", sudo;
        GET  "/users/{user}"                    SeeBox    api::users::show, "One user";
        PATCH "/users/{user}"                    ChangePeople api::users::change, "Changes a user's role or apps", sudo;
        DELETE "/users/{user}"                    ChangeBox api::users::remove, "Takes a user out, with sessions and tokens", sudo;
        POST "/users/{user}/reset"              ChangePeople api::users::reset, "A new link for somebody who cannot come in", sudo;
        GET  "/session"                         Person    api::session::show, "Who asks, and until when the dangerous may be done";
        POST "/session/confirm"                 Person    api::session::confirm, "Takes the password again; the session goes on under another cookie";
        GET  "/sessions"                        Person    api::sessions::list, "Lists one's sessions";
        DELETE "/sessions/{mark}"                 Person    api::sessions::end, "Ends a session of one's own";
        POST "/account/password"                Person    api::account::password, "Changes one's password; the session goes on under another cookie, the others end";
        GET  "/account/second-factor"           Person    api::second_factor::show, "How one's second factor stands";
        POST "/account/second-factor"           Person    api::second_factor::offer, "A key for an authenticator; it counts once a code was right", sudo;
        DELETE "/account/second-factor"           Person    api::second_factor::remove, "Turns one's second factor off", sudo;
        POST "/account/second-factor/confirm"   Person    api::second_factor::confirm, "Turns the second factor on by a first code; the answer holds the recovery codes, told this once", sudo;
        POST "/account/second-factor/recovery-codes" Person    api::second_factor::recovery_codes, "New recovery codes, told this once; those of before work no more", sudo;
        GET  "/users/{user}/sessions"           ChangeBox api::sessions::list_of, "Lists a user's sessions";
        DELETE "/users/{user}/sessions"           ChangeBox api::sessions::end_all_of, "Ends every session of a user", sudo;
        DELETE "/users/{user}/sessions/{mark}"    ChangeBox api::sessions::end_of, "Ends a session of a user", sudo;
        DELETE "/users/{user}/second-factor"      ChangePeople api::users::remove_second_factor, "Turns a user's second factor off", sudo;
        GET  "/tokens"                          Person    api::tokens::list, "Lists one's tokens; on the box, everybody's";
        POST "/tokens"                          Person    api::tokens::create, "Makes a token, told this once", sudo;
        GET  "/tokens/{id}"                     Person    api::tokens::show, "One token";
        DELETE "/tokens/{id}"                     Person    api::tokens::remove, "Ends a token";
        GET  "/root.pem"                        Nobody    api::certificate::root, "The root certificate of the box's own CA";
        GET  "/apps"                            User      api::apps::list, "Lists the apps one may see";
        POST "/apps"                            ChangeBox api::apps::create, "Makes an app";
        GET  "/apps/{app}"                      SeeApp    api::apps::show, "One app, whole";
        PATCH "/apps/{app}"                      ChangeApp api::apps::change, "Changes where an app's code comes from; what is absent stays";
        DELETE "/apps/{app}"                      ChangeApp api::apps::remove, "Removes an app; the work follows", sudo;
        POST "/apps/{app}/start"                ChangeApp api::apps::start, "Starts an app that was stopped";
        POST "/apps/{app}/stop"                 ChangeApp api::apps::stop, "Stops an app's containers";
        POST "/apps/{app}/restart"              ChangeApp api::apps::restart, "Brings new containers of the live release up beside the old ones";
        POST "/apps/{app}/webhook-secret/reveal" ChangeApp api::apps::reveal_webhook_secret, "Tells the webhook's secret; that it was told is audited", sudo;
        POST "/apps/{app}/webhook-secret"       ChangeApp api::apps::replace_webhook_secret, "Replaces the webhook's secret; the old one ends with the answer", sudo;
        GET  "/apps/{app}/env"                  SeeApp    api::env::list, "Lists an app's variables, without values";
        POST "/apps/{app}/env/reveal"           ChangeApp api::env::reveal, "Tells values of variables; that they were told is audited", sudo;
        PATCH "/apps/{app}/env"                  ChangeApp api::env::change, "Sets and unsets variables in one step, and deploys them";
        GET  "/apps/{app}/domains"              SeeApp    api::domains::list, "Lists where an app answers, and how the certificates stand";
        POST "/apps/{app}/domains"              ChangeApp api::domains::add, "Lets an app answer at another domain";
        DELETE "/apps/{app}/domains"              ChangeApp api::domains::remove, "Takes a domain from an app";
        GET  "/apps/{app}/domains/{domain}/policies" SeeApp    api::policies::show, "What a domain asks of requests and does to answers";
        PUT  "/apps/{app}/domains/{domain}/policies" ChangeApp api::policies::set, "Gives a domain policies of its own, all at once, in force at once; a password is told never again";
        DELETE "/apps/{app}/domains/{domain}/policies" ChangeApp api::policies::remove, "Takes a domain's own policies away; those of the app's file hold";
        POST "/apps/{app}/maintenance"          ChangeApp api::domains::maintenance, "Switches an app's maintenance page";
        POST "/apps/{app}/scale"                ChangeApp api::domains::scale, "Changes a process's replicas, memory or processor";
        GET  "/apps/{app}/deploys"              SeeApp    api::deploys::list, "Lists an app's deploys, newest first";
        POST "/apps/{app}/deploys"              DeployApp api::deploys::create, "Deploys an image, or a commit from git";
        POST "/apps/{app}/deploys/upload"       DeployApp api::deploys::upload, "Deploys a folder, sent as a tar";
        GET  "/apps/{app}/deploys/{id}"         SeeApp    api::deploys::show, "One deploy with its steps";
        GET  "/apps/{app}/deploys/{id}/log"     SeeApp    api::deploys::log, "A deploy's log as it grows";
        POST "/apps/{app}/deploys/{id}/cancel"  DeployApp api::deploys::cancel, "Cancels a deploy whose release is not live yet";
        POST "/apps/{app}/rollback"             DeployApp api::deploys::rollback, "Goes back to an earlier release";
        GET  "/apps/{app}/releases"             SeeApp    api::deploys::releases, "Lists an app's releases, newest first";
        GET  "/apps/{app}/deliveries"           SeeApp    api::deploys::deliveries, "Lists what git hosts told us of an app, newest first";
        GET  "/apps/{app}/events"               SeeApp    api::events::of_app, "Lists what happened to an app, newest first";
        GET  "/apps/{app}/logs"                 SeeApp    api::app_logs::show, "What an app's containers wrote, oldest first";
        POST "/apps/{app}/exec"                 ChangeApp api::app_logs::exec, "Runs a command inside a running replica", sudo;
        POST "/apps/{app}/run"                  ChangeApp api::app_logs::run, "Runs a command in a container of its own", sudo;
        GET  "/jobs"                            User      api::jobs::list, "Lists long work, newest first";
        GET  "/jobs/{id}"                       User      api::jobs::show, "One piece of long work";
        GET  "/jobs/{id}/events"                User      api::jobs::follow, "How a job stands, with each change until it is over";
        POST "/jobs/{id}/cancel"                User      api::jobs::cancel, "Takes a job back; answers when it was seen dead";
        GET  "/events"                          SeeBox    api::events::list, "Lists what happened, newest first";
        GET  "/events/stream"                   SeeBox    api::events::stream, "What happens from now on";
        GET  "/overview"                        User      api::overview::show, "How everything is doing, with figures";
        GET  "/routes"                          User      api::routes::show, "What passes through the edge, by route, process and replica";
        GET  "/metrics/box"                     SeeBox    api::metrics::of_box, "The box's figures over time";
        GET  "/metrics/apps/{app}"              SeeApp    api::metrics::of_app, "An app's figures over time";
        GET  "/checks"                          SeeBox    api::checks::list, "Lists what is asked whether it answers";
        POST "/checks"                          ChangeBox api::checks::add, "Asks another address from now on";
        GET  "/checks/{check}"                  SeeBox    api::checks::show, "One check";
        DELETE "/checks/{check}"                  ChangeBox api::checks::remove, "Asks an address no more";
        GET  "/incidents"                       SeeBox    api::checks::incidents, "Lists the times a check was not answered, newest first";
        GET  "/databases"                       SeeBox    api::databases::list, "Lists the databases";
        POST "/databases"                       ChangeBox api::databases::create, "Makes a database; the work follows";
        GET  "/databases/{name}"                SeeBox    api::databases::show, "One database, with what the server says of itself";
        DELETE "/databases/{name}"                ChangeBox api::databases::remove, "Removes a database with its data; the work follows", sudo;
        POST "/databases/{name}/attachments"    ChangeBox api::databases::attach, "Gives an app a database of its own on the server, and deploys the URL";
        DELETE "/databases/{name}/attachments/{app}" ChangeBox api::databases::detach, "Takes a database from an app, and deploys without the URL";
        POST "/databases/{name}/attachments/{app}/reveal" ChangeApp api::databases::reveal, "Tells the URL an app is given; that it was told is audited", sudo;
        POST "/databases/{name}/psql"           ChangeBox api::databases::psql, "A psql shell on the server", sudo;
        POST "/databases/{name}/backups"        ChangeBox api::backups::now, "Backs up every database on the server; the work follows";
        GET  "/targets"                         SeeBox    api::targets::list, "Lists the backup targets";
        POST "/targets"                         ChangeBox api::targets::add, "Tries a backup target out and adds it", sudo;
        GET  "/targets/{name}"                  SeeBox    api::targets::show, "One backup target";
        DELETE "/targets/{name}"                  ChangeBox api::targets::remove, "Forgets a backup target; what is stored there stays", sudo;
        POST "/targets/{name}/test"             ChangeBox api::targets::test, "Tries a backup target out";
        POST "/targets/{name}/default"          ChangeBox api::targets::make_default, "Sends dumps to this target from now on", sudo;
        GET  "/backups"                         SeeBox    api::backups::list, "Lists the backups, newest first";
        GET  "/backups/{id}"                    SeeBox    api::backups::show, "One backup";
        POST "/backups/{id}/verify"             ChangeBox api::backups::verify, "Unpacks a backup to its last byte; the work follows";
        POST "/backups/{id}/restore"            ChangeBox api::backups::restore, "Brings a backup back beside what is there, then swaps; the work follows", sudo;
        GET  "/backups/{id}/download"           ChangeBox api::backups::download, "A dump as pg_dump wrote it", sudo;
        GET  "/restores"                        SeeBox    api::backups::restores, "Lists the restores, newest first";
        GET  "/restores/{id}"                   SeeBox    api::backups::show_restore, "One restore";
        POST "/restores/{id}/confirm"           ChangeBox api::backups::confirm, "Drops what a restore replaced; the work follows", sudo;
    });
    all
}

/// The handler behind what its description says of it.
fn kept(
    (app, shown): (&App, &contract::Shown),
    (method, path, compared): (&Method, &str, Option<Compared>),
    mut handler: MethodRouter<App>,
    operation: &Operation,
) -> MethodRouter<App> {
    if *method == Method::GET && operation.shows_one() {
        handler = handler.layer(from_fn(contract::tag));
    }
    handler = match compared {
        None => handler,
        Some(Compared::Nothing) => handler.layer(from_fn(contract::refuse_condition)),
        Some(compared) => {
            let state = (shown.clone(), compared);
            handler.layer(from_fn(move |request, next| {
                contract::unless_changed(state.clone(), request, next)
            }))
        }
    };
    if *method == Method::POST {
        handler = match contract::again(path, operation) {
            Again::Refused(why) => handler.layer(from_fn(move |request, next| {
                super::replay::refuse_key(why, request, next)
            })),
            again => handler.layer(from_fn_with_state(
                (app.clone(), again),
                super::replay::once,
            )),
        };
    }
    let names: Arc<[String]> = operation.query.iter().map(|p| p.name.clone()).collect();
    handler.layer(from_fn(move |request, next| {
        contract::refuse_unknown(names.clone(), request, next)
    }))
}

/// The table as a service.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    let mut schemas = Schemas::default();
    let shown = contract::Shown::default();
    let routes = table();
    let rules = super::audit::Rules::of(&routes);
    let turns = contract::Turns::default();
    let tagged = contract::tagged(&routes);
    for route in routes {
        let thing = contract::thing(&route);
        let (needs, sudo, services) = (route.needs, route.sudo, app.clone());
        let mut handler = match &route.api {
            None => route.handler,
            Some(api) => {
                let operation = (api.describe)(&mut schemas);
                let held = contract::compared(&route, &tagged);
                let edited = (&route.method, route.path, held);
                kept((&app, &shown), edited, route.handler, &operation)
            }
        };
        if let Some(thing) = thing {
            let turns = turns.clone();
            handler = handler.layer(from_fn(move |params, request, next| {
                contract::in_turn((turns.clone(), thing), params, request, next)
            }));
        }
        router = router.route(
            route.path,
            handler.layer(from_fn(forgery::proven)).layer(from_fn(
                move |caller, params, request, next| {
                    auth::guard(
                        services.clone(),
                        (needs, sudo),
                        caller,
                        params,
                        request,
                        next,
                    )
                },
            )),
        );
    }
    let rows = router
        .fallback(error::no_such_page)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(app.clone());
    shown.by(rows.clone());
    rows.layer(from_fn(forgery::refuse_foreign))
        .layer(from_fn_with_state(
            (app.clone(), rules),
            super::audit::record,
        ))
        .layer(from_fn(pages::visit::forget_flash))
        .layer(from_fn_with_state(
            (app.clone(), contract::Rates::default()),
            contract::count,
        ))
        .layer(from_fn(super::error::dress))
        .layer(from_fn_with_state(app.clone(), forgery::give_token))
        .layer(from_fn_with_state(app, auth::identify))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            error::panicked,
        ))
        .layer(from_fn(super::error::harden))
}
