//! From what the state is made anew, and what does not get into it or past the journal.

use std::fs;

use super::super::{Db, DbError, Kind};
use super::tests::{Box, dump, set};
use super::*;

#[tokio::test]
async fn n7_a_text_with_a_nul_is_refused_and_not_cut() {
    let place = Box::new();
    let db = place.open();
    set(&db, "a", "1").await.unwrap();
    for refused in [
        set(&db, "b", "x\0y").await,
        set(&db, "a", "x\0y").await,
        db.write(|tx| {
            // Without a row number, too.
            tx.execute("INSERT INTO taken_deliveries VALUES (1, ?1, 1)", ["x\0"])?;
            Ok(())
        })
        .await,
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("NUL character"), "{error}");
    }
    let bytes: Result<(), DbError> = db
        .write(|tx| {
            tx.execute(
                "INSERT INTO apps (name, created_ms, webhook_secret) VALUES ('shop', 1, x'610062')",
                [],
            )?;
            Ok(())
        })
        .await;
    bytes.unwrap();
    place.close(db).await;
    let before = dump(&place.path());
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    assert!(db.recoveries().await.unwrap()[0].losses.is_empty());
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
