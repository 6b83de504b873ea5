//! Databases, box, checks, settings, account, people, and the doors.

use super::overview::{graphs, strip};
use super::{NOW, ago, ahead, frame, older, visit};
use crate::users::Role;
use crate::web::pages::frame::{Flash, Section};
use crate::web::pages::parts::{Badge, Field, Older, Over, Tone, When};
use crate::web::pages::ran::Ran;
use crate::web::pages::{
    account, audit, box_page, checks, confirm, database, database_sql, databases, doctor, people,
    person, problem, settings, setup, sign_in,
};
use crate::wire::audit as wire;
use crate::wire::doctor::{Area, Condition, Examined, Report};
use crate::wire::problem::{Problem, ProblemKind};

fn text(text: &str) -> String {
    text.to_owned()
}

pub fn databases_page() -> databases::View {
    databases::View {
        frame: visit("/databases")
            .frame()
            .titled("Databases", Section::Databases),
        databases: vec![
            databases::Database {
                name: text("main"),
                version: text("Postgres 17.6"),
                state: Badge::new(Tone::Ok, "Running"),
                size: text("412 MiB"),
                connections: text("7 of 100"),
                as_of: Some(When::ago(ago(20), NOW)),
                apps: vec![text("shop"), text("tasks")],
                backup: Badge::new(Tone::Ok, "Stored"),
                backup_at: Some(When::ago(ago(17_000), NOW)),
            },
            databases::Database {
                name: text("analytics"),
                version: text("Postgres 17.6"),
                state: Badge::new(Tone::Busy, "Starting"),
                size: text("–"),
                connections: text("–"),
                as_of: None,
                apps: vec![],
                backup: Badge::new(Tone::Bad, "Failed"),
                backup_at: Some(When::ago(ago(16_000), NOW)),
            },
        ],
        name: Field::code("name", "Name").needed().like("main"),
        version: Field::choice(
            "version",
            "Version",
            vec![(text("17"), text("Postgres 17"))],
        ),
        memory: Field::code("memory", "Memory").value("512M"),
    }
}

pub fn database_sql_page() -> database_sql::View {
    let there = ["shop", "postgres"].map(|p| (p.to_owned(), p.to_owned()));
    let printed = " id |   title\n----+-----------\n  1 | Buy milk\n  2 | Call <Ana>\n(2 rows)\n";
    database_sql::View {
        frame: frame("/databases/main/sql", "SQL · main", Section::Databases)
            .under("/databases", "Databases")
            .under("/databases/main", "main"),
        name: "main".to_owned(),
        part: Field::choice("part", "Database", there.to_vec()),
        sql: Field::code("sql", "Statements")
            .area()
            .needed()
            .value("SELECT id, title FROM tasks;"),
        ran: Some(Ran {
            ended: "It ended with exit code 0.".to_owned(),
            wrote: printed.to_owned(),
        }),
    }
}

pub fn database_page() -> database::View {
    let backup = |id, tone, word: &str, note: &str, back| database::Backup {
        id,
        at: When::ago(ago(back), NOW),
        label: text("21 Nov 2026, 02:17"),
        logical: text("shop"),
        state: Badge::new(tone, word),
        note: text(note),
        target: text("offsite"),
        size: text("18 MiB"),
        took: text("4.2 s"),
        sha256: text("9f2c81d0a4b1"),
        restorable: tone == Tone::Ok,
    };
    let mut frame = visit("/databases/main")
        .frame()
        .titled("main", Section::Databases)
        .under("/databases", "Databases")
        .refreshed(5);
    frame.flash = Some(Flash {
        tone: Tone::Ok,
        text: text("A backup of main was begun; it appears below."),
    });
    database::View {
        frame,
        name: text("main"),
        state: Badge::new(Tone::Ok, "Running"),
        fault: String::new(),
        tiles: vec![
            (text("Version"), text("17.6"), text("postgres:17")),
            (
                text("Size"),
                text("412 MiB"),
                text("on volume fh-a1b2c3-main"),
            ),
            (text("Connections"), text("7"), text("of 100")),
            (text("Memory"), text("188 MiB"), text("of 512 MiB")),
        ],
        as_of: Some(When::ago(ago(20), NOW)),
        silent: String::new(),
        schedule: text("Every day at 02:17; 7 daily, 4 weekly and 12 monthly are kept"),
        backups: vec![
            backup(44, Tone::Busy, "Running", "", 12),
            backup(43, Tone::Ok, "Stored", "", 17_000),
            backup(
                42,
                Tone::Bad,
                "Failed",
                "The object read back differs from what was sent (SHA-256); tried again at 02:27.",
                17_900,
            ),
            backup(41, Tone::Ok, "Proven", "restored and compared", 103_000),
        ],
        older_backups: older("/databases/main#backups", "backups", "41"),
        restores: vec![database::Restore {
            what: text(
                "Backup of 20 Nov 2026, 02:17. The database before it is kept as tasks_before_3.",
            ),
            state: Badge::new(Tone::Ok, "Done"),
            at: When::ago(ago(90_000), NOW),
            keeps: Some(3),
        }],
        older_restores: Older::default(),
        apps: vec![
            (text("shop"), text("database shop")),
            (text("tasks"), text("database tasks")),
        ],
        attach: Field::choice("app", "App", vec![(text("blog"), text("blog"))]),
        attach_as: crate::web::pages::database::attach_as(),
    }
}

pub fn doctor_page() -> doctor::View {
    let check = |area, what: &str, state, seen: &str, remedy: &str| Examined {
        area,
        what: text(what),
        state,
        seen: text(seen),
        why: text("Visitors come to 80 and 443, and certificates are proven there."),
        remedy: text(remedy),
    };
    let (ok, warn, fail) = (Condition::Ok, Condition::Warn, Condition::Fail);
    let report = Report {
        state: fail,
        checked_ms: NOW,
        took_ms: 212,
        checks: vec![
            check(
                Area::Engine,
                "Docker answers",
                ok,
                "Docker 28.1.1, API 1.49, at unix:///var/run/docker.sock",
                "",
            ),
            check(
                Area::Ports,
                "Port of http",
                warn,
                "nginx listens on 10.0.0.5:80, the edge on [::]:80",
                "See which it is: sudo ss -ltnp 'sport = :80', stop it, then sudo systemctl restart freehold.socket freehold.",
            ),
            check(
                Area::Dns,
                "Where shop.example.com leads",
                fail,
                "to 203.0.113.8, not to this box",
                "At the provider of the name, let its A or AAAA record be 203.0.113.7; see it with: dig +short shop.example.com.",
            ),
        ],
    };
    let frame = frame("/box/doctor", "Doctor", Section::Box);
    doctor::view(frame, &report)
}

pub fn box_view() -> box_page::View {
    let container = |name: &str, owner: &str| box_page::Container {
        name: text(name),
        owner: text(owner),
        href: text("/apps/shop"),
        state: Badge::new(Tone::Ok, "Healthy"),
        used: crate::web::pages::figures::Used {
            cpu: text("0.04 cores"),
            memory: text("61.7 MiB"),
            limit: text("of 512 MiB"),
        },
        restarts: text("0"),
        since: Some(When::ago(ago(8_400), NOW)),
    };
    box_page::View {
        frame: visit("/box")
            .frame()
            .titled("Box", Section::Box)
            .refreshed(10),
        summary: text("Debian 13, 2 cores, 3.8 GiB of memory, up 41 days"),
        over: Over::new("day"),
        graphs: Over::new("day").of(graphs()),
        containers_note: text("3 of Freehold’s"),
        containers: vec![
            container("fh-a1b2c3-shop-web-12-1", "shop, web"),
            container("fh-a1b2c3-shop-worker-12-1", "shop, worker"),
            container("fh-a1b2c3-db-main", "database main"),
        ],
        facts: vec![
            (text("Kernel"), text("6.12.57 x86_64")),
            (text("Docker"), text("28.5.1, overlay2")),
            (text("Load"), text("0.31, 0.28, 0.30")),
        ],
        edge: vec![
            (text("Connections"), text("41 now, 12,204 since it started")),
            (text("Requests"), text("18.2 per second")),
            (
                text("Listening"),
                text("[::]:443 and [::]:80, held by systemd"),
            ),
        ],
    }
}

pub fn checks_page() -> checks::View {
    let check = |name: &str, tone, word: &str, note: &str, bad: &[usize]| checks::Check {
        by_hand: bad.is_empty().then_some(3),
        name: text(name),
        href: format!("/apps/{name}"),
        url: format!("https://{name}.example.com/healthz"),
        state: Badge::new(tone, word),
        note: text(note),
        day: strip(bad, 0),
        share_day: text("99.1 %"),
        share_month: text("99.97 %"),
        latency: text("12 ms"),
        at: Some(When::ago(ago(14), NOW)),
    };
    checks::View {
        frame: visit("/checks")
            .frame()
            .titled("Checks", Section::Checks)
            .refreshed(10),
        checks: vec![
            check("shop", Tone::Bad, "Down", "502 from the app", &[20, 47]),
            check("tasks", Tone::Ok, "Up", "", &[]),
        ],
        incidents: vec![
            checks::Incident {
                name: text("shop"),
                why: text("HTTP: answered 502"),
                state: Badge::new(Tone::Bad, "Open"),
                at: When::ago(ago(300), NOW),
                lasted: String::new(),
            },
            checks::Incident {
                name: text("shop"),
                why: text("TCP: connection refused"),
                state: Badge::new(Tone::Ok, "Over"),
                at: When::ago(ago(50_000), NOW),
                lasted: text("12 min 4 s"),
            },
        ],
        older: older("/checks#incidents-h", "incidents", "7"),
        name: Field::text("name", "Name").needed(),
        url: Field::code("url", "Address").needed(),
    }
}

pub fn settings_page() -> settings::View {
    settings::View {
        frame: visit("/settings").frame().titled("Settings", Section::Settings),
        targets: vec![settings::Target {
            name: text("offsite"),
            location: text("s3://backups-ana/box at https://s3.eu-central.example.com"),
            state: Badge::new(Tone::Ok, "Works"),
            note: String::new(),
            default: true,
        }],
        target_fields: vec![
            Field::code("name", "Name").needed().like("offsite"),
            Field::code("location", "Location").needed().like("s3://bucket/prefix").fault("There is no bucket named backup-ana at this store. Make it there, or mend the name."),
            Field::code("endpoint", "Endpoint").like("https://s3.eu-central.example.com").hint("Left empty for a folder."),
            Field::code("access_key", "Access key"),
            Field::password("secret_key", "Secret key", "off"),
        ],
        target_open: true,
        ca_fingerprint: text("3F:8A:11:C2:9D:04:77:B6:52:E1:0F:CC:38:AD:91:6B:20:45:FE:7A:83:1C:D9:60:BE:12:A4:5F:E8:07:33:9C"),
        people: vec![(text("owner"), "owner"), (text("ana@example.com"), "developer")],
        about: vec![
            (text("Version"), text("0.1.0")),
            (text("Installation"), text("a1b2c3d4e5")),
            (text("Data"), text("/var/lib/freehold")),
        ],
    }
}

pub fn account_page() -> account::View {
    account::View {
        frame: visit("/account")
            .frame()
            .titled("Account", Section::Account),
        user: text("ana@example.com"),
        role: Role::Developer,
        apps: vec![text("shop"), text("blog")],
        second_factor: false,
        password_fields: vec![
            Field::password("current", "Password now", "current-password"),
            Field::password("password", "New password", "new-password")
                .hint("10 characters or more."),
            Field::password("again", "The same again", "new-password"),
        ],
        sessions: vec![
            account::Session {
                mark: text("0a1b2c3d"),
                what: text("Firefox on Linux, 203.0.113.80"),
                own: true,
                at: When::ago(ago(3), NOW),
            },
            account::Session {
                mark: text("4e5f6a7b"),
                what: text("Safari on iPhone, 203.0.113.81"),
                own: false,
                at: When::ago(ago(90_000), NOW),
            },
        ],
        tokens: vec![account::Token {
            id: 1,
            name: text("CI of my-app"),
            scope: text("deploy, shop"),
            mark: text("freehold_pat_x7Kq2a"),
            expires: Some(When::until(ahead(5_000_000), NOW)),
            used: Some(When::ago(ago(600), NOW)),
        }],
        token_fields: vec![
            Field::text("name", "What it is for")
                .needed()
                .like("CI of my-app"),
            Field::code("apps", "Apps").like("my-app, my-site"),
        ],
        made: None,
    }
}

pub fn audit_page() -> audit::View {
    let entry = |id, who: &str, via: &str, action: &str, state: &str, detail: &str| wire::Entry {
        id,
        at_ms: ago(400 * (10 - id.unsigned_abs())).0,
        who: wire::Who {
            kind: text(if via.is_empty() { "user" } else { "token" }),
            id: Some(1),
            name: text(who),
            via: text(via),
        },
        address: text("2001:db8:85a3::8a2e:370:7334"),
        request: text("01937b2c5f3e4d6a8b9c0d1e2f3a4b5c"),
        action: text(action),
        subject: Some(wire::Subject {
            kind: text("app"),
            id: Some(7),
            name: text("shop"),
        }),
        state: text(state),
        status: Some(200),
        detail: text(detail),
        ended_ms: None,
        before: [("env.JWT_SECRET".to_owned(), "•••".into())]
            .into_iter()
            .collect(),
        after: [("env.JWT_SECRET".to_owned(), "••• (another one)".into())]
            .into_iter()
            .collect(),
    };
    let entries = [
        entry(5, "ana@example.com", "", "app.env.change", "done", ""),
        entry(
            4,
            "the box",
            "ci of shop",
            "app.deploy",
            "failed",
            "the engine does not answer",
        ),
        entry(3, "bob", "", "app.remove", "refused", "you may not do this"),
        entry(
            2,
            "owner",
            "",
            "app.webhook-secret.reveal",
            "cut off",
            "Freehold was cut off while this was done: look at how things stand now.",
        ),
    ];
    audit::View {
        frame: visit("/settings/audit")
            .frame()
            .titled("Audit log", Section::Settings)
            .under("/settings", "Settings"),
        who: Field::code("who", "Who"),
        action: Field::code("action", "What").value("app"),
        subject: Field::code("subject", "On"),
        text: Field::code("q", "Anywhere in it"),
        since: Field::code("since", "Since").value("yesterday").fault(
            "\"yesterday\" is no moment: write a day like 2026-11-28, or how long ago, like 7d",
        ),
        until: Field::code("until", "Until"),
        searched: true,
        export: text("/api/v1/audit/export?action=app"),
        rows: entries.into_iter().map(|e| audit::row(e, NOW)).collect(),
        older: text("/settings/audit?action=app&after=2"),
    }
}

pub fn people_page() -> people::View {
    let roles = || {
        Field::choice(
            "role",
            "Role",
            Role::ALL
                .map(|r| (text(r.as_str()), text(r.as_str())))
                .to_vec(),
        )
    };
    let row = |name: &str, role, apps: &str, seen| people::Row {
        name: text(name),
        role,
        apps: text(apps),
        seen,
        invited: None,
        mine: true,
        fields: [
            roles().value(role.as_str()).within(name),
            Field::code("apps", "Apps")
                .value(apps)
                .like("my-app, my-site")
                .within(name),
        ],
    };
    people::View {
        frame: frame("/settings/people", "People", Section::Settings)
            .under("/settings", "Settings"),
        people: vec![
            people::Row {
                invited: Some(When::until(ahead(200_000), NOW)),
                ..row("bob@example.com", Role::Viewer, "", None)
            },
            row(
                "ana@example.com",
                Role::Developer,
                "my-app, my-site",
                Some(When::ago(ago(4_000), NOW)),
            ),
            row("owner", Role::Owner, "", Some(When::ago(ago(3), NOW))),
        ],
        name: Field::code("name", "Name or e-mail address")
            .needed()
            .like("ana@example.com"),
        role: roles(),
        apps: Field::code("apps", "Apps of a developer")
            .like("my-app, my-site")
            .hint("Names of apps; the other roles leave it empty."),
        link: Some((
            text("bob@example.com"),
            text("https://panel.example.com/setup/Zk3x9fQ0aB7c"),
            String::new(),
        )),
    }
}

pub fn person_page() -> person::View {
    let session = |mark: &str, what: &str, own, seen| account::Session {
        mark: text(mark),
        what: text(what),
        own,
        at: When::ago(ago(seen), NOW),
    };
    person::View {
        frame: frame(
            "/settings/people/ana@example.com",
            "ana@example.com",
            Section::Settings,
        )
        .under("/settings", "Settings")
        .under("/settings/people", "People"),
        name: text("ana@example.com"),
        role: Role::Developer,
        apps: vec![text("my-app"), text("my-site")],
        invited: false,
        second_factor: true,
        sessions: vec![
            session("1f2e3d4c", "Firefox on Linux, 203.0.113.7", false, 40),
            session(
                "5b6a7988",
                "Safari on an iPhone, 198.51.100.20",
                false,
                90_000,
            ),
        ],
    }
}

pub fn remove_app() -> confirm::View {
    confirm::View {
        frame: visit("/apps/shop/remove")
            .frame()
            .titled("Remove shop", Section::Overview)
            .under("/", "Apps")
            .under("/apps/shop", "shop"),
        title: text("Remove shop"),
        lead: text("shop stops answering at once. This cannot be undone."),
        consequences: vec![
            (
                text("Its releases, variables and domains are deleted."),
                true,
            ),
            (
                text("Its volumes stay, unless you tick below that they go too."),
                false,
            ),
            (text("Database main and its backups stay."), false),
        ],
        action: text("/apps/shop/remove"),
        hidden: vec![],
        also: Some(confirm::Also {
            name: "volumes",
            label: text("Also delete its volumes, with what is in them"),
            ticked: true,
        }),
        typed: confirm::typed("shop", true),
        button: text("Remove shop"),
        back: text("/apps/shop/settings"),
    }
}

pub fn setup_page() -> setup::View {
    setup::view(
        visit("/setup/x"),
        text("x"),
        text("owner"),
        "a password has 10 characters or more",
        "",
    )
}

pub fn sign_in_page() -> sign_in::View {
    sign_in::view(
        visit("/sign-in"),
        "owner",
        "name or password is wrong",
        true,
    )
}

pub fn problem_page() -> problem::View {
    let mut frame = visit("/apps/shop").frame();
    frame.title = text("Something outside failed");
    problem::View {
        frame,
        problem: Problem::new(ProblemKind::Outside, "The container engine at unix:///var/run/docker.sock does not answer, so shop could not be started.")
            .remedy("Look at it with systemctl status docker. What runs goes on; deploys wait until it is back."),
        signed_in: true,
    }
}
