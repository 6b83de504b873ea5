//! `/`: what needs attention first, then apps, the box, certificates and backups.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::app::{deploying, head};
use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Graph, Spark, Strip, Tone, When};
use super::visit::Visit;
use super::{backup_words, certificate, figures, words};
use crate::apps;
use crate::backup::{Backup, BackupState};
use crate::base::clock::UnixMs;
use crate::certs::{self, CertStatus};
use crate::deploy::{Deploy, Serving};
use crate::events::{self, Event, Level};
use crate::supervise::Live;
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::checks::Check;
use crate::wire::metrics::AppHistory;
use crate::wire::overview;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "overview.html")]
pub struct Overview {
    /// What stands around it.
    pub frame: Frame,
    /// Worst first.
    pub attention: Vec<Attention>,
    /// Every app.
    pub apps: Vec<AppRow>,
    /// CPU, memory, disk over the last day.
    pub graphs: Vec<Graph>,
    /// Every certificate, soonest to expire first.
    pub certificates: Vec<CertificateRow>,
    /// The newest backup of each database.
    pub backups: Vec<BackupRow>,
    /// The newest events.
    pub activity: Vec<ActivityRow>,
    /// Whether the box is shown, and not some apps alone.
    pub whole: bool,
}

/// Something that wants its reader: what, why it matters, what to do.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Warn or Bad.
    pub tone: Tone,
    /// "No backup of main for 2 days".
    pub title: String,
    /// What it means.
    pub why: String,
    /// Where it is mended.
    pub href: String,
    /// "Add a target".
    pub act: String,
}

/// An app in the list.
#[derive(Clone, Debug)]
pub struct AppRow {
    /// Its name.
    pub name: String,
    /// Its first domain, or what it lacks.
    pub host: String,
    /// Running, starting, failing …
    pub state: Badge,
    /// Requests per second now.
    pub rate: String,
    /// The last day of them.
    pub spark: Spark,
    /// 95th percentile of the last minutes.
    pub p95: String,
    /// Share of 5xx.
    pub errors: String,
    /// Whether that share is worth looking at.
    pub errors_tone: Tone,
    /// The last day's checks.
    pub uptime: Strip,
    /// "100 %".
    pub uptime_share: String,
    /// "v12" and when.
    pub release: String,
    /// Of the last deploy.
    pub deployed: Option<When>,
    /// State of the last deploy when it is not live.
    pub deploy_state: Option<Badge>,
}

/// A certificate in the list.
#[derive(Clone, Debug)]
pub struct CertificateRow {
    /// The name it is for.
    pub host: String,
    /// Who issued it.
    pub issuer: String,
    /// Valid, renewing, failed …
    pub state: Badge,
    /// When it ends.
    pub expires: Option<When>,
}

/// A database's newest backup.
#[derive(Clone, Debug)]
pub struct BackupRow {
    /// The database.
    pub database: String,
    /// Stored, failed, running, none.
    pub state: Badge,
    /// When it ended.
    pub at: Option<When>,
    /// "18 MiB to offsite".
    pub what: String,
    /// The next one.
    pub next: Option<When>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct ActivityRow {
    /// How much it wants of its reader.
    pub tone: Tone,
    /// A sentence.
    pub what: String,
    /// When.
    pub at: When,
}

impl ActivityRow {
    /// An event as a line.
    pub fn new(event: Event, now: UnixMs) -> Self {
        Self {
            tone: match event.level {
                Level::Info => Tone::Ok,
                Level::Warning => Tone::Warn,
                Level::Error => Tone::Bad,
            },
            what: event.message,
            at: When::ago(event.at_ms, now),
        }
    }
}

impl Overview {
    /// The page's heading says how it stands.
    fn headline(&self) -> String {
        const WORDS: [&str; 8] = [
            "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine",
        ];
        match self.attention.len() {
            0 => "All is in order".to_owned(),
            1 => "One thing needs you".to_owned(),
            n => match WORDS.get(n - 2) {
                Some(word) => format!("{word} things need you"),
                None => format!("{n} things need you"),
            },
        }
    }
}

/// Lines of activity shown.
const ACTIVITY: u32 = 12;

/// `GET /`
pub async fn show(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let whole = visit.caller.sees_box();
    let sees = |name: &str| visit.caller.sees_app(name);
    let apps = async {
        let mut rows = app.apps.list().await?;
        rows.retain(|row| sees(row.name.as_str()));
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let (_, day, of_box) = figures::usual(&app.monitor, now).await?;
        let histories = app.monitor.app_histories(&ids, day).await?;
        Ok::<_, Failure>((rows, of_box, histories))
    };
    // None of them waits for another: the page takes as long as the slowest of them.
    let (told, apps, checks, serving, last, certificates, backups, activity) = tokio::join!(
        app.monitor.overview(now),
        apps,
        app.monitor.checks_of_day(now),
        app.deploys.serving(),
        app.deploys.last_of_each(),
        app.certs.statuses(),
        app.backups.list_of(None, BACKUPS),
        app.db.read(|c| events::newest(c, None, ACTIVITY)),
    );
    let mut told = told?;
    if !whole {
        told = told.of_apps(sees);
    }
    let (rows, of_box, histories) = apps?;
    let (checks, serving, last) = (checks?, serving?, last?);
    let live = app.live.borrow().clone();
    let mut certificates = certificates?;
    certificates.retain(|c| whole || told.certificates.iter().any(|t| t.host == c.host.as_str()));
    certificates.sort_by_key(|c| (!certificate::wants_attention(c), c.not_after));
    let mut backups = backups?;
    backups.retain(|b| b.state != BackupState::Expired);
    let mut activity = activity?;
    activity.retain(|event| whole || rows.iter().any(|row| row.subject() == event.subject));
    let apps = rows
        .iter()
        .zip(&histories)
        .map(|(row, history)| {
            line(&Known {
                row,
                told: told.apps.iter().find(|a| a.id == row.id),
                history,
                check: checks.iter().find(|c| c.subject == row.subject()),
                serving: serving.iter().find(|s| s.app == row.id),
                last: last.iter().find(|d| d.app == row.id),
                live: &live,
                now,
            })
        })
        .collect();
    Ok(super::render(&Overview {
        frame: visit
            .frame()
            .titled("Overview", Section::Overview)
            .refreshed(5),
        attention: told.attention.iter().map(Attention::new).collect(),
        apps,
        graphs: figures::of_box(&of_box, told.machine.as_ref(), now),
        certificates: certificates
            .iter()
            .map(|c| certificate_row(c, now))
            .collect(),
        backups: told
            .databases
            .iter()
            .flat_map(|d| backup_rows(d, &backups, now))
            .collect(),
        activity: activity
            .into_iter()
            .map(|event| ActivityRow::new(event, now))
            .collect(),
        whole,
    }))
}

/// Backups looked through for the newest of each database.
const BACKUPS: u32 = 500;

impl Attention {
    /// What the monitor found, as a notice.
    pub fn new(found: &overview::Attention) -> Self {
        Self {
            tone: match found.level {
                overview::Urgency::Bad => Tone::Bad,
                overview::Urgency::Warning => Tone::Warn,
            },
            title: found.what.clone(),
            why: format!("{} {}", found.why, found.remedy).trim().to_owned(),
            act: match found.link.as_str() {
                "" => String::new(),
                _ => "Go there".to_owned(),
            },
            href: found.link.clone(),
        }
    }
}

fn certificate_row(status: &CertStatus, now: UnixMs) -> CertificateRow {
    CertificateRow {
        host: match status.host.as_str() {
            certs::BOX => "this box’s address".to_owned(),
            host => host.to_owned(),
        },
        issuer: certificate::issuer(status),
        state: certificate::badge(status),
        expires: status.not_after.map(|at| When::until(at, now)),
    }
}

/// One row for each database on a server: what is stored of one says nothing of another.
fn backup_rows(database: &overview::Database, all: &[Backup], now: UnixMs) -> Vec<BackupRow> {
    let mut own = all.iter().filter(|b| b.database_name == database.name);
    if let [] | [_] = database.parts.as_slice() {
        return vec![backup_row(database, None, own.next(), now)];
    }
    let parts = database.parts.iter();
    parts
        .map(|part| {
            let newest = own.clone().find(|b| b.logical == part.name);
            backup_row(database, Some(&part.name), newest, now)
        })
        .collect()
}

fn backup_row(
    database: &overview::Database,
    part: Option<&str>,
    newest: Option<&Backup>,
    now: UnixMs,
) -> BackupRow {
    let size = newest.and_then(|b| b.size_bytes).map(words::bytes);
    let what = match (newest, size) {
        (Some(b), Some(size)) => format!("{size} on {}", b.place()),
        (Some(b), None) => backup_words::note(b, now),
        (None, _) => String::new(),
    };
    BackupRow {
        database: database.name.clone(),
        state: newest.map_or_else(|| Badge::new(Tone::Idle, "None yet"), backup_words::badge),
        at: newest.map(|b| When::ago(b.finished.unwrap_or(b.created), now)),
        what: part.map_or(what.clone(), |part| format!("{part}: {what}")),
        next: database.next_ms.map(|at| When::until(at, now)),
    }
}

/// What is known of one app.
struct Known<'a> {
    row: &'a apps::App,
    told: Option<&'a overview::App>,
    history: &'a AppHistory,
    check: Option<&'a Check>,
    serving: Option<&'a Serving>,
    last: Option<&'a Deploy>,
    live: &'a [Live],
    now: UnixMs,
}

fn line(known: &Known<'_>) -> AppRow {
    let dash = || "–".to_owned();
    let told = known.told;
    // A deploy whose release serves is told by its number alone.
    let deploy_state = known
        .last
        .map(|d| deploying::badge(d, known.serving))
        .filter(|b| b.tone != Tone::Ok && b.tone != Tone::Idle);
    let share = told.and_then(|a| a.error_share);
    AppRow {
        name: known.row.name.to_string(),
        host: told
            .and_then(|a| a.hosts.first().cloned())
            .unwrap_or_else(|| "no domain".to_owned()),
        state: head::state(known.row, known.serving, known.live),
        rate: told.and_then(|a| a.rate).map_or_else(dash, words::rate),
        spark: figures::spark(Some(known.history)),
        p95: told.and_then(|a| a.p95_ms).map_or_else(dash, words::millis),
        errors: share.map_or_else(dash, words::percent),
        errors_tone: figures::errors_tone(share),
        uptime: known.check.map_or_else(Strip::default, |c| {
            figures::strip(&c.name, &c.day, c.day_share)
        }),
        uptime_share: figures::share(told.and_then(|a| a.up_share)),
        release: known
            .serving
            .map_or_else(dash, |s| format!("v{}", s.release)),
        deployed: known.last.map(|d| When::ago(d.created, known.now)),
        deploy_state,
    }
}
