//! What pages, API and routing read.

use std::collections::BTreeMap;

use crate::db::{DbError, Slice};

use super::Deploys;
use super::error::DeployError;
use super::hooks::{self, Delivery};
use super::release;
use super::row::{Deploy, Release, Serving};
use super::state::State;
use super::store;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;

impl Deploys {
    /// What every app serves with; routing builds from it after each commit.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn serving(&self) -> Result<Vec<Serving>, DbError> {
        self.0.db.read(store::all_live).await
    }

    /// What one app serves with.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn live(&self, app: i64) -> Result<Option<Serving>, DbError> {
        self.0.db.read(move |c| store::live(c, app)).await
    }

    /// The processes of an app's live release; none when nothing is live, and any may come.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn processes(&self, app: i64) -> Result<Option<Vec<String>>, DbError> {
        let Some(live) = self.live(app).await? else {
            return Ok(None);
        };
        let release = self.release(live.release_id).await?;
        Ok(release.map(|r| r.settings.processes.into_keys().collect()))
    }

    /// One deploy of `app`.
    ///
    /// # Errors
    /// [`DeployError::NotFound`] when it is not one of this app.
    pub async fn get(&self, app: i64, id: i64) -> Result<Deploy, DeployError> {
        let found = self.0.db.read(move |c| store::by_id(c, id)).await?;
        found
            .filter(|d| d.app == app)
            .ok_or(DeployError::NotFound(id))
    }

    /// The newest deploys, of one app or of all.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list(
        &self,
        app: Option<i64>,
        slice: impl Into<Slice>,
    ) -> Result<Vec<Deploy>, DbError> {
        let slice = slice.into();
        self.0.db.read(move |c| store::newest(c, app, &slice)).await
    }

    /// The newest deploy of every app.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn last_of_each(&self) -> Result<Vec<Deploy>, DbError> {
        self.0.db.read(store::last_of_each).await
    }

    /// The newest deploy of every app that nobody called off: neither cancelled nor superseded.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn last_outcome_of_each(&self) -> Result<Vec<Deploy>, DbError> {
        self.0.db.read(store::last_outcome_of_each).await
    }

    /// The deploys that move their traffic now.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn switching(&self) -> Result<Vec<Deploy>, DbError> {
        let mut open = self.0.db.read(store::unsettled).await?;
        open.retain(|deploy| deploy.state == State::Switching);
        Ok(open)
    }

    /// When a deploy entered each of its states.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn steps(&self, deploy: i64) -> Result<Vec<(State, UnixMs)>, DbError> {
        self.0.db.read(move |c| store::steps(c, deploy)).await
    }

    /// The app's releases, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn releases(&self, app: i64) -> Result<Vec<Release>, DbError> {
        self.0
            .db
            .read(move |c| release::store::of_app(c, app))
            .await
    }

    /// The release in this row, if it is there.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn release(&self, id: i64) -> Result<Option<Release>, DbError> {
        self.0.db.read(move |c| release::store::by_id(c, id)).await
    }

    /// The app's environment when the release was made, its seal opened.
    ///
    /// # Errors
    /// Only the database's, or a seal that does not open.
    pub(super) async fn release_env(
        &self,
        release: &Release,
    ) -> Result<BTreeMap<String, Secret>, DbError> {
        let (key, release) = (self.0.key.clone(), release.clone());
        self.0
            .db
            .read(move |c| release::store::env(c, &key, &release))
            .await
    }

    /// What git hosts told us about the app, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn deliveries(&self, app: i64) -> Result<Vec<Delivery>, DbError> {
        self.0.db.read(move |c| hooks::store::newest(c, app)).await
    }
}
