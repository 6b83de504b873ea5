//! The log on a real database: what it keeps, what it refuses, what it finds.

use serde_json::json;

use super::*;
use crate::db;

async fn log() -> (tempfile::TempDir, Db, Audit) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), db::Kind::State).unwrap();
    let audit = Audit::new(db.clone());
    (folder, db, audit)
}

fn intent(who: &str, action: &str, app: &str) -> Intent {
    Intent {
        who: Who {
            kind: Kind::User,
            id: Some(1),
            name: who.into(),
            via: String::new(),
            address: "192.0.2.7".into(),
            request: "0123".into(),
        },
        action: action.into(),
        subject: Subject {
            kind: "app",
            id: Some(7),
            name: app.into(),
        },
    }
}

fn outcome(status: u16, detail: &str) -> Outcome {
    let became = json!({"git_branch": "100%_sure"});
    Outcome {
        status,
        detail: detail.into(),
        became: became.as_object().unwrap().clone(),
        ..Outcome::default()
    }
}

#[tokio::test]
async fn a5_an_intent_without_an_outcome_says_that_it_was_cut_off() {
    let (_folder, db, audit) = log().await;
    let begun = audit
        .begin(intent("ana", "app.change", "shop"), UnixMs(5))
        .await
        .unwrap();
    let state = async |audit: &Audit| audit.list(Filter::default(), 10).await.unwrap()[0].state();
    assert_eq!(state(&audit).await, "under way");
    // What a daemon that starts after a kill sees.
    let later = Audit::new(db);
    assert_eq!(state(&later).await, "cut off");
    let seen = later.list(Filter::default(), 10).await.unwrap();
    assert!(seen[0].detail().contains("look at how things stand"));
    audit.end(begun, outcome(200, ""), UnixMs(6)).await.unwrap();
    assert_eq!(state(&later).await, "done");
}

#[tokio::test]
async fn a5_nothing_is_changed_removed_or_replaced() {
    let (_folder, db, audit) = log().await;
    audit
        .both(
            intent("ana", "app.stop", "shop"),
            outcome(200, ""),
            UnixMs(5),
        )
        .await
        .unwrap();
    for sql in [
        "UPDATE audit SET who = 'eve'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT id, at_ms, who_kind, who_id, 'eve', via, address, request, action, subject_kind, subject_id, subject FROM audit",
        "UPDATE audit_outcomes SET status = 500",
        "DELETE FROM audit_outcomes",
        "INSERT OR REPLACE INTO audit_outcomes SELECT audit_id, at_ms, 500, detail, was, became FROM audit_outcomes",
    ] {
        let refused: Result<(), DbError> = db
            .write(move |tx| Ok(tx.execute(sql, []).map(|_| ())?))
            .await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("only added to"), "{sql}: {error}");
    }
    let all = audit.list(Filter::default(), 10).await.unwrap();
    assert_eq!(
        (all.len(), all[0].who.as_str(), all[0].state()),
        (1, "ana", "done")
    );
}

#[tokio::test]
async fn a5_entries_are_found_by_each_filter_and_by_text() {
    let (_folder, _db, audit) = log().await;
    for (at, who, action, app, status) in [
        (10, "ana", "app.env.change", "shop", 200),
        (20, "Bob", "app.env.reveal", "shop", 200),
        (30, "ana", "app.environment", "blog", 403),
    ] {
        audit
            .both(
                intent(who, action, app),
                outcome(status, "you may not do this"),
                UnixMs(at),
            )
            .await
            .unwrap();
    }
    let found = async |filter: Filter| -> Vec<i64> {
        let all = audit.list(filter, 10).await.unwrap();
        all.iter().map(|e| e.at.0).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    let none = Filter::default;
    assert_eq!(found(none()).await, [30, 20, 10]);
    assert_eq!(
        found(Filter {
            who: text("bob"),
            ..none()
        })
        .await,
        [20]
    );
    assert_eq!(
        found(Filter {
            action: text("app.env"),
            ..none()
        })
        .await,
        [20, 10]
    );
    assert_eq!(
        found(Filter {
            action: text("app.env.change"),
            ..none()
        })
        .await,
        [10]
    );
    assert_eq!(
        found(Filter {
            subject: text("blog"),
            ..none()
        })
        .await,
        [30]
    );
    assert_eq!(
        found(Filter {
            subject: text("app:shop"),
            ..none()
        })
        .await,
        [20, 10]
    );
    assert_eq!(
        found(Filter {
            subject: text("database:shop"),
            ..none()
        })
        .await,
        [0; 0]
    );
    assert_eq!(
        found(Filter {
            since: Some(UnixMs(20)),
            ..none()
        })
        .await,
        [30, 20]
    );
    assert_eq!(
        found(Filter {
            until: Some(UnixMs(20)),
            ..none()
        })
        .await,
        [20, 10]
    );
    assert_eq!(
        found(Filter {
            before: Some(3),
            ..none()
        })
        .await,
        [20, 10]
    );
    assert_eq!(
        found(Filter {
            text: text("100%_SURE"),
            ..none()
        })
        .await,
        [30, 20, 10]
    );
    assert_eq!(
        found(Filter {
            text: text("100%xsure"),
            ..none()
        })
        .await,
        [0; 0]
    );
}

#[tokio::test]
async fn a5_what_is_left_out_is_written_as_one_count() {
    let (_folder, _db, audit) = log().await;
    let class = Class::Strangers("session.sign-in".into());
    for _ in 0..25 {
        audit.refused(&class, "192.0.2.7", false, UnixMs(1));
    }
    audit.turn(UnixMs(3_600_000)).await;
    audit.turn(UnixMs(3_600_001)).await;
    let all = audit.list(Filter::default(), 10).await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].detail().starts_with("5 more"), "{all:?}");
    assert!(all[0].detail().contains("192.0.2.7"), "{all:?}");
}
