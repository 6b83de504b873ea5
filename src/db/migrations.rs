//! The schema, as an append-only list of steps; `PRAGMA user_version` counts them.
//!
//! A released step is never edited. A step must leave a schema that the
//! previous release can still read (an upgrade may be undone): from which
//! version the last upgrade came is kept in `PRAGMA application_id`, and a
//! program that knows that one opens what the upgrade left.

use rusqlite::Connection;

use super::{DbError, Kind};

const STATE: &[&str] = &[
    include_str!("migrations/0001_base.sql"),
    include_str!("migrations/0002_users.sql"),
    include_str!("migrations/0003_apps.sql"),
    include_str!("migrations/0004_supervise.sql"),
    include_str!("migrations/0005_certs.sql"),
    include_str!("migrations/0006_postgres.sql"),
    include_str!("migrations/0007_backup.sql"),
    include_str!("migrations/0008_monitor.sql"),
    include_str!("migrations/0009_roles.sql"),
    include_str!("migrations/0010_tokens.sql"),
    include_str!("migrations/0011_registry_host.sql"),
    include_str!("migrations/0012_people.sql"),
    include_str!("migrations/0013_audit.sql"),
    include_str!("migrations/0014_replay.sql"),
    include_str!("migrations/0015_build_times.sql"),
    include_str!("migrations/0016_unremoved.sql"),
    include_str!("migrations/0017_backup_roles.sql"),
    include_str!("migrations/0018_told_once.sql"),
    include_str!("migrations/0019_settings_changed.sql"),
    include_str!("migrations/0020_taken_deliveries.sql"),
    include_str!("migrations/0021_route_policies.sql"),
    include_str!("migrations/0022_maintenance_until.sql"),
    include_str!("migrations/0023_recoveries.sql"),
    include_str!("migrations/0024_pause_owners.sql"),
];

const METRICS: &[&str] = &[include_str!("migrations/metrics_0001.sql")];

fn steps(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::State => STATE,
        Kind::Metrics => METRICS,
    }
}

/// How many steps this program knows.
pub(super) fn known(kind: Kind) -> i64 {
    i64::try_from(steps(kind).len()).unwrap_or(i64::MAX)
}

/// Whether the database is of a version that this program knows, or was upgraded from one.
pub(super) fn knows(connection: &Connection, kind: Kind) -> Result<(), DbError> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let (found, known) = (number("PRAGMA user_version")?, known(kind));
    if found <= known {
        return Ok(());
    }
    match number("PRAGMA application_id")? {
        from if (1..=known).contains(&from) => Ok(()),
        _ => Err(DbError::Newer { found, known }),
    }
}

/// Whether a newer program has upgraded the state at `path`.
pub(super) fn is_newer(path: &std::path::Path) -> Result<bool, DbError> {
    let connection = super::open::reader(path)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(found > known(Kind::State))
}

/// Brings the database to this program's version in one transaction. One that the next release has upgraded, and that
/// is open here because the upgrade was undone, stays as it is.
pub(super) fn migrate(connection: &mut Connection, kind: Kind) -> Result<(), DbError> {
    knows(connection, kind)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known(kind) {
        return Ok(());
    }
    migrate_to(connection, kind, known(kind))
}

/// Brings the database to the version `until`, should it be older.
pub(super) fn migrate_to(
    connection: &mut Connection,
    kind: Kind,
    until: i64,
) -> Result<(), DbError> {
    let steps = steps(kind);
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = known(kind);
    if until <= found {
        return knows(connection, kind);
    }
    let newest = found.max(until);
    if newest > known {
        return Err(DbError::Newer {
            found: newest,
            known,
        });
    }
    let done = usize::try_from(found).unwrap_or(0);
    let wanted = usize::try_from(until).unwrap_or(0);
    // All of them or none: halfway there it would be told that it came from there.
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", found)?;
    for step in steps.iter().take(wanted).skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", until)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every earlier version, reached by the first n steps, is brought to the newest.
    #[test]
    fn migrates_from_every_earlier_version() {
        for kind in [Kind::State, Kind::Metrics] {
            let all = steps(kind);
            for start in 0..=all.len() {
                let mut connection = Connection::open_in_memory().unwrap();
                for step in &all[..start] {
                    connection.execute_batch(step).unwrap();
                }
                connection
                    .pragma_update(None, "user_version", i64::try_from(start).unwrap())
                    .unwrap();
                migrate(&mut connection, kind).unwrap();
                let version: i64 = connection
                    .query_row("PRAGMA user_version", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(usize::try_from(version).unwrap(), all.len());
            }
        }
    }

    /// An upgrade that is undone: the release before opens what it left, and none before that.
    #[test]
    fn n4_the_release_before_opens_what_an_upgrade_left() {
        let known = known(Kind::State);
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_to(&mut connection, Kind::State, known - 1).unwrap();
        migrate(&mut connection, Kind::State).unwrap();
        let from = |c: &Connection| {
            c.query_row("PRAGMA application_id", [], |r| r.get::<_, i64>(0))
                .unwrap()
        };
        assert_eq!(from(&connection), known - 1);
        let upgraded = |connection: &Connection, from: i64| {
            connection
                .pragma_update(None, "user_version", known + 2)
                .unwrap();
            connection
                .pragma_update(None, "application_id", from)
                .unwrap();
        };
        upgraded(&connection, known);
        migrate(&mut connection, Kind::State).unwrap();
        upgraded(&connection, known + 1);
        let refused = migrate(&mut connection, Kind::State);
        assert!(matches!(refused, Err(DbError::Newer { .. })));
        // A new one was upgraded from nothing.
        upgraded(&connection, 0);
        assert!(migrate(&mut connection, Kind::State).is_err());
    }

    /// Links of those who are gone and of programs end, and so do the secrets that were kept to be told again.
    #[test]
    fn a2_links_are_given_to_their_makers() {
        let at = STATE.iter().position(|step| step.contains("maker_id"));
        let mut connection = Connection::open_in_memory().unwrap();
        for step in &STATE[..at.unwrap()] {
            connection.execute_batch(step).unwrap();
        }
        let before = i64::try_from(at.unwrap()).unwrap();
        connection
            .pragma_update(None, "user_version", before)
            .unwrap();
        connection
            .execute_batch(
                "INSERT INTO users (id, name, role, password_hash, created_ms) VALUES (3, 'uid', 'admin', 'x', 1);
                 INSERT INTO setup_links (digest, created_ms, expires_ms, user_name, made_by) VALUES
                   ('a', 1, 2, 'a', 'uid'), ('b', 1, 2, 'b', 'uid 0 on the box'), ('c', 1, 2, 'c', 'the box'),
                   ('d', 1, 2, 'd', 'gone'), ('e', 1, 2, 'e', 'uid by the token x on the box'), ('f', 1, 2, 'f', '');
                 INSERT INTO replays (caller, key, route, fingerprint, status, answer, created_ms) VALUES
                   ('user 1', 'k', 'POST /api/v1/tokens', '', 201, x'00', 1),
                   ('user 1', 'k', 'POST /api/v1/users/ana/reset', '', 200, x'00', 1),
                   ('user 1', 'k', 'POST /api/v1/apps', '', 201, x'00', 1);",
            )
            .unwrap();
        migrate(&mut connection, Kind::State).unwrap();
        let all = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |r| r.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let links = "SELECT digest || coalesce(maker_id, '') FROM setup_links ORDER BY digest";
        assert_eq!(all(links), ["a3", "b", "c", "f"]);
        let kept = "SELECT route FROM replays WHERE answer IS NOT NULL";
        assert_eq!(all(kept), ["POST /api/v1/apps"]);
        let taken = "SELECT key FROM replays";
        assert_eq!(all(taken).len(), 3);
    }

    /// A pause that an upgrade cut off is its restore's, and the release before finds its own table as it was.
    #[test]
    fn n5_a_pause_that_an_upgrade_cut_off_is_let_go_by_whoever_held_it() {
        let at = STATE
            .iter()
            .position(|step| step.contains("app_pause_owners"));
        let before = i64::try_from(at.unwrap()).unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_to(&mut connection, Kind::State, before).unwrap();
        connection
            .execute_batch(
                "INSERT INTO apps (id, name, created_ms, webhook_secret) VALUES (7, 'a', 1, x'');
                 INSERT INTO app_pauses (app_id, since_ms, until_ms) VALUES (7, 10, 20);
                 INSERT INTO backups (id, database_id, database_name, logical, owner, server_version, expected_bytes,
                    object_key, state, cause, attempt, created_ms, due_ms)
                 VALUES (1, 3, 'main', 'shop', 'shop', 17, 0, 'k', 'stored', 'asked', 1, 1, 1);
                 INSERT INTO restores (id, backup_id, database_id, logical, fresh, kept, state, created_ms)
                 VALUES (4, 1, 3, 'shop', 'f', 'k', 'done', 1), (5, 1, 3, 'shop', 'f', 'k', 'swapping', 1);",
            )
            .unwrap();
        migrate(&mut connection, Kind::State).unwrap();
        let row = connection
            .query_row(
                "SELECT app_id, owner, since_ms, until_ms FROM app_pause_owners",
                [],
                |r| {
                    let owner: String = r.get(1)?;
                    Ok((
                        r.get::<_, i64>(0)?,
                        owner,
                        r.get::<_, i64>(2)?,
                        r.get::<_, i64>(3)?,
                    ))
                },
            )
            .unwrap();
        assert_eq!(row, (7, "restore:5".to_owned(), 10, 20));
        connection
            .execute_batch(
                "INSERT INTO app_pauses (app_id, since_ms, until_ms) VALUES (7, 11, 30)
                 ON CONFLICT (app_id) DO UPDATE SET until_ms = excluded.until_ms",
            )
            .unwrap();
    }

    #[test]
    fn every_table_is_strict() {
        for kind in [Kind::State, Kind::Metrics] {
            let mut connection = Connection::open_in_memory().unwrap();
            migrate(&mut connection, kind).unwrap();
            let loose: i64 = connection
                .query_row(
                    "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0 AND name NOT LIKE 'sqlite_%'",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(loose, 0);
        }
    }

    #[test]
    fn a_newer_database_is_refused_with_a_remedy() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "user_version", 9_999)
            .unwrap();
        let error = migrate(&mut connection, Kind::State).unwrap_err();
        assert!(error.to_string().contains("install the newer Freehold"));
    }
}
