//! An app's pages, in the middle of things and at their beginning.

use super::overview::{activity, strip};
use super::{NOW, ago, ahead, day, older, visit};
use crate::web::pages::activity::Asked;
use crate::web::pages::app::head::{AppHead, Tab};
use crate::web::pages::app::{
    activity as activity_page, deploy, deploys, domains, env, logs, new, overview, policies, run,
    settings,
};
use crate::web::pages::frame::Section;
use crate::web::pages::overview::Attention;
use crate::web::pages::parts::{Badge, Field, Graph, Older, Over, Tone, When};
use crate::web::pages::ran::Ran;

fn head(tab: Tab) -> AppHead {
    AppHead {
        name: "shop".to_owned(),
        state: Badge::new(Tone::Ok, "Running"),
        url: Some("https://shop.example.com".to_owned()),
        can_deploy: true,
        tab,
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

pub fn overview_page() -> overview::View {
    let head = head(Tab::Overview);
    let replica = |process: &str, tone, word: &str, back| overview::Replica {
        process: text(process),
        state: Badge::new(tone, word),
        left_out: String::new(),
        release: text("v12"),
        container: text("9f2c81d0a4b1"),
        address: text("10.83.0.67:3000"),
        used: crate::web::pages::figures::Used {
            cpu: text("0.12 cores"),
            memory: text("84.2 MiB"),
            limit: text("of 512 MiB"),
        },
        restarts: text("0"),
        since: Some(When::ago(ago(back), NOW)),
    };
    overview::View {
        frame: head.frame(visit("/apps/shop")).refreshed(5),
        head,
        notices: vec![Attention {
            tone: Tone::Bad,
            title: text("Deploy 31 failed; v12 serves on"),
            why: text(
                "The container of web never answered GET /healthz with 200 to 399 within 60 s. It listens on port 8080, the check asks port 3000.",
            ),
            href: text("/apps/shop/deploys/31"),
            act: text("See deploy 31"),
        }],
        over: Over::new("week"),
        graphs: vec![
            Graph::new("Requests per second", &day(1.0, 14.0, 4), None)
                .now("12.4", "")
                .axis("24 h ago", "peak 19.2")
                .marks(&[0.31, 0.84]),
            Graph::new("95th percentile", &day(30.0, 90.0, 8), None)
                .now("48 ms", "")
                .axis("24 h ago", "peak 212 ms")
                .marks(&[0.31, 0.84]),
            Graph::new("5xx answers", &day(0.0, 0.02, 12), Some(0.05))
                .now("0.4 %", "")
                .axis("24 h ago", "peak 2.1 %")
                .marks(&[0.31, 0.84])
                .tone(Tone::Bad),
        ],
        has_marks: true,
        replicas: vec![
            replica("web", Tone::Ok, "Healthy", 8_400),
            replica("web", Tone::Busy, "Starting", 4),
            replica("worker", Tone::Ok, "Healthy", 86_400 * 3),
        ],
        nothing_runs: String::new(),
        deaths: vec![
            overview::DeathLine {
                name: text("shop-web-v12-d30-2"),
                why: text("ran out of its memory limit and was killed (exit code 137)"),
                in_a_row: text("2 times in a row"),
                at: When::ago(ago(240), NOW),
                lines: text("GET /orders 200 41 ms\nGET /report starts\nreading 1,204,331 rows"),
            },
            overview::DeathLine {
                name: text("shop-web-v12-d30-1"),
                why: text(
                    "gave no good answer (no answer within 2 s) while others did, and was stopped and started",
                ),
                in_a_row: String::new(),
                at: When::ago(ago(5_400), NOW),
                lines: String::new(),
            },
        ],
        uptime: strip(&[20, 21], 0),
        uptime_share: text("98.2 %"),
        uptime_note: text("https://shop.example.com/healthz, every 30 s"),
        deploys: vec![
            overview::DeployLine {
                id: 31,
                what: text("4f2a91c Sort tasks by date"),
                state: Badge::new(Tone::Bad, "Failed"),
                at: When::ago(ago(600), NOW),
            },
            overview::DeployLine {
                id: 30,
                what: text("b77ce02 Add the basket"),
                state: Badge::new(Tone::Ok, "Live"),
                at: When::ago(ago(8_400), NOW),
            },
        ],
        facts: vec![
            (
                text("Source"),
                text("https://git.example.com/ana/shop.git, branch main"),
            ),
            (text("Database"), text("main, as DATABASE_URL")),
            (text("Live release"), text("v12")),
        ],
    }
}

pub fn overview_new() -> overview::View {
    let mut view = overview_page();
    view.head.state = Badge::new(Tone::Idle, "Not deployed");
    view.head.url = None;
    view.notices.clear();
    view.replicas.clear();
    view.nothing_runs = text("Deploy it, and its containers appear here.");
    view.graphs = vec![
        Graph::new("Requests per second", &[], None),
        Graph::new("95th percentile", &[], None),
        Graph::new("5xx answers", &[], None),
    ];
    view.has_marks = false;
    view.deploys.clear();
    view.uptime = strip(&[], 48);
    view.uptime_share = text("not checked yet");
    view
}

pub fn deploys_page() -> deploys::View {
    let head = head(Tab::Deploys);
    let row = |id, tone, word: &str, what: &str, release: &str, back| deploys::Deploy {
        id,
        state: Badge::new(tone, word),
        what: text(what),
        by: text("push by Ana"),
        release: text(release),
        took: text("48 s"),
        at: When::ago(ago(back), NOW),
        current: id == 30,
        running: tone == Tone::Busy,
        rollback_to: (id < 30).then_some(id - 18),
    };
    deploys::View {
        frame: head.frame(visit("/apps/shop/deploys")).refreshed(3),
        head,
        older: older("/apps/shop/deploys", "deploys", "24"),
        deploys: vec![
            row(
                32,
                Tone::Busy,
                "Building",
                "9ac01fe Show prices with tax",
                "",
                40,
            ),
            row(
                31,
                Tone::Bad,
                "Failed",
                "4f2a91c Sort tasks by date",
                "",
                600,
            ),
            row(30, Tone::Ok, "Live", "b77ce02 Add the basket", "v12", 8_400),
            row(
                29,
                Tone::Idle,
                "Replaced",
                "registry.example.com/shop:2026-11-19",
                "v11",
                200_000,
            ),
        ],
        source: text("https://git.example.com/ana/shop.git"),
        reference: deploys::reference("main"),
        image: Field::code("image", "Image")
            .like("registry.example.com/shop:1.4")
            .needed()
            .hint("For a private registry, give the app its password first."),
        site: deploys::site(),
        folder: deploys::folder(),
    }
}

pub fn deploy_page(running: bool) -> deploy::View {
    let step = |tone, word, took: &str| deploy::Step {
        tone,
        word,
        took: text(took),
    };
    let mut frame = visit("/apps/shop/deploys/32")
        .frame()
        .titled("Deploy 32 · shop", Section::Overview)
        .under("/", "Apps")
        .under("/apps/shop", "shop")
        .under("/apps/shop/deploys", "Deploys");
    frame.refresh = 3;
    deploy::View {
        frame,
        app: text("shop"),
        id: 32,
        state: if running {
            Badge::new(Tone::Busy, "Building")
        } else {
            Badge::new(Tone::Bad, "Failed")
        },
        running,
        can_cancel: running,
        can_retry: !running,
        rollback_to: None,
        fault: if running {
            String::new()
        } else {
            text(
                "The build failed at step 4 of 6: pip install -r requirements.txt ended with code 1",
            )
        },
        remedy: text(
            "No version of psycopg 9.9 exists; mend requirements.txt and push again. v12 serves on.",
        ),
        steps: vec![
            step(Tone::Ok, "Fetch", "1.2 s"),
            step(
                if running { Tone::Busy } else { Tone::Bad },
                "Build",
                "38 s",
            ),
            step(Tone::Idle, "Release command", ""),
            step(Tone::Idle, "Start", ""),
            step(Tone::Idle, "Check", ""),
            step(Tone::Idle, "Switch", ""),
            step(Tone::Idle, "Drain", ""),
        ],
        log: text(
            "07:01:12 fetching 9ac01fe of main from https://git.example.com/ana/shop.git\n07:01:13 fetched, 214 files\n07:01:13 building Dockerfile\n07:01:14 [1/6] FROM python:3.13-slim\n07:01:14 [2/6] WORKDIR /srv\n07:01:15 [3/6] COPY requirements.txt .\n07:01:15 [4/6] RUN pip install --no-cache-dir -r requirements.txt\n07:01:22 Collecting psycopg[binary,pool]==3.3.9\n07:01:24 Downloading psycopg_binary-3.3.9-cp313-cp313-manylinux_2_28_x86_64.whl (5.1 MB)\n",
        ),
        log_bytes: 412,
        log_cut: false,
        facts: vec![
            (
                text("Commit"),
                text("9ac01fe83b2d4c7f1a5e6d0b9c8a7f6e5d4c3b2a"),
            ),
            (text("Message"), text("Show prices with tax")),
            (
                text("Source"),
                text("https://git.example.com/ana/shop.git, branch main"),
            ),
            (text("Begun by"), text("push by Ana, delivery 7d1c-22")),
            (text("Begun"), text("21 Nov 2026, 07:01")),
        ],
    }
}

pub fn logs_page() -> logs::View {
    let head = head(Tab::Logs);
    let choice = |a: &str, b: &str| (text(a), text(b));
    logs::View {
        frame: head.frame(visit("/apps/shop/logs")),
        head,
        process: Field::choice("process", "Process", vec![choice("", "All"), choice("web", "web"), choice("worker", "worker")]),
        since: Field::choice("since", "Since", vec![choice("15m", "15 minutes"), choice("1h", "1 hour"), choice("24h", "1 day")]),
        grep: Field::code("grep", "Lines with"),
        heading: text("All processes, last 15 minutes"),
        stream: text("/apps/shop/logs/stream?since=15m"),
        log: (0..30).map(|n| format!("07:{n:02}:11 web {{\"level\":\"info\",\"message\":\"request\",\"method\":\"GET\",\"path\":\"/tarefas/{n}\",\"status\":200,\"duration_ms\":3.{n}}}\n")).collect(),
        fault: String::new(),
    }
}

pub fn env_page() -> env::View {
    let head = head(Tab::Env);
    let var = |name: &str, from: &str| env::Var {
        name: text(name),
        from: text(from),
        at: Some(When::ago(ago(400_000), NOW)),
        shown: (name == "JWT_SECRET").then(|| text("made up, to be looked at")),
    };
    env::View {
        frame: head.frame(visit("/apps/shop/env")),
        head,
        vars: vec![
            var("DATABASE_URL", "from database main"),
            var("JWT_SECRET", ""),
            var("STRIPE_WEBHOOK_SIGNING_SECRET", ""),
        ],
        name: Field::code("name", "Name")
            .needed()
            .like("API_KEY")
            .value("2FAST")
            .fault("A name starts with a letter or _ and has letters, digits and _ after it."),
        value: Field::code("value", "Value").area(),
        import: Field::code("import", "Lines of NAME=value")
            .area()
            .hint("Taken byte for byte after the first =; nothing is unquoted."),
        attaches: true,
        attached: vec![(text("main"), text("DATABASE_URL"), String::new())],
        choices: Field::choice(
            "database",
            "Database",
            vec![(text("analytics"), text("analytics"))],
        ),
        attach_as: crate::web::pages::database::attach_as(),
    }
}

pub fn domains_page() -> domains::View {
    let head = head(Tab::Domains);
    domains::View {
        frame: head.frame(visit("/apps/shop/domains")).refreshed(3),
        head,
        domains: vec![
            domains::Domain {
                name: text("shop.example.com"),
                url: text("https://shop.example.com"),
                note: String::new(),
                state: Badge::new(Tone::Ok, "Valid"),
                issuer: text("Let’s Encrypt"),
                expires: Some(When::until(ahead(86_400 * 62), NOW)),
                words: vec![text("100 requests a minute, by address.")],
                policies: text("/apps/shop/domains/shop.example.com/policies"),
            },
            domains::Domain {
                name: text("www.shop.example.com"),
                url: text("https://www.shop.example.com"),
                note: text(
                    "Its A record points at 198.51.100.4, not at this box (203.0.113.7). Change it; the order goes on by itself.",
                ),
                state: Badge::new(Tone::Warn, "Waiting for DNS"),
                issuer: text("–"),
                expires: None,
                words: Vec::new(),
                policies: text("/apps/shop/domains/www.shop.example.com/policies"),
            },
        ],
        domain: Field::code("domain", "Host, and path if only a part")
            .needed()
            .like("shop.example.com"),
        box_address: text("203.0.113.7"),
    }
}

pub fn policies_page() -> policies::View {
    let head = head(Tab::Domains);
    let at = "/apps/shop/domains/shop.example.com/policies";
    policies::sample(head.frame(visit(at)), head)
}

pub fn activity_list() -> activity_page::View {
    let head = head(Tab::Activity);
    activity_page::View {
        frame: head.frame(visit("/apps/shop/activity")),
        head,
        level: Asked::default().field(),
        filtered: false,
        activity: activity(),
        older: Older::default(),
    }
}

pub fn settings_page() -> settings::View {
    let head = head(Tab::Settings);
    let process = |name: &str| settings::Process {
        name: text(name),
        now: text("2 running"),
        replicas: Field::code("replicas", "Replicas").within(name).value("2"),
        memory: Field::code("memory", "Memory").within(name).value("512M"),
        cpus: Field::code("cpus", "CPUs").within(name).value("0.5"),
    };
    settings::View {
        frame: head.frame(visit("/apps/shop/settings")),
        head,
        processes: vec![process("web"), process("worker")],
        repository: Field::code("repository", "Repository")
            .value("https://git.example.com/ana/shop.git"),
        branch: Field::code("branch", "Branch").value("main").needed(),
        hook_url: text("https://panel.example.com/hooks/shop"),
        hook_secret: text("f3b1c0a9d2e84f7788aa6c5b4d3e2f10"),
        deliveries: vec![
            settings::Delivery {
                what: text("push of main, 9ac01fe: deploy 32"),
                state: Badge::new(Tone::Ok, "202 taken"),
                at: When::ago(ago(40), NOW),
            },
            settings::Delivery {
                what: text("wrong signature; check the secret at the git host"),
                state: Badge::new(Tone::Bad, "401"),
                at: When::ago(ago(900), NOW),
            },
            settings::Delivery {
                what: text("push of feature/x; only main is deployed"),
                state: Badge::new(Tone::Idle, "202 ignored"),
                at: When::ago(ago(8_900), NOW),
            },
        ],
        stopped: false,
        maintenance: false,
        maintenance_until: String::new(),
        maintenance_for: settings::maintenance_for(),
        held:
            "Requests are held for 30 s meanwhile ([hold] time) and then answered 503 with a page"
                .to_owned(),
        token: Field::password("token", "Access token", "off"),
        registry_host: Field::code("registry_host", "Registry"),
        registry_user: Field::code("registry_user", "User"),
        registry_password: Field::password("registry_password", "Password or token", "off"),
    }
}

pub fn new_app() -> new::View {
    new::View {
        frame: visit("/apps/new")
            .frame()
            .titled("New app", Section::Overview)
            .under("/", "Apps"),
        name: Field::code("name", "Name")
            .needed()
            .like("shop")
            .hint("Lower case letters, digits and hyphens."),
        repository: Field::code("repository", "Repository")
            .like("https://git.example.com/ana/shop.git"),
        branch: Field::code("branch", "Branch").value("main"),
        domain: Field::code("domain", "Domain").like("shop.example.com"),
    }
}

/// A command that ended, in a container of its own or inside a replica.
pub fn run_page(inside: bool) -> run::View {
    let head = head(Tab::Settings);
    let processes = ["web", "worker"].map(|p| (text(p), text(p))).to_vec();
    let ended = "It ended with exit code 1.";
    run::View {
        frame: head.frame(visit("/apps/shop/run")),
        head,
        process: inside.then(|| Field::choice("process", "Process", processes)),
        command: Field::code("command", "Command")
            .area()
            .needed()
            .value("npm\nrun\nmigrate")
            .hint("One word a line: no shell takes it apart."),
        ran: Some(Ran {
            ended: match inside {
                true => format!("In shop-web-12-1: {ended}"),
                false => text(ended),
            },
            wrote: text(
                "> shop@1.4.0 migrate\n> node migrate.js\n\nerror: relation \"tasks\" already exists\n",
            ),
        }),
    }
}
