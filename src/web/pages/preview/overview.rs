//! The overview of a box at work, and of a new one.

use super::{NOW, ago, ahead, day, frame, older};
use crate::web::pages::activity as box_activity;
use crate::web::pages::frame::Section;
use crate::web::pages::overview::{
    ActivityRow, AppRow, Attention, BackupRow, CertificateRow, Overview,
};
use crate::web::pages::parts::strip::Bar;
use crate::web::pages::parts::{Badge, Field, Graph, Spark, Strip, Tone, When};

pub fn strip(bad: &[usize], unknown: usize) -> Strip {
    Strip {
        bars: (0..48)
            .map(|i| Bar {
                tone: if bad.contains(&i) {
                    Tone::Bad
                } else if i < unknown {
                    Tone::Idle
                } else {
                    Tone::Ok
                },
                title: format!("{:02}:{:02}", i / 2, i % 2 * 30),
            })
            .collect(),
        summary: "Up 99.1 % of the last day; down once, for 12 min".to_owned(),
    }
}

fn app(name: &str, host: &str, tone: Tone, word: &str, seed: u32) -> AppRow {
    AppRow {
        name: name.to_owned(),
        host: host.to_owned(),
        state: Badge::new(tone, word),
        rate: "12.4".to_owned(),
        spark: Spark::new(&day(1.0, 14.0, seed)),
        p95: "48 ms".to_owned(),
        errors: "0 %".to_owned(),
        errors_tone: Tone::Ok,
        uptime: strip(&[], 0),
        uptime_share: "100 %".to_owned(),
        release: "v12".to_owned(),
        deployed: Some(When::ago(ago(8_400), NOW)),
        deploy_state: None,
    }
}

pub fn graphs() -> Vec<Graph> {
    let mut memory = day(0.52, 0.58, 9);
    memory[60..66].fill(None);
    vec![
        Graph::new("CPU", &day(0.05, 0.62, 3), Some(1.0))
            .now("12 %", "of 2 cores")
            .axis("24 h ago", "peak 64 %"),
        Graph::new("Memory", &memory, Some(1.0))
            .now("2.1 GiB", "of 3.8 GiB")
            .axis("24 h ago", "peak 2.3 GiB"),
        Graph::new("Disk", &day(0.83, 0.86, 5), Some(1.0))
            .now("34 GiB", "of 40 GiB")
            .axis("24 h ago", "fills in about 9 days")
            .tone(Tone::Warn),
    ]
}

pub fn busy() -> Overview {
    let mut shop = app("shop", "shop.example.com", Tone::Bad, "Failing", 4);
    shop.errors = "3.2 %".to_owned();
    shop.errors_tone = Tone::Bad;
    shop.uptime = strip(&[20, 21, 47], 0);
    shop.uptime_share = "98.2 %".to_owned();
    let mut blog = app("blog", "blog.example.com", Tone::Ok, "Running", 11);
    blog.deploy_state = Some(Badge::new(Tone::Busy, "Building"));
    blog.deployed = Some(When::ago(ago(40), NOW));
    let mut intern = app("intern", "no domain", Tone::Idle, "Stopped", 2);
    intern.rate = "0".to_owned();
    intern.spark = Spark::default();
    intern.uptime = strip(&[], 48);
    intern.uptime_share = "not checked".to_owned();
    intern.p95 = "–".to_owned();
    intern.errors = "–".to_owned();
    Overview {
        whole: true,
        frame: frame("/", "Overview", Section::Overview).refreshed(5),
        attention: vec![
            Attention {
                tone: Tone::Bad,
                title: "shop answers 502 since 07:01".to_owned(),
                why: "Its one replica exited with code 137 (out of memory, 256 MiB) three times in 10 minutes. It is started again in 40 s.".to_owned(),
                href: "/apps/shop/logs".to_owned(),
                act: "See its log".to_owned(),
            },
            Attention {
                tone: Tone::Warn,
                title: "Backups stay on this box".to_owned(),
                why: "No target away from this box is set. If the disk dies, the databases and their backups die together.".to_owned(),
                href: "/settings#targets".to_owned(),
                act: "Add a target".to_owned(),
            },
        ],
        apps: vec![shop, app("tasks", "tasks.example.com", Tone::Ok, "Running", 7), blog, intern],
        graphs: graphs(),
        certificates: vec![
            CertificateRow {
                host: "shop.example.com".to_owned(),
                issuer: "Let’s Encrypt".to_owned(),
                state: Badge::new(Tone::Warn, "Renewal failed"),
                expires: Some(When::until(ahead(86_400 * 13), NOW)),
            },
            CertificateRow {
                host: "tasks.example.com".to_owned(),
                issuer: "Let’s Encrypt".to_owned(),
                state: Badge::new(Tone::Ok, "Valid"),
                expires: Some(When::until(ahead(86_400 * 62), NOW)),
            },
            CertificateRow {
                host: "panel.internal".to_owned(),
                issuer: "this box’s own CA".to_owned(),
                state: Badge::new(Tone::Ok, "Valid"),
                expires: Some(When::until(ahead(86_400 * 80), NOW)),
            },
        ],
        backups: vec![
            BackupRow {
                database: "main".to_owned(),
                state: Badge::new(Tone::Ok, "Stored"),
                at: Some(When::ago(ago(17_000), NOW)),
                what: "18 MiB on this box".to_owned(),
                next: Some(When::until(ahead(69_000), NOW)),
            },
            BackupRow {
                database: "analytics".to_owned(),
                state: Badge::new(Tone::Bad, "Failed"),
                at: Some(When::ago(ago(16_000), NOW)),
                what: "the bucket refused the key".to_owned(),
                next: Some(When::until(ahead(500), NOW)),
            },
        ],
        activity: activity(),
    }
}

pub fn all_activity() -> box_activity::View {
    let apps = vec![(String::new(), "Everything".to_owned())];
    box_activity::View {
        frame: frame("/activity", "Activity", Section::Overview).under("/", "Overview"),
        level: box_activity::Asked::default().field(),
        subject: Field::choice("subject", "Of", apps),
        filtered: false,
        activity: activity(),
        older: older("/activity", "activity", "7"),
    }
}

pub fn activity() -> Vec<ActivityRow> {
    [
        (
            Tone::Ok,
            "blog: deploy 31 started by a push to main (4f2a91c, Ana)",
            40,
        ),
        (
            Tone::Bad,
            "shop: a replica of web exited with code 137, out of memory",
            200,
        ),
        (Tone::Ok, "tasks: release v12 is live", 8_400),
        (
            Tone::Warn,
            "tasks: a push to branch feature/x was ignored; only main is deployed",
            8_900,
        ),
        (Tone::Ok, "main: backup stored, 18 MiB", 17_000),
    ]
    .into_iter()
    .map(|(tone, what, back)| ActivityRow {
        tone,
        what: what.to_owned(),
        at: When::ago(ago(back), NOW),
    })
    .collect()
}

pub fn new() -> Overview {
    Overview {
        whole: true,
        frame: frame("/", "Overview", Section::Overview),
        attention: vec![],
        apps: vec![],
        graphs: vec![
            Graph::new("CPU", &[], Some(1.0)),
            Graph::new("Memory", &[], Some(1.0)),
            Graph::new("Disk", &[None, Some(0.2)], Some(1.0))
                .now("8 GiB", "of 40 GiB")
                .axis("1 h ago", "peak 8 GiB"),
        ],
        certificates: vec![],
        backups: vec![],
        activity: vec![],
    }
}
