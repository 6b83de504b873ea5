//! Whatever the stores do to the state, its last snapshot and its journal give it back: random operations, each in a
//! transaction of its own and some at the same time, and then the file is gone.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::base::clock::UnixMs;
use crate::db::{Db, DbError, Kind, Saboteur};
use crate::deploy::store::{self, Change};
use crate::deploy::{Cause, NewDeploy, Source, State};
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, NewJob};

const APP: i64 = 7;

/// What is done, with a number that says to what.
#[derive(Clone, Debug)]
enum Op {
    Deploy(u8, String),
    Enter(i64, u8),
    Live(i64),
    Stop,
    Trim(u32),
    Build(i64),
    Enqueue(String),
    TakeBack(i64),
    Event(String),
    Meta(String, String),
    Refused,
    Clash,
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    // What an SQL text could stumble over, and what no person types.
    let words = || "[a-z'\";?:@$\\-/*\n\u{e4}\u{1f600}]{0,12}";
    prop_oneof![
        4 => (any::<u8>(), words()).prop_map(|(n, w)| Op::Deploy(n, w)),
        6 => (1..12i64, any::<u8>()).prop_map(|(id, n)| Op::Enter(id, n)),
        3 => (1..12i64).prop_map(Op::Live),
        1 => Just(Op::Stop),
        2 => (0..3u32).prop_map(Op::Trim),
        2 => (1..12i64).prop_map(Op::Build),
        3 => words().prop_map(Op::Enqueue),
        2 => (1..12i64).prop_map(Op::TakeBack),
        3 => words().prop_map(Op::Event),
        2 => (words(), words()).prop_map(|(k, v)| Op::Meta(k, v)),
        1 => Just(Op::Refused),
        1 => Just(Op::Clash),
        1 => Just(Op::Snapshot),
    ]
}

const STATES: [State; 7] = [
    State::Queued,
    State::Fetching,
    State::Building,
    State::Switching,
    State::Draining,
    State::Live,
    State::Failed,
];

async fn done(db: &Db, op: Op, now: UnixMs) {
    if matches!(op, Op::Snapshot) {
        db.snapshot(now).await.unwrap();
        return;
    }
    let result: Result<(), DbError> = db
        .write(move |tx| {
            match op {
                Op::Deploy(n, title) => {
                    let new = NewDeploy {
                        app: APP,
                        source: Source::Image {
                            reference: format!("shop:{n}"),
                        },
                        cause: [Cause::Person, Cause::Webhook, Cause::Settings][usize::from(n) % 3],
                        by: title.clone(),
                        delivery: (n % 2 == 0).then(|| format!("d{n}")),
                        title: Some(title),
                    };
                    // A delivery that came before is refused by the row; the caller goes on with something else.
                    if store::insert(tx, &new, now).is_err() {
                        store::owe_settings(tx, APP)?;
                    }
                }
                Op::Enter(id, n) => {
                    let (from, to) = (usize::from(n) % 7, usize::from(n / 7) % 7);
                    let change = Change {
                        error: (n % 5 == 0).then(|| "it's \"odd\"".into()),
                        ..Change::default()
                    };
                    store::enter(tx, id, STATES[from], STATES[to], &change, now)?;
                }
                Op::Live(id) if store::by_id(tx, id)?.is_some() => {
                    let replicas = BTreeMap::from([("web".into(), vec![format!("shop-{id}")])]);
                    store::set_live(tx, APP, 1, id, &replicas, now)?;
                }
                Op::Stop => drop(store::stop(tx, APP)?),
                Op::Trim(keep) => drop(store::trim(tx, APP, keep)?),
                Op::Build(id) if store::by_id(tx, id)?.is_some() => {
                    store::begin_build(tx, id, now)?;
                    store::close_builds(tx, now)?;
                }
                Op::Enqueue(key) => {
                    let job = NewJob {
                        kind: "deploy",
                        key,
                        payload: serde_json::json!({ "deploy": now.0 }),
                        run_at: now,
                    };
                    jobs::enqueue(tx, now, &job)?;
                }
                Op::TakeBack(id) => drop(jobs::take_back(tx, id, now)?),
                Op::Event(words) => {
                    events::record(tx, now, &NewEvent::new("a.b", Level::Info, "app:7", words))?;
                }
                Op::Meta(key, value) => {
                    tx.execute(
                        "INSERT INTO meta (key, value) VALUES (?1, ?2)
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                        [key, value],
                    )?;
                }
                Op::Refused => {
                    tx.execute("DELETE FROM events", [])?;
                    return Err(DbError::Unavailable("no".into()));
                }
                Op::Clash => {
                    tx.execute("INSERT OR IGNORE INTO meta VALUES ('x', '1')", [])?;
                    assert!(
                        tx.execute("INSERT INTO meta VALUES ('x', '2')", [])
                            .is_err()
                    );
                    tx.execute("UPDATE meta SET value = value || 'y' WHERE key = 'x'", [])?;
                }
                _ => {}
            }
            Ok(())
        })
        .await;
    drop(result);
}

/// All rows of all tables, but those that tell of recoveries.
fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'recover%' ORDER BY name")
        .unwrap();
    let names = tables.query_map([], |r| r.get::<_, String>(0)).unwrap();
    let mut lines = Vec::new();
    for name in names.map(Result::unwrap) {
        let mut rows = connection
            .prepare(&format!("SELECT * FROM {name}"))
            .unwrap();
        let columns = rows.column_count();
        let read = rows.query_map([], |row| {
            let cells = (0..columns).map(|n| {
                Ok(match row.get_ref(n)? {
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    cell => format!("{cell:?}"),
                })
            });
            let cells: rusqlite::Result<Vec<String>> = cells.collect();
            Ok(format!("{name} {}", cells?.join(" ")))
        });
        let mut of_table: Vec<String> = read.unwrap().map(Result::unwrap).collect();
        of_table.sort();
        lines.extend(of_table);
    }
    // The counter of recoveries, and those that go on behind what a state that is gone may have used.
    let moved = ["recoveries", "apps", "deploys", "databases"];
    lines.retain(|line| {
        let counter = line.strip_prefix("sqlite_sequence ");
        !counter.is_some_and(|of| {
            moved
                .iter()
                .any(|table| of.split(' ').next() == Some(*table))
        })
    });
    lines
}

fn apart(ops: Vec<Op>, saboteur: Saboteur) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    runtime.block_on(async {
        let db = Db::open_with(&path, Kind::State, saboteur).unwrap();
        let begun: Result<(), DbError> = db
            .write(|tx| {
                Ok(tx.execute_batch(
                    "INSERT INTO apps (id, name, created_ms, webhook_secret) VALUES (7, 'shop', 1, x'00');
                     INSERT INTO releases (id, app_id, number, image, image_tag, settings, env, created_ms)
                     VALUES (1, 7, 1, 'sha256:0', 'shop:v1', '{}', x'00ff', 1);",
                )?)
            })
            .await;
        begun.unwrap();
        for (n, together) in (100..).zip(ops.chunks(4)) {
            join_all(together.iter().map(|op| done(&db, op.clone(), UnixMs(n)))).await;
        }
        // The last of all writes: the thread has nothing more to do then.
        drop(db);
    });
    crate::db::until_closed(folder.path());
    let before = dump(&path);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        if name.starts_with("state.db") {
            std::fs::remove_file(file).ok();
        }
    }
    let after = runtime.block_on(async {
        let db = Db::open(&path, Kind::State).unwrap();
        let told = db.recoveries().await.unwrap().remove(0);
        prop_assert!(told.losses.is_empty(), "{:?}", told.losses);
        Ok(dump(&path))
    })?;
    prop_assert_eq!(after, before);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn n7_a_snapshot_and_the_journal_give_back_whatever_the_stores_did(
        ops in proptest::collection::vec(op(), 1..40)
    ) {
        apart(ops, Saboteur::default())?;
    }
}

#[test]
fn n7_without_the_journal_what_the_stores_did_is_gone() {
    let ops = vec![Op::Event("one".into()), Op::Deploy(1, "two".into())];
    apart(ops.clone(), Saboteur::default()).unwrap();
    let without = Saboteur {
        no_journal: true,
        ..Saboteur::default()
    };
    assert!(apart(ops, without).is_err());
}
