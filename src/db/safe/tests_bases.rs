//! From what the state is made anew, and what does not get into it or past the journal.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::{Db, DbError, Kind};
use super::tests::{Box, dump, set};
use super::*;

/// A state with changes 1 to 6 and a snapshot of the first three; closed.
async fn six() -> Box {
    let place = Box::new();
    let db = place.open();
    for n in 1..=6 {
        set(&db, "n", &n.to_string()).await.unwrap();
        if n == 3 {
            db.snapshot(UnixMs(1)).await.unwrap();
        }
    }
    place.close(db).await;
    place
}

/// Puts a state in place that has the first `n` changes of [`six`]: what a cut log leaves.
async fn short(place: &Box, n: u64) {
    let copy = Box::new();
    let db = copy.open();
    for at in 1..=n {
        set(&db, "n", &at.to_string()).await.unwrap();
    }
    copy.close(db).await;
    fs::copy(copy.path(), place.path()).unwrap();
}

fn overwrite(path: &Path, what: &[u8]) {
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(what.len()).position(|w| w == what).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xff; what.len()], at as u64)
        .unwrap();
}

#[tokio::test]
async fn n7_a_state_that_is_short_and_goes_further_than_any_snapshot_is_the_beginning() {
    let place = six().await;
    short(&place, 5).await;
    // Between the snapshot and what the state has still: from the snapshot, change 3 would be the last.
    for journal in place.files("journal-") {
        let text = fs::read(&journal).unwrap();
        if text.windows(4).any(|w| w == b"'4')") {
            overwrite(&journal, b"'4')");
        }
    }
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert!(told.losses.is_empty(), "{:?}", told.losses);
    assert_eq!(told.why, "the last acknowledged change was not in it");
    assert_eq!(told.replayed, 1);
    assert_eq!(db.meta("n").await.unwrap().as_deref(), Some("6"));
    assert!(
        !place.files("state.db.damaged").is_empty(),
        "what was there is kept"
    );
    assert!(place.files("state.recovering").is_empty());
    place.close(db).await;
}

/// A state that is gone does not say how far it went, and a journal without its last files looks whole.
#[tokio::test]
async fn n7_where_the_end_of_the_journal_may_be_gone_too_no_number_is_given_again() {
    let place = six().await;
    for file in [place.files("journal-"), vec![place.path()]].concat() {
        fs::remove_file(file).unwrap();
    }
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert!(told.losses.is_empty(), "{:?}", told.losses);
    assert_eq!(db.meta("n").await.unwrap().as_deref(), Some("3"));
    for floor in [
        "SELECT containers FROM recoveries",
        "SELECT min(seq) FROM sqlite_sequence WHERE name IN ('apps', 'deploys', 'databases')",
    ] {
        let at: Result<i64, DbError> = db.read(|c| Ok(c.query_row(floor, [], |r| r.get(0))?)).await;
        assert!(at.unwrap() >= 1_000, "{floor}");
    }
    place.close(db).await;
}

#[tokio::test]
async fn n7_a_state_that_is_short_does_where_no_snapshot_is_whole() {
    let place = six().await;
    short(&place, 5).await;
    for snapshot in place.files("snapshot-") {
        fs::write(snapshot, "nothing").unwrap();
    }
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert!(told.losses.is_empty(), "{:?}", told.losses);
    assert_eq!(db.meta("n").await.unwrap().as_deref(), Some("6"));
    place.close(db).await;

    // And with nothing of the journal left either: what is known to be missing is said.
    let place = six().await;
    let db = place.open();
    db.snapshot(UnixMs(2)).await.unwrap();
    place.close(db).await;
    short(&place, 5).await;
    for snapshot in place.files("snapshot-") {
        fs::write(snapshot, "nothing").unwrap();
    }
    for journal in place.files("journal-") {
        fs::remove_file(journal).unwrap();
    }
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert_eq!(told.losses, ["Change 6 cannot be read in the journal."]);
    assert_eq!(db.meta("n").await.unwrap().as_deref(), Some("5"));
    place.close(db).await;
}

/// A snapshot with the journal behind it is believed before what lies there.
#[tokio::test]
async fn n7_a_snapshot_from_which_nothing_is_missing_is_the_beginning_still() {
    let place = six().await;
    short(&place, 5).await;
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert_eq!((told.snapshot, told.replayed), (UnixMs(1), 3));
    place.close(db).await;
}

#[tokio::test]
async fn n7_a_text_with_a_nul_is_not_cut() {
    let place = Box::new();
    let db = place.open();
    set(&db, "a", "1").await.unwrap();
    set(&db, "a", "x\0y").await.unwrap();
    set(&db, "b", "\0it's").await.unwrap();
    set(&db, "c", "c\0").await.unwrap();
    set(&db, "c", "without").await.unwrap();
    let more: Result<(), DbError> = db
        .write(|tx| {
            let mut insert = tx.prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")?;
            for n in 0..3 {
                insert.execute([format!("k{n}"), format!("v\0{n}")])?;
            }
            insert.execute(["name\0d", "v"])?;
            tx.execute("UPDATE meta SET value = 'now' WHERE key = 'k1'", [])?;
            tx.execute("DELETE FROM meta WHERE key = 'k2'", [])?;
            tx.execute(
                "INSERT INTO apps (name, created_ms, webhook_secret) VALUES ('shop', 1, x'610062')",
                [],
            )?;
            Ok(())
        })
        .await;
    more.unwrap();
    // Where a row has no number, and where none may be changed.
    for (table, insert) in [
        (
            "taken_deliveries",
            "INSERT INTO taken_deliveries VALUES (1, ?1, 1)",
        ),
        (
            "audit_outcomes",
            "INSERT INTO audit_outcomes VALUES (1, 1, 200, ?1, '', '')",
        ),
    ] {
        let refused: Result<usize, DbError> =
            db.write(move |tx| Ok(tx.execute(insert, ["x\0"])?)).await;
        let error = refused.unwrap_err();
        assert!(!error.is_constraint(), "nothing is taken");
        let error = error.to_string();
        assert!(
            error.contains(&format!("NUL character in it cannot be kept ({table})")),
            "{error}"
        );
    }
    assert_eq!(db.meta("a").await.unwrap().as_deref(), Some("x\0y"));
    place.close(db).await;
    let before = dump(&place.path());
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert!(told.losses.is_empty(), "{:?}", told.losses);
    assert_eq!(db.meta("a").await.unwrap().as_deref(), Some("x\0y"));
    place.close(db).await;
    assert_eq!(dump(&place.path()), before);
}

/// What the journal does not hear of would be acknowledged, and gone with the file.
#[tokio::test]
async fn n7_a_change_that_the_journal_does_not_hear_of_is_not_made() {
    let place = Box::new();
    let deaf = Saboteur {
        deaf: true,
        ..Saboteur::default()
    };
    let db = Db::open_with(&place.path(), Kind::State, deaf).unwrap();
    let error = set(&db, "a", "1").await.unwrap_err().to_string();
    assert!(error.contains("so it was not made"), "{error}");
    assert_eq!(db.meta("a").await.unwrap(), None);
    // What changes nothing needs no journal.
    let nothing: Result<usize, DbError> = db
        .write(|tx| Ok(tx.execute("DELETE FROM meta WHERE key = 'a'", [])?))
        .await;
    assert_eq!(nothing.unwrap(), 0);
    place.close(db).await;

    let place = Box::new();
    let db = place.open();
    let commented: Result<usize, DbError> = db
        .write(|tx| {
            Ok(tx.execute(
                "-- why\nINSERT INTO meta (key, value) VALUES ('c', '1')",
                [],
            )?)
        })
        .await;
    commented.unwrap();
    place.close(db).await;
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    assert_eq!(db.meta("c").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn n7_the_journal_goes_on_in_another_file_when_one_is_large_though_no_snapshot_is_taken() {
    let place = Box::new();
    let db = place.open();
    let first = place.files("journal-").len();
    for n in 0..6 {
        let words = "x".repeat(4 << 20);
        let large: Result<(), DbError> = db
            .write(move |tx| {
                tx.execute("DELETE FROM meta", [])?;
                let key = n.to_string();
                tx.execute("INSERT INTO meta VALUES (?1, ?2)", [key, words])?;
                Ok(())
            })
            .await;
        large.unwrap();
    }
    set(&db, "last", "1").await.unwrap();
    let files = place.files("journal-");
    assert!(files.len() > first + 1, "{files:?}");
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() < FILE + (5 << 20));
    }
    assert!(db.journal_bytes() > 6 << 22);
    place.close(db).await;
    let before = dump(&place.path());
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert_eq!((told.losses.len(), told.replayed), (0, 7));
    place.close(db).await;
    assert!(dump(&place.path()) == before);
}
