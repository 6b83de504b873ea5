//! What needs its reader first: from facts to an ordered list, purely.
//!
//! Every item says what, why, what to do and where. Worst first; within a
//! level, what takes down most comes first.

use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::wire::overview::{
    App, AppState, Attention, Certificate, Database, DatabaseBackup, Machine, Urgency,
};

use super::ports::{DumpsGo, Facts, Switching, Unremoved};
use super::store::CheckRow;

mod disk;
mod state;

pub use disk::disk;

const DAY: Duration = Duration::from_secs(86_400);
/// A switch takes a moment; one that takes this long is stuck.
const SWITCHES: Duration = Duration::from_secs(120);
/// How long before its end maintenance is told to end.
const ENDS_SOON: Duration = Duration::from_secs(3_600);
/// A good backup is missed after this; dumps are daily and may wait their turn.
const BACKUP_MISSED: Duration = Duration::from_secs(26 * 3_600);

/// What the list is made from.
pub struct Picture<'a> {
    /// Now.
    pub now: UnixMs,
    /// The rest of the box.
    pub facts: &'a Facts,
    /// Checks with their open incidents.
    pub checks: &'a [CheckRow],
    /// The machine, once it was measured.
    pub machine: Option<&'a Machine>,
    /// What is wrong with the file of the figures.
    pub damage: Option<&'a str>,
}

/// The list, worst first.
pub fn attention(picture: &Picture<'_>) -> Vec<Attention> {
    let mut list = Vec::new();
    let Picture { now, facts, .. } = *picture;
    engine(&mut list, facts);
    if let Some(why) = picture.damage {
        list.push(item(
            Urgency::Bad,
            "The figures are damaged",
            why,
            "",
            "/box",
        ));
    }
    list.extend(facts.recoveries.iter().map(state::recovered));
    list.extend(facts.unkept.as_deref().map(state::unkept));
    checks(&mut list, picture);
    for app in &facts.apps {
        of_app(&mut list, app, picture.checks);
        list.extend(maintained(app, now));
    }
    list.extend(facts.switching.iter().filter_map(|one| stuck(one, now)));
    for database in &facts.databases {
        of_database(&mut list, database, now);
    }
    if let Some(machine) = picture.machine {
        of_machine(&mut list, machine);
    }
    for certificate in &facts.certificates {
        of_certificate(&mut list, certificate, now);
    }
    settings(&mut list, facts);
    list.extend(facts.attack.as_deref().map(attacked));
    for left in &facts.unremoved {
        list.push(unremoved(left, now));
    }
    if !facts.databases.is_empty() {
        list.extend(stays(&facts.dumps));
    }
    list.sort_by_key(|a| a.level);
    list
}

/// A deploy whose traffic does not move though it was told to.
fn stuck(one: &Switching, now: UnixMs) -> Option<Attention> {
    (now.since(one.since) >= SWITCHES).then(|| {
        item(
            Urgency::Bad,
            format!("Deploy {} of {} cannot move the traffic", one.deploy, one.app),
            format!(
                "For {} the edge did not take the new release over; the one before serves on, and later deploys wait.",
                since(now, one.since)
            ),
            "It is tried again by itself; its log says what is in the way.",
            format!("/apps/{}/deploys/{}", one.app, one.deploy),
        )
    })
}

/// Maintenance that is about to end by itself.
fn maintained(app: &App, now: UnixMs) -> Option<Attention> {
    let until = app.maintenance_until_ms.filter(|until| *until > now)?;
    let left = until.since(now);
    (left <= ENDS_SOON).then(|| {
        item(
            Urgency::Warning,
            format!("The maintenance of {} ends in {}", app.name, words(left)),
            "Then requests go to the app again.",
            format!(
                "If it is to go on: `freehold maintenance {} on --for 2h`.",
                app.name
            ),
            format!("/apps/{}/settings", app.name),
        )
    })
}

/// What it means that dumps stay where the databases are.
fn stays(dumps: &DumpsGo) -> Option<Attention> {
    let (where_to, remedy) = match dumps {
        DumpsGo::Away => return None,
        DumpsGo::ToTheBox => (
            "No target away from this box is set.".to_owned(),
            "Add an S3 bucket as a target: `freehold target add NAME s3://bucket/prefix`.".to_owned(),
        ),
        DumpsGo::ToFolder { name, away: None } => (
            format!("Dumps go to {name}, a folder, which may stand on this box; no target is away from it."),
            "Add an S3 bucket as the default target: `freehold target add NAME s3://bucket/prefix --default`.".to_owned(),
        ),
        DumpsGo::ToFolder {
            name,
            away: Some(away),
        } => (
            format!("Dumps go to {name}, a folder, which may stand on this box; {away} gets none."),
            format!("Send them there from now on: `freehold target use {away}`."),
        ),
    };
    Some(item(
        Urgency::Warning,
        "Backups stay on this box",
        format!("{where_to} If the disk dies, the databases and their backups die together."),
        remedy,
        "/settings#targets",
    ))
}

fn item(
    level: Urgency,
    what: impl Into<String>,
    why: impl Into<String>,
    remedy: impl Into<String>,
    link: impl Into<String>,
) -> Attention {
    Attention {
        level,
        what: what.into(),
        why: sentence(&why.into()),
        remedy: remedy.into(),
        link: link.into(),
    }
}

/// With a capital and a full stop; what a program said comes in any form.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let stop = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    // A host's or a file's name stays as it is written.
    let word = text.split(' ').next().unwrap_or_default();
    if !word.chars().all(|c| c.is_ascii_alphabetic()) {
        return format!("{text}{stop}");
    }
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

fn engine(list: &mut Vec<Attention>, facts: &Facts) {
    if let Some(why) = &facts.engine.unreachable {
        list.push(item(
            Urgency::Bad,
            "Docker does not answer",
            format!("{} Running apps serve on; nothing can be started, stopped or deployed.", sentence(why)),
            "See `systemctl status docker` and `freehold doctor`; it is asked again every few seconds.",
            "/box",
        ));
    }
}

fn checks(list: &mut Vec<Attention>, picture: &Picture<'_>) {
    for check in picture.checks {
        let Some(incident) = &check.open else {
            continue;
        };
        let shown = check
            .url
            .trim_start_matches("https://")
            .trim_end_matches('/');
        let since = since(picture.now, incident.opened);
        list.push(item(
            Urgency::Bad,
            format!("{shown} does not answer"),
            format!("For {since}: {}", incident.why),
            match incident.stage.as_str() {
                "dns" => "Set the name's A or AAAA record to this box.",
                "tls" => "Look at its certificate: the last order says why there is none.",
                "tcp" => "See whether the edge listens: `freehold doctor`.",
                _ => "Look at its log: `freehold logs`.",
            },
            if check.by_hand {
                "/checks".to_owned()
            } else {
                format!("/apps/{}/logs", check.name)
            },
        ));
    }
}

fn of_app(list: &mut Vec<Attention>, app: &App, checks: &[CheckRow]) {
    let subject = format!("app:{}", app.id);
    let told = checks
        .iter()
        .any(|c| c.subject == subject && c.open.is_some());
    if app.state == AppState::Failing && !told {
        list.push(item(
            Urgency::Bad,
            format!("{} has no healthy replica", app.name),
            app.why
                .clone()
                .unwrap_or_else(|| "None of its containers passes its check".into()),
            format!(
                "Look at its log: `freehold logs {}`, or go back: `freehold rollback {}`.",
                app.name, app.name
            ),
            format!("/apps/{}/logs", app.name),
        ));
    }
    let Some(deploy) = &app.deploy else { return };
    let came_to_nothing = matches!(deploy.state.as_str(), "failed" | "returned");
    if let Some(error) = deploy.error.as_ref().filter(|_| came_to_nothing) {
        let serving = match app.release {
            Some(number) => format!(" v{number} serves on."),
            None => String::new(),
        };
        list.push(item(
            Urgency::Warning,
            format!("The last deploy of {} failed", app.name),
            format!("{}{serving}", sentence(error)),
            "Mend what its log says and push again.",
            format!("/apps/{}/deploys/{}", app.name, deploy.id),
        ));
    }
}

fn of_database(list: &mut Vec<Attention>, database: &Database, now: UnixMs) {
    let name = &database.name;
    let link = format!("/databases/{name}");
    if let Some(why) = &database.failing {
        list.push(item(
            Urgency::Bad,
            format!("Database {name} does not answer"),
            why.clone(),
            format!("It is started again by itself; its log says more: `freehold db show {name}`."),
            link,
        ));
    }
    if database.parts.is_empty() {
        let whole = DatabaseBackup {
            name: name.clone(),
            since_ms: database.born_ms,
            backup_ms: database.backup_ms,
            failed_ms: database.failed_ms,
            failed_why: database.failed_why.clone(),
        };
        list.extend(of_backups(name, name, &whole, now));
    }
    for part in &database.parts {
        let what = format!("{} on {name}", part.name);
        list.extend(of_backups(name, &what, part, now));
    }
}

/// What is to be said of one database's backups, whatever its neighbours' say.
fn of_backups(server: &str, what: &str, part: &DatabaseBackup, now: UnixMs) -> Option<Attention> {
    let newest = part.backup_ms.or(part.since_ms).unwrap_or(now);
    let missed = now.since(newest) > BACKUP_MISSED;
    let have = match part.backup_ms {
        Some(at) => format!("The newest good one is {} old.", since(now, at)),
        None => "There is no good one yet.".to_owned(),
    };
    let link = format!("/databases/{server}");
    match &part.failed_why {
        Some(why) => Some(item(
            if missed {
                Urgency::Bad
            } else {
                Urgency::Warning
            },
            format!("The last backup of {what} failed"),
            format!("{} {have}", sentence(why)),
            format!("It is tried again by itself; to try now: `freehold backup now {server}`."),
            link,
        )),
        None if missed => Some(item(
            Urgency::Bad,
            format!("No backup of {what} for {}", since(now, newest)),
            format!("A backup is due every day. {have}"),
            format!("Make one now: `freehold backup now {server}`."),
            link,
        )),
        None => None,
    }
}

/// Old or failed backups that stay where they should be gone.
fn unremoved(left: &Unremoved, now: UnixMs) -> Attention {
    let place = left.target.as_deref().unwrap_or("this box's disk");
    let objects = match left.count {
        1 => "1 object".to_owned(),
        count => format!("{count} objects"),
    };
    let why = left.why.as_deref().unwrap_or("The daemon's log says why");
    item(
        Urgency::Warning,
        format!("{objects} in {place} could not be removed"),
        format!(
            "Backups past their time take space there, for {}: {}",
            since(now, left.since),
            sentence(why)
        ),
        match &left.target {
            Some(name) => format!(
                "See whether it answers: `freehold target test {name}`; removal is tried again after every good backup. If it is gone for good: `freehold target rm {name} --forget`."
            ),
            None => "See who may write in `backups` in Freehold's data folder; removal is tried again after every good backup.".to_owned(),
        },
        "/settings#targets",
    )
}

#[allow(clippy::cast_precision_loss)]
fn of_machine(list: &mut Vec<Attention>, m: &Machine) {
    list.extend(disk(m));
    let available = m.memory_total.saturating_sub(m.memory_used);
    let share = available as f64 / m.memory_total.max(1) as f64;
    if m.memory_total > 0 && share < 0.10 {
        let swap = match m.swap_total {
            0 => " There is no swap.".to_owned(),
            total => format!(" {} of {} swap are in use.", size(m.swap_used), size(total)),
        };
        list.push(item(
            if share < 0.04 {
                Urgency::Bad
            } else {
                Urgency::Warning
            },
            "Memory is short",
            format!(
                "{} of {} are available.{swap} The kernel ends programs when it runs out.",
                size(available),
                size(m.memory_total)
            ),
            "Lower the memory of an app (`freehold scale`), or move to a larger box.",
            "/box",
        ));
    }
}

fn of_certificate(list: &mut Vec<Attention>, certificate: &Certificate, now: UnixMs) {
    let host = &certificate.host;
    let error = certificate
        .error
        .as_deref()
        .map(sentence)
        .unwrap_or_default();
    let again = "It is tried again by itself.";
    let remedy =
        "Check that the name's DNS points to this box and that port 80 is reachable from outside.";
    match certificate.expires_ms {
        Some(ends) if ends <= now => list.push(item(
            Urgency::Bad,
            format!("The certificate of {host} has expired"),
            format!("Browsers refuse it. {error} {again}"),
            remedy,
            "/#certificates",
        )),
        Some(ends) if ends.since(now) < DAY * 14 && certificate.error.is_some() => {
            let left = ends.since(now);
            list.push(item(
                if left < DAY * 3 {
                    Urgency::Bad
                } else {
                    Urgency::Warning
                },
                format!("The certificate of {host} ends in {}", words(left)),
                format!("Its renewal failed: {error} {again}"),
                remedy,
                "/#certificates",
            ));
        }
        None if certificate.error.is_some() => list.push(item(
            Urgency::Bad,
            format!("{host} has no certificate"),
            match &certificate.pending {
                Some(pending) => pending.clone(),
                None => format!("{error} {again}"),
            },
            remedy,
            "/#certificates",
        )),
        Some(_) | None => {}
    }
}

fn attacked(refused: &str) -> Attention {
    item(
        Urgency::Warning,
        "The edge refuses many connections or requests",
        format!("{refused} Apps and their visitors are served meanwhile."),
        "If it goes on, look who it is (`ss -tn state established '( sport = :443 )'`), and have your provider or a firewall keep them away.",
        "/activity",
    )
}

fn settings(list: &mut Vec<Attention>, facts: &Facts) {
    if let Some(why) = &facts.config_refused {
        list.push(item(
            Urgency::Warning,
            "The settings have a mistake",
            format!("{} The settings from before are in force.", sentence(why)),
            "Correct the file; it is read again as soon as it is saved.",
            "/settings",
        ));
    }
    for waiting in &facts.settings_waiting {
        list.push(item(
            Urgency::Warning,
            format!("The setting {} is not in force", waiting.setting),
            waiting.why.clone(),
            waiting.remedy.clone(),
            "/settings",
        ));
    }
}

fn since(now: UnixMs, then: UnixMs) -> String {
    words(now.since(then))
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

#[allow(clippy::cast_precision_loss)]
fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1 << 30 => format!("{:.0} MB", b as f64 / f64::from(1 << 20)),
        b => format!("{:.1} GB", b as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests;
