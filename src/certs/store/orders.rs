//! Accounts, orders and the challenges that port 80 answers.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::base::clock::UnixMs;
use crate::certs::state::OrderState;
use crate::db::DbError;

/// Ended orders kept a name, for whoever looks for what happened.
const KEPT: u32 = 10;

/// A row of `acme_accounts`.
pub(in crate::certs) struct AccountRow {
    pub(in crate::certs) key_sealed: Vec<u8>,
    pub(in crate::certs) url: Option<String>,
    pub(in crate::certs) contact: Option<String>,
}

/// A row of `certificate_orders`.
#[derive(Clone, Debug)]
pub(in crate::certs) struct OrderRow {
    pub(in crate::certs) id: i64,
    pub(in crate::certs) host: String,
    pub(in crate::certs) directory: String,
    pub(in crate::certs) state: OrderState,
    pub(in crate::certs) key_sealed: Vec<u8>,
    pub(in crate::certs) csr: Vec<u8>,
    pub(in crate::certs) url: Option<String>,
    pub(in crate::certs) created: UnixMs,
}

pub(in crate::certs) fn account(
    connection: &Connection,
    directory: &str,
) -> Result<Option<AccountRow>, DbError> {
    Ok(connection
        .query_row(
            "SELECT key_sealed, url, contact FROM acme_accounts WHERE directory = ?1",
            [directory],
            |r| {
                Ok(AccountRow {
                    key_sealed: r.get(0)?,
                    url: r.get(1)?,
                    contact: r.get(2)?,
                })
            },
        )
        .optional()?)
}

/// Keeps the first key for a directory; one that is there stays.
pub(in crate::certs) fn keep_account(
    tx: &Transaction<'_>,
    directory: &str,
    key_sealed: &[u8],
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT OR IGNORE INTO acme_accounts (directory, key_sealed, created_ms) VALUES (?1, ?2, ?3)",
        params![directory, key_sealed, now.0],
    )?;
    Ok(())
}

/// Writes where the server keeps the account (`None`: it no longer does) and whom it may write to.
pub(in crate::certs) fn account_known(
    tx: &Transaction<'_>,
    directory: &str,
    url: Option<&str>,
    contact: Option<&str>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE acme_accounts SET url = ?2, contact = ?3 WHERE directory = ?1",
        params![directory, url, contact],
    )?;
    Ok(())
}

const ORDER: &str =
    "SELECT id, host, directory, state, key_sealed, csr, url, created_ms FROM certificate_orders
     WHERE state NOT IN ('issued', 'failed')";

/// The order of `host` that is not over; there is at most one.
pub(in crate::certs) fn open(
    connection: &Connection,
    host: &str,
) -> Result<Option<OrderRow>, DbError> {
    Ok(connection
        .query_row(
            &format!("{ORDER} AND host = ?1 ORDER BY id DESC LIMIT 1"),
            [host],
            order_of,
        )
        .optional()?)
}

pub(in crate::certs) fn all_open(connection: &Connection) -> Result<Vec<OrderRow>, DbError> {
    let mut statement = connection.prepare_cached(ORDER)?;
    let rows = statement.query_map([], order_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn order_of(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    let state: String = row.get(3)?;
    Ok(OrderRow {
        id: row.get(0)?,
        host: row.get(1)?,
        directory: row.get(2)?,
        state: OrderState::parse(&state).unwrap_or(OrderState::Prepared),
        key_sealed: row.get(4)?,
        csr: row.get(5)?,
        url: row.get(6)?,
        created: UnixMs(row.get(7)?),
    })
}

/// Writes a new order, its key and request with it, in the state `Prepared`.
pub(in crate::certs) fn prepare(
    tx: &Transaction<'_>,
    host: &str,
    directory: &str,
    key_sealed: &[u8],
    csr: &[u8],
    now: UnixMs,
) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO certificate_orders (host, directory, state, key_sealed, csr, created_ms, updated_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        params![
            host,
            directory,
            OrderState::Prepared.as_str(),
            key_sealed,
            csr,
            now.0
        ],
    )?;
    Ok(tx.last_insert_rowid())
}

/// Moves an order on. Its challenges go when it is over.
pub(in crate::certs) fn enter(
    tx: &Transaction<'_>,
    id: i64,
    state: OrderState,
    error: Option<&str>,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificate_orders SET state = ?2, error = ?3, updated_ms = ?4 WHERE id = ?1",
        params![id, state.as_str(), error, now.0],
    )?;
    if state.is_over() {
        tx.execute(
            "DELETE FROM certificate_challenges WHERE order_id = ?1",
            [id],
        )?;
        tx.execute(
            "DELETE FROM certificate_orders WHERE state IN ('issued', 'failed') AND id NOT IN
                 (SELECT o.id FROM certificate_orders o JOIN certificate_orders this ON this.id = ?1
                  WHERE o.host = this.host ORDER BY o.id DESC LIMIT ?2)
             AND host = (SELECT host FROM certificate_orders WHERE id = ?1)",
            params![id, KEPT],
        )?;
    }
    Ok(())
}

pub(in crate::certs) fn at(tx: &Transaction<'_>, id: i64, url: &str) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificate_orders SET url = ?2 WHERE id = ?1",
        params![id, url],
    )?;
    Ok(())
}

/// Ends the open orders of `host` with a reason.
pub(in crate::certs) fn give_up_open(
    tx: &Transaction<'_>,
    host: &str,
    why: &str,
    now: UnixMs,
) -> Result<(), DbError> {
    while let Some(order) = open(tx, host)? {
        enter(tx, order.id, OrderState::Failed, Some(why), now)?;
    }
    Ok(())
}

/// Token and answer of every open challenge.
pub(in crate::certs) fn challenges(
    connection: &Connection,
) -> Result<Vec<(String, String)>, DbError> {
    let mut statement =
        connection.prepare_cached("SELECT token, answer FROM certificate_challenges")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(in crate::certs) fn keep_challenge(
    tx: &Transaction<'_>,
    order: i64,
    token: &str,
    answer: &str,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT OR REPLACE INTO certificate_challenges (token, answer, order_id) VALUES (?1, ?2, ?3)",
        params![token, answer, order],
    )?;
    Ok(())
}
