//! What the handle promises, on a real database.

use std::time::Duration;

use super::*;
use crate::db::Kind;
use crate::git::{Branch, GitUrl};
use crate::jobs;

struct Place {
    apps: Apps,
    folder: tempfile::TempDir,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let key = Arc::new(MasterKey::from_bytes(&[3; 32]).unwrap());
    let reserved: Reserved =
        Arc::new(|host| (host.as_str() == "panel.test").then(|| "the dashboard".to_owned()));
    Place {
        apps: Apps::new(db, key, reserved),
        folder,
    }
}

async fn shop(apps: &Apps, name: &str) -> App {
    let source = SourceChange {
        git_url: Some(GitUrl::parse("https://git.test/shop.git").unwrap()),
        branch: Some(Branch::parse("release").unwrap()),
        git_token: Some(Secret::new("tok-hunter2")),
        registry: Some(RegistryLogin {
            host: "ghcr.io".into(),
            user: "ana".into(),
            password: Secret::new("reg-hunter2"),
        }),
        ..SourceChange::default()
    };
    let name = AppName::parse(name).unwrap();
    apps.create(NewApp { name, source }, "ana", UnixMs(5))
        .await
        .unwrap()
}

#[tokio::test]
async fn f4_an_apps_secrets_are_sealed_and_come_back() {
    let p = place();
    let app = shop(&p.apps, "shop").await;
    assert!(app.has_git_credentials);
    let source = p.apps.git(app.id).await.unwrap().unwrap();
    assert_eq!(source.branch.as_str(), "release");
    assert_eq!(
        source.remote.credentials,
        Credentials::Token(Secret::new("tok-hunter2"))
    );
    let login = p.apps.registry(app.id).await.unwrap().unwrap();
    assert_eq!(login.password.expose(), "reg-hunter2");
    let secret = p.apps.webhook_secret(app.id).await.unwrap();
    assert!(marked::is(marked::WEBHOOK, secret.expose()));

    let old = p.apps.webhook_secret(app.id).await.unwrap();
    let new = p
        .apps
        .replace_webhook_secret(app.id, "ana", UnixMs(6))
        .await;
    let new = new.unwrap();
    assert!(new != old && marked::is(marked::WEBHOOK, new.expose()));
    assert!(p.apps.webhook_secret(app.id).await.unwrap() == new);

    let set = BTreeMap::from([(
        EnvName::parse("KEY").unwrap(),
        Some(Secret::new("env-hunter2 $\"'\n=")),
    )]);
    assert!(
        p.apps
            .change_env(app.id, set.clone(), "ana", UnixMs(6))
            .await
            .unwrap()
    );
    assert!(
        !p.apps
            .change_env(app.id, set, "ana", UnixMs(7))
            .await
            .unwrap(),
        "no change"
    );
    let env = p.apps.env(app.id).await.unwrap();
    assert_eq!(env["KEY"].expose(), "env-hunter2 $\"'\n=");
    let mut folders = vec![p.folder.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("hunter2"), "a secret lies open in {path:?}");
            files += 1;
        }
    }
    assert!(files >= 3, "the state, its journal and a snapshot");
    let moved = |url: &str| SourceChange {
        git_url: Some(GitUrl::parse(url).unwrap()),
        ..SourceChange::default()
    };
    let credentials = async |url: &str| {
        let change = p.apps.change_source(app.id, moved(url), "ana", UnixMs(8));
        change.await.unwrap();
        p.apps
            .git(app.id)
            .await
            .unwrap()
            .unwrap()
            .remote
            .credentials
    };
    let kept = credentials("https://GIT.test/ana/other.git").await;
    assert_eq!(kept, Credentials::Token(Secret::new("tok-hunter2")));
    let elsewhere = credentials("https://git.test.evil.example/shop.git").await;
    assert_eq!(elsewhere, Credentials::None, "a token is for its own host");
    let cleared = SourceChange {
        git_token: Some(Secret::new("")),
        ..SourceChange::default()
    };
    p.apps
        .change_source(app.id, cleared, "ana", UnixMs(8))
        .await
        .unwrap();
    let source = p.apps.git(app.id).await.unwrap().unwrap();
    assert_eq!(source.remote.credentials, Credentials::None);
}

/// Of every app.
fn in_charge() -> Over {
    Arc::new(|_| Standing::Changes)
}

#[tokio::test]
async fn a4_a_path_of_another_apps_host_is_not_a_developers_to_take() {
    let p = place();
    let (one, two) = (shop(&p.apps, "one").await, shop(&p.apps, "two").await);
    let add = |app: i64, text: &'static str, over: Over| {
        let (domain, web) = (Domain::parse(text), ProcessName::parse("web"));
        p.apps
            .add_domain(app, domain.unwrap(), web.unwrap(), ("ana", over), UnixMs(1))
    };
    let of_two = || -> Over {
        Arc::new(|app| match app {
            "two" => Standing::Changes,
            _ => Standing::Hidden,
        })
    };
    add(one.id, "a.test", in_charge()).await.unwrap();
    add(one.id, "b.test/shop", in_charge()).await.unwrap();
    for taken in ["a.test/login", "b.test", "b.test/shop/cart"] {
        let refused = add(two.id, taken, of_two()).await.unwrap_err();
        assert!(matches!(refused, AppError::HostTaken { .. }), "{refused}");
        let text = refused.to_string();
        assert!(
            text.starts_with("another app of this box answers on"),
            "{text}"
        );
        assert!(!text.contains("one"), "{text}");
    }
    let refused = add(two.id, "a.test", of_two())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("a.test already belongs to another app of this box:"),
        "{refused}"
    );
    assert_eq!(p.apps.routes(Some(two.id)).await.unwrap(), []);
    // Who sees the other app and is not in charge of it is told its name, and no more.
    let sees: Over = Arc::new(|app| match app {
        "two" => Standing::Changes,
        _ => Standing::Sees,
    });
    let refused = add(two.id, "a.test/login", sees).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("the app one answers on a.test")
    );
    // A host of one's own, and what somebody in charge of both says.
    add(two.id, "c.test", of_two()).await.unwrap();
    add(two.id, "c.test/api", of_two()).await.unwrap();
    add(two.id, "a.test/login", in_charge()).await.unwrap();
}

#[tokio::test]
async fn f4_a_domain_of_another_app_is_refused_with_its_name() {
    let p = place();
    let (one, two) = (shop(&p.apps, "one").await, shop(&p.apps, "two").await);
    let web = || ProcessName::parse("web").unwrap();
    let domain = |text: &str| Domain::parse(text).unwrap();
    let add = |app: i64, text: &'static str| {
        p.apps
            .add_domain(app, domain(text), web(), ("ana", in_charge()), UnixMs(1))
    };
    add(one.id, "a.test").await.unwrap();
    add(one.id, "a.test").await.unwrap();
    add(two.id, "a.test/api").await.unwrap();
    let refused = add(two.id, "a.test").await.unwrap_err().to_string();
    assert!(
        refused.contains("a.test already belongs to the app one"),
        "{refused}"
    );
    let refused = add(two.id, "panel.test").await.unwrap_err().to_string();
    assert!(refused.contains("the dashboard"), "{refused}");
    assert_eq!(p.apps.routes(None).await.unwrap().len(), 2);
    let missing = p
        .apps
        .remove_domain(two.id, domain("a.test"), "ana", UnixMs(2))
        .await;
    assert!(matches!(missing, Err(AppError::NoDomain(_))));
    p.apps
        .remove_domain(one.id, domain("a.test"), "ana", UnixMs(2))
        .await
        .unwrap();
    add(two.id, "a.test").await.unwrap();
}

#[tokio::test]
async fn f4_names_are_unique_and_ids_are_not_used_twice() {
    let p = place();
    let first = shop(&p.apps, "shop").await;
    let name = AppName::parse("shop").unwrap();
    let source = SourceChange::default();
    let taken = p
        .apps
        .create(NewApp { name, source }, "ana", UnixMs(1))
        .await;
    assert!(matches!(taken, Err(AppError::NameTaken(_))));
    p.apps
        .begin_removal(first.id, false, "ana", UnixMs(2))
        .await
        .unwrap();
    p.apps
        .delete(first.id, "shop".into(), UnixMs(2))
        .await
        .unwrap();
    assert!(matches!(
        p.apps.find("shop").await,
        Err(AppError::NotFound(_))
    ));
    assert!(shop(&p.apps, "shop").await.id > first.id);
}

/// The daemon may be killed right after the mark: nobody else comes to cancel what is in work then.
#[tokio::test]
async fn n5_the_mark_of_a_removal_takes_back_what_has_not_switched() {
    let p = place();
    let (shop, other) = (shop(&p.apps, "shop").await, shop(&p.apps, "other").await);
    let (gone, stays) = (shop.id, other.id);
    let begun: Result<(), DbError> = p
        .apps
        .db
        .write(move |tx| {
            for (app, state) in [
                (gone, "queued"),
                (gone, "building"),
                (gone, "checking"),
                (gone, "switching"),
                (gone, "live"),
                (stays, "building"),
            ] {
                tx.execute(
                    "INSERT INTO deploys (app_id, state, source, cause, by_whom, created_ms, state_ms)
                     VALUES (?1, ?2, '{}', 'person', 'ana', 1, 1)",
                    rusqlite::params![app, state],
                )?;
            }
            Ok(())
        })
        .await;
    begun.unwrap();
    p.apps
        .begin_removal(gone, false, "ana", UnixMs(2))
        .await
        .unwrap();
    let cancelled = p
        .apps
        .db
        .read(|c| {
            let mut all = c.prepare("SELECT cancel FROM deploys ORDER BY id")?;
            let rows = all.query_map([], |r| r.get(0))?;
            Ok::<Vec<bool>, DbError>(rows.collect::<Result<_, _>>()?)
        })
        .await;
    assert_eq!(
        cancelled.unwrap(),
        [true, true, true, false, false, false],
        "what has switched is removed with the app"
    );
}

#[tokio::test]
async fn f4_scale_changes_only_what_is_given() {
    let p = place();
    let app = shop(&p.apps, "shop").await;
    let web = || ProcessName::parse("web").unwrap();
    let two = Scale::parse_replicas("2").unwrap();
    p.apps
        .set_scale(app.id, web(), two, "ana", UnixMs(1))
        .await
        .unwrap();
    let memory = Scale::default().with_memory("64M").unwrap();
    for owed in [Some(Owed::Settings), None] {
        let set = p.apps.set_scale(app.id, web(), memory, "ana", UnixMs(1));
        assert_eq!(set.await.unwrap(), owed);
    }
    let mode = || EnvName::parse("MODE").unwrap();
    for value in ["live", "live", "test"] {
        let set = BTreeMap::from([(mode(), Some(Secret::new(value)))]);
        let changed = p.apps.change_env(app.id, set, "ana", UnixMs(2)).await;
        changed.unwrap();
    }
    // What each owes to the containers is written with it; what changes nothing owes nothing.
    let kinds = [Owed::Settings.kind(), Owed::Counts.kind()];
    let owed = p
        .apps
        .db
        .read(move |c| jobs::newest(c, &kinds, None, &10.into()))
        .await;
    let owed: Result<Vec<jobs::Told>, DbError> = owed;
    let owed: Vec<String> = owed.unwrap().into_iter().map(|j| j.kind).rev().collect();
    assert_eq!(
        owed,
        ["app.counts", "app.settings", "app.settings", "app.settings"]
    );
    let all = p.apps.scale(app.id).await.unwrap();
    assert_eq!(
        (all["web"].min, all["web"].memory_bytes),
        (Some(2), Some(64 << 20))
    );
}

/// Policies that cannot be read are told from none: a route without its guard would show what is not for everybody.
#[tokio::test]
async fn e6_policies_that_cannot_be_read_are_not_taken_for_none() {
    let p = place();
    let app = shop(&p.apps, "shop").await;
    let over: Over = Arc::new(|_| Standing::Changes);
    let domain = Domain::parse("a.test").unwrap();
    let web = ProcessName::parse("web").unwrap();
    p.apps
        .add_domain(app.id, domain.clone(), web, ("ana", over), UnixMs(6))
        .await
        .unwrap();
    let own = async || {
        p.apps
            .route_at(app.id, domain.clone())
            .await
            .unwrap()
            .policies
    };
    assert_eq!(own().await, Some(Default::default()));
    let state = rusqlite::Connection::open(p.folder.path().join("state.db")).unwrap();
    let written = state.execute("UPDATE routes SET policies = '{\"later\":1}'", []);
    assert_eq!(written, Ok(1));
    assert_eq!(own().await, None);
    // Whoever sets them again has them again.
    let set = p.apps.set_policies(
        app.id,
        domain.clone(),
        Default::default(),
        None,
        "ana",
        UnixMs(7),
    );
    assert!(set.await.unwrap());
    assert_eq!(own().await, Some(Default::default()));
}

#[tokio::test]
async fn n7_a_pause_ends_when_it_had_to_whatever_the_clock_was_set_to() {
    const HOUR: i64 = 3_600_000;
    let minute = Duration::from_secs(60);
    let place = place();
    let app = shop(&place.apps, "shop").await.id;
    let now = UnixMs(100 * HOUR);
    // Each: since when by the clock of then, by how much the clock was set, what is left of it now.
    for (since, by, left_ms) in [
        (now.0 + HOUR - 20_000, Some(-HOUR), 40_000),
        (now.0 - HOUR - 20_000, Some(HOUR), 40_000),
        (now.0 - 8_760 * HOUR - 20_000, Some(8_760 * HOUR), 40_000),
        // Begun since the clock was set.
        (now.0 - 500, Some(-HOUR), 59_500),
        (now.0 - 500, Some(HOUR), 59_500),
        // Nobody saw it being set: its whole length at most.
        (now.0 + HOUR, None, 60_000),
        (now.0 - 20_000, None, 40_000),
    ] {
        let owner = || "restore:1".to_owned();
        let pause = place.apps.pause(owner(), vec![app], minute, UnixMs(since));
        pause.await.unwrap();
        place.apps.clock_set(by, now).await.unwrap();
        let open = place.apps.pauses().await.unwrap();
        let left = open[0].until.0 - now.0;
        assert_eq!((open.len(), left), (1, left_ms), "{since} {by:?}");
        place.apps.resume(owner()).await.unwrap();
    }
}

/// Two databases of one app, on two servers, are exchanged at once.
#[tokio::test]
async fn n5_an_app_is_paused_until_the_last_who_needs_it_lets_it_go_or_is_over() {
    let p = place();
    let (one, two) = (shop(&p.apps, "one").await.id, shop(&p.apps, "two").await.id);
    let minute = Duration::from_secs(60);
    let begin = UnixMs(1_000);
    let pause = async |owner: &str, apps: &[i64], limit, now| {
        let asked = p.apps.pause(owner.into(), apps.to_vec(), limit, now);
        asked.await.unwrap();
    };
    let paused = async || {
        let mut all = p.apps.pauses().await.unwrap();
        all.sort_by_key(|pause| pause.app);
        all.into_iter()
            .map(|pause| (pause.app, pause.since, pause.until))
            .collect::<Vec<_>>()
    };
    pause("restore:1", &[one, two], minute, begin).await;
    let first = begin.plus(minute);
    // A later and shorter one makes it no shorter.
    let later = begin.plus(minute / 4);
    pause("restore:2", &[one], minute / 4, later).await;
    assert_eq!(paused().await, [(one, begin, first), (two, begin, first)]);
    // Asked for again, as by work that a crash cut off, it is the same one.
    pause("restore:1", &[one, two], minute, later).await;
    let again = later.plus(minute);
    assert_eq!(paused().await, [(one, begin, again), (two, begin, again)]);
    p.apps.resume("restore:1".into()).await.unwrap();
    let second = later.plus(minute / 4);
    assert_eq!(paused().await, [(one, later, second)]);
    p.apps.resume("restore:1".into()).await.unwrap();
    p.apps.end_pauses(second.minus(minute / 60)).await.unwrap();
    assert_eq!(paused().await, [(one, later, second)]);
    p.apps.end_pauses(second).await.unwrap();
    assert_eq!(paused().await, []);
}

#[tokio::test]
async fn n6_a_pause_and_maintenance_end_by_themselves_and_are_cleared_away() {
    let p = place();
    let (one, two) = (shop(&p.apps, "one").await, shop(&p.apps, "two").await);
    let hour = Duration::from_secs(3_600);
    let (begin, end) = (UnixMs(1_000), UnixMs(1_000).plus(hour));
    let on = async |app: &App, time| p.apps.set_maintenance(app.id, time, "ana", begin).await;
    assert!(on(&one, Some(hour)).await.unwrap());
    assert!(on(&two, Some(hour * 2)).await.unwrap());
    let pause = p
        .apps
        .pause("restore:1".into(), vec![one.id], hour / 2, begin);
    pause.await.unwrap();
    let find = async |name: &str| p.apps.find(name).await.unwrap();
    let before = find("one").await;
    assert_eq!(before.maintained(begin), Some(end));
    assert_eq!(before.maintained(end), None, "over at once");

    p.apps.end_pauses(begin.plus(hour / 2)).await.unwrap();
    assert_eq!(p.apps.pauses().await.unwrap(), [], "the pause is gone");
    assert_eq!(find("one").await, before, "and nothing else");
    p.apps.end_pauses(end).await.unwrap();
    let after = find("one").await;
    assert!(!after.maintenance && after.maintenance_until.is_none());
    assert!(find("two").await.maintenance);
    let told: Vec<events::Event> = p
        .apps
        .db
        .read(|c| events::newest(c, None, 10))
        .await
        .unwrap();
    let said = |words: &str| told.iter().filter(|e| e.message.contains(words)).count();
    assert_eq!(said("ended by itself"), 1, "{told:?}");
    assert_eq!(said("until 1970-01-01T01:00:01"), 1, "{told:?}");

    // Switched on again it lasts so long from then; switched off twice, the second is nothing.
    let later = UnixMs(5_000);
    let again = p.apps.set_maintenance(two.id, Some(hour), "ana", later);
    assert!(again.await.unwrap());
    assert_eq!(find("two").await.maintenance_until, Some(later.plus(hour)));
    assert!(on(&two, None).await.unwrap());
    assert!(!on(&two, None).await.unwrap());
    // What an older Freehold switched on without an end is on until it is switched off.
    p.apps
        .db
        .write(move |tx| {
            tx.execute("UPDATE apps SET maintenance = 1 WHERE id = ?1", [two.id])?;
            Ok::<_, DbError>(())
        })
        .await
        .unwrap();
    p.apps.end_pauses(end.plus(hour * 999)).await.unwrap();
    assert!(find("two").await.maintained(UnixMs::now()).is_some());
}
