//! A1: a page's list leads on to what is older, piece by piece and without a script, as the API's does; its graphs are
//! over the ranges that the API has.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::{local, make_app};
use crate::quiet::Daemon;

const MANY: usize = 120;

/// 120 of everything that has a list, one of the incidents still open.
const PLANTED: &str = "
    CREATE TEMP TABLE n (n INTEGER);
    WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 120) INSERT INTO n SELECT n FROM up;
    INSERT INTO deploys (app_id, state, source, cause, by_whom, title, created_ms, state_ms, finished_ms)
        SELECT 1, 'failed', json_object('kind', 'image', 'reference', 'a:1'), 'person', 'ana', 'x', n, n, n FROM n;
    INSERT INTO jobs (kind, key, payload, state, run_at_ms, created_ms, finished_ms)
        SELECT 'app.replicas', 'app:1', '{\"app\":1}', 'done', n, n, n FROM n;
    INSERT INTO events (at_ms, kind, level, subject, message) SELECT n, 'app.note', 'info', 'app:1', 'told ' || n || '!' FROM n;
    INSERT INTO checks (subject, name, origin, url, strict, active, created_ms) VALUES ('check', 'far', 'person', 'https://far.test/', 0, 0, 1);
    INSERT INTO incidents (check_id, opened_ms, closed_ms, stage, why)
        SELECT 1, n, CASE WHEN n > 1 THEN n END, 'http', 'told ' || n || '!' FROM n;
    INSERT INTO databases (name, version, image, memory_bytes, password_sealed, state, reason, created_ms, changed_ms)
        VALUES ('main', 17, 'postgres:17', 1, x'00', 'failed', 'no engine', 1, 1);
    INSERT INTO backups (database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state, cause,
        attempt, created_ms, due_ms, finished_ms)
        SELECT 1, 'main', 'told ' || n || '!', 'shop', 17, 1, 'k' || n, 'failed', 'asked', 1, n, n, n FROM n;
    INSERT INTO restores (backup_id, database_id, logical, fresh, kept, state, reason, created_ms, finished_ms)
        SELECT n, 1, 'again ' || n || '!', 'f', 'k', 'failed', 'no', n, n FROM n;
";

fn page(daemon: &Daemon, path: &str) -> String {
    let path = path.split('#').next().unwrap();
    let page = local(daemon, "GET", path, "Accept: text/html\r\n", "");
    assert_eq!(page.status, 200, "{path}: {}", page.body);
    page.body
}

/// Where the links called `what` of a page lead.
fn led(page: &str, what: &str) -> Option<String> {
    let (before, _) = page.split_once(&format!(">{what}<"))?;
    let (_, link) = before.rsplit_once("href=\"")?;
    let (href, _) = link.split_once('"')?;
    Some(href.replace("&#38;", "&"))
}

/// The numbers that stand between `before` and `after` on a page.
fn numbers(page: &str, before: &str, after: &str) -> Vec<usize> {
    let pieces = page.split(before).skip(1);
    let digits = pieces.filter_map(|piece| piece.split_once(after)?.0.parse().ok());
    digits.collect()
}

#[test]
fn a1_every_list_of_the_pages_leads_on_to_its_end() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    state.execute_batch(PLANTED).unwrap();
    for (first, what, before, after) in [
        ("/apps/shop/deploys", "deploys", ">Deploy ", "<"),
        ("/jobs", "jobs", ">Job ", "<"),
        ("/apps/shop/activity", "activity", ">told ", "!<"),
        (
            "/activity?level=info&subject=app%3A1",
            "activity",
            ">told ",
            "!<",
        ),
        ("/checks", "incidents", ">HTTP: told ", "!<"),
        ("/databases/main", "backups", ">told ", "! <"),
        ("/databases/main", "restores", ">again ", "! from"),
    ] {
        let mut seen = Vec::new();
        let mut at = Some(first.to_owned());
        let mut pages = 0;
        while let Some(path) = at {
            let told = page(&daemon, &path);
            let piece = numbers(&told, before, after);
            assert!(!piece.is_empty() && piece.len() <= 51, "{path}: {piece:?}");
            seen.extend(piece);
            // From any but the first there is a way back.
            let newest = led(&told, &format!("Newest {what}"));
            assert_eq!(newest.is_some(), pages > 0, "{path}");
            if let Some(newest) = newest {
                assert_eq!(newest.split('#').next(), Some(first), "{path}");
            }
            at = led(&told, &format!("Older {what}"));
            pages += 1;
            assert!(pages < 9, "{first} does not end");
        }
        let all: BTreeSet<usize> = seen.iter().copied().collect();
        assert_eq!(all.len(), seen.len(), "{what} are told twice: {seen:?}");
        assert!((1..=MANY).all(|n| all.contains(&n)), "{what}: {seen:?}");
        assert!(pages >= 3, "{what}");
    }
    // What lasts is told first, however old it is.
    let checks = page(&daemon, "/checks");
    assert_eq!(numbers(&checks, ">HTTP: told ", "!<")[..2], [1, 120]);
    let none = local(&daemon, "GET", "/jobs?after=x", "Accept: text/html\r\n", "");
    assert_eq!(none.status, 422, "{}", none.body);
    let end = page(&daemon, "/jobs?after=1");
    assert!(end.contains("Nothing older"), "{end}");
}

#[test]
fn a1_the_graphs_of_a_page_are_over_the_range_that_is_asked_for() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    for place in ["/box", "/apps/shop"] {
        let mut begun = BTreeSet::new();
        for over in ["hour", "day", "week", "month", "year"] {
            let told = page(&daemon, &format!("{place}?over={over}"));
            assert!(told.contains(&format!(">Last {over}</h2>")), "{told}");
            let caption = format!("last {over}</span></figcaption>");
            assert!(told.matches(&caption).count() >= 3, "{told}");
            // The chosen one is marked, and only that.
            let marked = format!("href=\"?over={over}\" aria-current=\"true\"");
            assert!(told.contains(&marked), "{told}");
            let links = told.split("\"?over=").skip(1);
            let mut links = links.filter_map(|link| link.split('>').next());
            assert_eq!(links.clone().count(), 5, "{told}");
            assert!(
                links.all(|l| l.contains("aria-current") == l.starts_with(over)),
                "{told}"
            );
            let (_, axis) = told.split_once("class=\"axis\"").unwrap();
            begun.insert(axis.split_once("</span>").unwrap().0.to_owned());
        }
        assert_eq!(begun.len(), 5, "{place}: {begun:?}");
        // A box that was just begun is shown by the hour; nobody has to ask.
        assert!(page(&daemon, place).contains(">Last hour</h2>"), "{place}");
        let accept = "Accept: text/html\r\n";
        let none = local(&daemon, "GET", &format!("{place}?over=age"), accept, "");
        assert_eq!(none.status, 422, "{}", none.body);
        assert!(
            none.body
                .contains("over is one of hour, day, week, month, year"),
            "{}",
            none.body
        );
    }
}

/// What the API's filters leave out the page leaves out, the overview leads to all of it, and who may not see the box has
/// neither.
#[test]
fn a1_the_activity_of_the_box_is_a_page_with_the_filters_of_the_api() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    let planted = "INSERT INTO events (at_ms, kind, level, subject, message) VALUES
        (1, 'app.note', 'info', 'app:1', 'a note of shop'), (2, 'app.note', 'error', 'app:1', 'a fault of shop'),
        (3, 'box.note', 'warning', 'box', 'a warning of the box')";
    state.execute_batch(planted).unwrap();
    assert!(page(&daemon, "/").contains("href=\"/activity\""));
    for (path, told) in [
        ("/activity", [true, true, true]),
        ("/activity?level=&subject=", [true, true, true]),
        ("/activity?level=error", [false, true, false]),
        ("/activity?subject=app%3A1", [true, true, false]),
        ("/activity?subject=box&level=warning", [false, false, true]),
        ("/apps/shop/activity", [true, true, false]),
        ("/apps/shop/activity?level=info", [true, false, false]),
        // An app's page is of the app, whatever else is asked for.
        ("/apps/shop/activity?subject=box", [true, true, false]),
    ] {
        let shown = page(&daemon, path);
        let all = ["a note of shop", "a fault of shop", "a warning of the box"];
        assert_eq!(all.map(|line| shown.contains(line)), told, "{path}");
    }
    let chosen = page(&daemon, "/activity?subject=app%3A1");
    assert!(chosen.contains("value=\"app:1\" selected"), "{chosen}");
    for path in [
        "/activity?level=loud",
        "/apps/shop/activity?level=loud",
        "/activity?after=x",
    ] {
        let none = local(&daemon, "GET", path, "Accept: text/html\r\n", "");
        assert_eq!(none.status, 422, "{path}: {}", none.body);
    }
}
