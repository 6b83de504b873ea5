//! The tables `apps`, `app_env`, `app_scale` and `routes`.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::base::clock::UnixMs;
use crate::base::ids::{AppName, HostName, ProcessName};
use crate::base::policies::Policies;
use crate::base::secret::{MasterKey, Secret, sha256_hex};
use crate::db::DbError;
use crate::git::{Branch, Credentials, GitUrl, Remote};

use super::app::{App, GitSource, NewApp, RegistryLogin, SourceChange};
use super::domain::{Domain, Route};
use super::error::AppError;
use super::scale::Scale;

const APP: &str = "SELECT id, name, created_ms, git_url, git_branch,
    git_token IS NOT NULL OR git_key IS NOT NULL, registry_host, registry_user, maintenance, removing,
    git_token, git_key, registry_password, webhook_secret, maintenance_until_ms
    FROM apps";

fn app(row: &Row<'_>) -> rusqlite::Result<(App, String)> {
    let name: String = row.get(1)?;
    let app = App {
        id: row.get(0)?,
        name: AppName::parse(&name).map_err(|e| unreadable(1, e.0))?,
        created: UnixMs(row.get(2)?),
        git_url: row.get(3)?,
        branch: row.get(4)?,
        has_git_credentials: row.get(5)?,
        registry_host: row.get(6)?,
        registry_user: row.get(7)?,
        credentials_mark: mark([row.get(10)?, row.get(11)?, row.get(12)?]),
        webhook_mark: mark([row.get(13)?]).unwrap_or_default(),
        maintenance: row.get(8)?,
        maintenance_until: row.get::<_, Option<i64>>(14)?.map(UnixMs),
        removing: row.get(9)?,
    };
    Ok((app, name))
}

/// Tells sealed values from others. Each sealing has a nonce of its own, so the same value given again is told, too.
fn mark<const N: usize>(sealed: [Option<Vec<u8>>; N]) -> Option<String> {
    sealed.iter().any(Option::is_some).then(|| {
        let each = sealed.map(|value| value.map(|bytes| sha256_hex(&bytes)).unwrap_or_default());
        sha256_hex(each.join(" ").as_bytes())
            .chars()
            .take(16)
            .collect()
    })
}

fn unreadable(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}

pub(super) fn all(c: &Connection) -> Result<Vec<App>, DbError> {
    let mut statement = c.prepare_cached(&format!("{APP} ORDER BY name"))?;
    let rows = statement.query_map([], app)?;
    Ok(rows
        .map(|r| r.map(|(app, _)| app))
        .collect::<Result<_, _>>()?)
}

pub(super) fn by_id(c: &Connection, id: i64) -> Result<Option<App>, DbError> {
    let mut statement = c.prepare_cached(&format!("{APP} WHERE id = ?1"))?;
    Ok(statement.query_row([id], app).optional()?.map(|(a, _)| a))
}

pub(super) fn by_name(c: &Connection, name: &AppName) -> Result<Option<App>, DbError> {
    let mut statement = c.prepare_cached(&format!("{APP} WHERE name = ?1"))?;
    let found = statement.query_row([name.as_str()], app).optional()?;
    Ok(found.map(|(a, _)| a))
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    key: &MasterKey,
    new: &NewApp,
    webhook_secret: &Secret,
    now: UnixMs,
) -> Result<i64, AppError> {
    if by_name(tx, &new.name)?.is_some() {
        return Err(AppError::NameTaken(new.name.to_string()));
    }
    tx.execute(
        "INSERT INTO apps (name, created_ms, webhook_secret) VALUES (?1, ?2, x'')",
        params![new.name.as_str(), now.0],
    )?;
    let id = tx.last_insert_rowid();
    set_webhook_secret(tx, key, id, webhook_secret)?;
    change_source(tx, key, id, &new.source)?;
    Ok(id)
}

pub(super) fn set_webhook_secret(
    tx: &Transaction<'_>,
    key: &MasterKey,
    id: i64,
    secret: &Secret,
) -> Result<(), DbError> {
    let sealed = key.seal_text(&context(id, "webhook_secret"), secret)?;
    tx.execute(
        "UPDATE apps SET webhook_secret = ?2 WHERE id = ?1",
        params![id, sealed],
    )?;
    Ok(())
}

fn context(app: i64, what: &str) -> String {
    format!("app:{app}:{what}")
}

pub(super) fn change_source(
    tx: &Transaction<'_>,
    key: &MasterKey,
    id: i64,
    change: &SourceChange,
) -> Result<(), DbError> {
    if let Some(url) = &change.git_url {
        let before: Option<String> =
            tx.query_row("SELECT git_url FROM apps WHERE id = ?1", [id], |r| r.get(0))?;
        // A token is for the host it was given for; whoever points the app elsewhere gives another.
        if before.is_some_and(|before| !url.is_on_the_host_of(&before)) {
            tx.execute("UPDATE apps SET git_token = NULL WHERE id = ?1", [id])?;
        }
        tx.execute(
            "UPDATE apps SET git_url = ?2 WHERE id = ?1",
            params![id, url.as_str()],
        )?;
    }
    if let Some(branch) = &change.branch {
        tx.execute(
            "UPDATE apps SET git_branch = ?2 WHERE id = ?1",
            params![id, branch.as_str()],
        )?;
    }
    let seal = |what: &str, secret: &Secret| -> Result<Option<Vec<u8>>, DbError> {
        Ok(match secret.expose() {
            "" => None,
            _ => Some(key.seal_text(&context(id, what), secret)?),
        })
    };
    if let Some(token) = &change.git_token {
        tx.execute(
            "UPDATE apps SET git_token = ?2 WHERE id = ?1",
            params![id, seal("git_token", token)?],
        )?;
    }
    if let Some(private) = &change.git_key {
        tx.execute(
            "UPDATE apps SET git_key = ?2 WHERE id = ?1",
            params![id, seal("git_key", private)?],
        )?;
    }
    if let Some(login) = &change.registry {
        let user = Some(&login.user).filter(|u| !u.is_empty());
        let password = match user {
            Some(_) => seal("registry_password", &login.password)?,
            None => None,
        };
        tx.execute(
            "UPDATE apps SET registry_host = ?2, registry_user = ?3, registry_password = ?4
             WHERE id = ?1",
            params![id, user.map(|_| &login.host), user, password],
        )?;
    }
    Ok(())
}

pub(super) fn git_source(
    c: &Connection,
    key: &MasterKey,
    id: i64,
) -> Result<Option<GitSource>, DbError> {
    type Columns = (Option<String>, String, Option<Vec<u8>>, Option<Vec<u8>>);
    let row: Option<Columns> = c
        .query_row(
            "SELECT git_url, git_branch, git_token, git_key FROM apps WHERE id = ?1",
            [id],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
        )
        .optional()?;
    let Some((Some(url), branch, token, private)) = row else {
        return Ok(None);
    };
    let odd = |e: crate::git::InvalidGit| DbError::Unreadable(e.0);
    let url = GitUrl::parse(&url).map_err(odd)?;
    let open = |what: &str, sealed: Vec<u8>| key.open_text(&context(id, what), &sealed);
    let credentials = match (url.is_https(), token, private) {
        (true, Some(sealed), _) => Credentials::Token(open("git_token", sealed)?),
        (false, _, Some(sealed)) => Credentials::Key(open("git_key", sealed)?),
        _ => Credentials::None,
    };
    Ok(Some(GitSource {
        remote: Remote { url, credentials },
        branch: Branch::parse(&branch).map_err(odd)?,
    }))
}

pub(super) fn registry(
    c: &Connection,
    key: &MasterKey,
    id: i64,
) -> Result<Option<RegistryLogin>, DbError> {
    type Columns = (Option<String>, Option<String>, Option<Vec<u8>>);
    let row: Option<Columns> = c
        .query_row(
            "SELECT registry_host, registry_user, registry_password FROM apps WHERE id = ?1",
            [id],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )
        .optional()?;
    let Some((Some(host), Some(user), Some(sealed))) = row else {
        return Ok(None);
    };
    let password = key.open_text(&context(id, "registry_password"), &sealed)?;
    Ok(Some(RegistryLogin {
        host,
        user,
        password,
    }))
}

pub(super) fn webhook_secret(c: &Connection, key: &MasterKey, id: i64) -> Result<Secret, DbError> {
    let sealed: Vec<u8> =
        c.query_row("SELECT webhook_secret FROM apps WHERE id = ?1", [id], |r| {
            r.get(0)
        })?;
    Ok(key.open_text(&context(id, "webhook_secret"), &sealed)?)
}

fn env_context(app: i64, name: &str) -> String {
    format!("app_env:{app}:{name}")
}

pub(super) fn env(
    c: &Connection,
    key: &MasterKey,
    id: i64,
) -> Result<BTreeMap<String, Secret>, DbError> {
    let mut statement = c.prepare_cached("SELECT name, value FROM app_env WHERE app_id = ?1")?;
    let rows = statement.query_map([id], |r| {
        Ok((r.get::<_, String>(0)?, r.get::<_, Vec<u8>>(1)?))
    })?;
    let mut all = BTreeMap::new();
    for row in rows {
        let (name, sealed) = row?;
        let value = key.open_text(&env_context(id, &name), &sealed)?;
        all.insert(name, value);
    }
    Ok(all)
}

pub(super) fn env_names(c: &Connection, id: i64) -> Result<Vec<(String, UnixMs)>, DbError> {
    let mut statement =
        c.prepare_cached("SELECT name, set_ms FROM app_env WHERE app_id = ?1 ORDER BY name")?;
    let rows = statement.query_map([id], |r| Ok((r.get(0)?, UnixMs(r.get(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_env(
    tx: &Transaction<'_>,
    key: &MasterKey,
    id: i64,
    name: &str,
    value: &Secret,
    now: UnixMs,
) -> Result<(), DbError> {
    let sealed = key.seal_text(&env_context(id, name), value)?;
    tx.execute(
        "INSERT INTO app_env (app_id, name, value, set_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (app_id, name) DO UPDATE SET value = excluded.value, set_ms = excluded.set_ms",
        params![id, name, sealed, now.0],
    )?;
    Ok(())
}

pub(super) fn unset_env(tx: &Transaction<'_>, id: i64, name: &str) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM app_env WHERE app_id = ?1 AND name = ?2",
        params![id, name],
    )?;
    Ok(())
}

pub(super) fn route_owner(
    c: &Connection,
    domain: &Domain,
) -> Result<Option<(i64, String)>, DbError> {
    Ok(c.query_row(
        "SELECT apps.id, apps.name FROM routes JOIN apps ON apps.id = app_id
         WHERE host = ?1 AND path = ?2",
        params![domain.host.as_str(), domain.path],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )
    .optional()?)
}

/// The other apps that answer on this host, by name.
pub(super) fn others_on_host(
    c: &Connection,
    id: i64,
    host: &HostName,
) -> Result<Vec<String>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT DISTINCT apps.name FROM routes JOIN apps ON apps.id = app_id
         WHERE host = ?1 AND app_id <> ?2 ORDER BY apps.name",
    )?;
    let rows = statement.query_map(params![host.as_str(), id], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn insert_route(
    tx: &Transaction<'_>,
    id: i64,
    domain: &Domain,
    process: &ProcessName,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO routes (app_id, host, path, process, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            id,
            domain.host.as_str(),
            domain.path,
            process.as_str(),
            now.0
        ],
    )?;
    Ok(())
}

pub(super) fn set_route_process(
    tx: &Transaction<'_>,
    domain: &Domain,
    process: &ProcessName,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE routes SET process = ?3 WHERE host = ?1 AND path = ?2",
        params![domain.host.as_str(), domain.path, process.as_str()],
    )?;
    Ok(())
}

pub(super) fn delete_route(
    tx: &Transaction<'_>,
    id: i64,
    domain: &Domain,
) -> Result<bool, DbError> {
    let gone = tx.execute(
        "DELETE FROM routes WHERE app_id = ?1 AND host = ?2 AND path = ?3",
        params![id, domain.host.as_str(), domain.path],
    )?;
    Ok(gone > 0)
}

pub(super) fn routes(c: &Connection, app: Option<i64>) -> Result<Vec<Route>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT id, app_id, host, path, process, created_ms, policies FROM routes
         WHERE ?1 IS NULL OR app_id = ?1 ORDER BY host, path",
    )?;
    let rows = statement.query_map([app], |r| {
        let host: String = r.get(2)?;
        Ok(Route {
            id: r.get(0)?,
            app: r.get(1)?,
            domain: Domain {
                host: HostName::parse(&host).map_err(|e| unreadable(2, e.0))?,
                path: r.get(3)?,
            },
            process: r.get(4)?,
            created: UnixMs(r.get(5)?),
            policies: serde_json::from_str(&r.get::<_, String>(6)?).ok(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_route_policies(
    tx: &Transaction<'_>,
    route: i64,
    policies: &Policies,
) -> Result<(), DbError> {
    let text = serde_json::to_string(policies).map_err(|e| DbError::Unreadable(e.to_string()))?;
    tx.execute(
        "UPDATE routes SET policies = ?2 WHERE id = ?1",
        params![route, text],
    )?;
    Ok(())
}

/// On until then, or off; whether that is anything new.
pub(super) fn set_maintenance(
    tx: &Transaction<'_>,
    id: i64,
    until: Option<UnixMs>,
) -> Result<bool, DbError> {
    let changed = tx.execute(
        "UPDATE apps SET maintenance = ?2 IS NOT NULL, maintenance_until_ms = ?2
         WHERE id = ?1 AND (maintenance = 1 OR ?2 IS NOT NULL)",
        params![id, until.map(|at| at.0)],
    )?;
    Ok(changed > 0)
}

/// Switches maintenance off whose time is over; gives the apps.
pub(super) fn end_maintenance(tx: &Transaction<'_>, now: UnixMs) -> Result<Vec<i64>, DbError> {
    let mut statement = tx.prepare_cached(
        "UPDATE apps SET maintenance = 0, maintenance_until_ms = NULL
         WHERE maintenance = 1 AND maintenance_until_ms <= ?1 RETURNING id",
    )?;
    let rows = statement.query_map([now.0], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn scale(c: &Connection, id: i64) -> Result<BTreeMap<String, Scale>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT process, min, max, memory_bytes, nano_cpus FROM app_scale WHERE app_id = ?1",
    )?;
    let rows = statement.query_map([id], |r| {
        let scale = Scale {
            min: r.get(1)?,
            max: r.get(2)?,
            memory_bytes: r
                .get::<_, Option<i64>>(3)?
                .and_then(|n| u64::try_from(n).ok()),
            nano_cpus: r
                .get::<_, Option<i64>>(4)?
                .and_then(|n| u64::try_from(n).ok()),
        };
        Ok((r.get(0)?, scale))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_scale(
    tx: &Transaction<'_>,
    id: i64,
    process: &ProcessName,
    change: &Scale,
) -> Result<(), DbError> {
    let signed = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    tx.execute(
        "INSERT INTO app_scale (app_id, process, min, max, memory_bytes, nano_cpus)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (app_id, process) DO UPDATE SET
            min = coalesce(excluded.min, min), max = coalesce(excluded.max, max),
            memory_bytes = coalesce(excluded.memory_bytes, memory_bytes),
            nano_cpus = coalesce(excluded.nano_cpus, nano_cpus)",
        params![
            id,
            process.as_str(),
            change.min,
            change.max,
            signed(change.memory_bytes),
            signed(change.nano_cpus)
        ],
    )?;
    Ok(())
}

/// Marks it, takes its routes, and takes back its deploys that have not switched: whoever cancels them right after may
/// never come to it.
pub(super) fn begin_removal(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("UPDATE apps SET removing = 1 WHERE id = ?1", [id])?;
    tx.execute("DELETE FROM routes WHERE app_id = ?1", [id])?;
    tx.execute(
        "UPDATE deploys SET cancel = 1 WHERE app_id = ?1 AND state IN
            ('queued', 'fetching', 'building', 'releasing', 'starting', 'checking')",
        [id],
    )?;
    Ok(())
}

pub(super) fn delete(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM app_live WHERE app_id = ?1", [id])?;
    tx.execute("DELETE FROM apps WHERE id = ?1", [id])?;
    Ok(())
}
