//! What the installation knows of itself: small named values.

use rusqlite::{OptionalExtension, params};

use super::{Db, DbError};
use crate::base::ids::InstallationId;
use crate::base::secret::random_id;

impl Db {
    /// This installation's id, made at the first start. Every engine object of
    /// ours carries it.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn installation(&self) -> Result<InstallationId, DbError> {
        let fresh = random_id(12)?;
        let id: String = self
            .write(move |tx| {
                tx.execute(
                    "INSERT INTO meta (key, value) VALUES ('installation', ?1) ON CONFLICT DO NOTHING",
                    [&fresh],
                )?;
                Ok::<_, DbError>(tx.query_row(
                    "SELECT value FROM meta WHERE key = 'installation'",
                    [],
                    |row| row.get(0),
                )?)
            })
            .await?;
        InstallationId::parse(&id).map_err(|e| DbError::Unreadable(e.to_string()))
    }

    /// The value of `key`, if one was set.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn meta(&self, key: &'static str) -> Result<Option<String>, DbError> {
        self.read(move |c| {
            Ok(
                c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                    row.get(0)
                })
                .optional()?,
            )
        })
        .await
    }

    /// Sets `key`.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn set_meta(&self, key: &'static str, value: String) -> Result<(), DbError> {
        self.write(move |tx| {
            tx.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![key, value],
            )?;
            Ok(())
        })
        .await
    }
}
