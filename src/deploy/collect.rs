//! Clean-up after every deploy, failed ones too: images that rollback does not
//! need, build cache beyond its budget, trees, old logs, and what fetches piled up.
//!
//! Only what carries this installation's label or tag is touched, and of the
//! build cache what our own builds put there. Failing here
//! never fails a deploy; the next one tries again.

use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::docker::{EngineError, Image};
use crate::supervise::State as Container;

use super::Deploys;
use super::create::remove_file;
use super::ports::AppFacts;
use super::release::{self, Mark};
use super::row::{Deploy, Release};
use super::source::Source;
use super::state::State;
use super::static_folder::Files;
use super::store;

/// Deploys an app keeps with their logs.
const DEPLOYS_KEPT: u32 = 50;
/// How often an image in use is tried to be removed.
const TRIES: u32 = 10;
/// Between two tries.
const BETWEEN: Duration = Duration::from_millis(500);

impl Deploys {
    pub(super) async fn collect(&self, facts: &AppFacts, deploy: i64) {
        self.collect_files(facts.id, deploy).await;
        if let Err(why) = self.collect_images(facts).await {
            tracing::warn!(app = facts.name, why, "images could not be collected");
        }
        match self.collect_cache(self.0.limits().cache_bytes).await {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(freed_mb = bytes >> 20, "build cache was collected"),
            Err(why) => tracing::warn!(why, "build cache could not be collected"),
        }
    }

    async fn collect_files(&self, app: i64, deploy: i64) {
        remove_file(&self.tree(deploy));
        remove_file(&self.folder().join(format!("{deploy}.trimmed.tar")));
        let found = self.0.db.read(move |c| store::by_id(c, deploy)).await;
        match found {
            Ok(Some(Deploy {
                source: Source::Upload { file, .. },
                ..
            })) => remove_file(&self.folder().join(file)),
            Ok(Some(Deploy {
                source: Source::Git { .. },
                ..
            })) => self.tidy_repo(app).await,
            _ => {}
        }
        let trimmed = self
            .0
            .db
            .write(move |tx| store::trim(tx, app, DEPLOYS_KEPT))
            .await;
        match trimmed {
            Ok(gone) => gone.into_iter().for_each(|id| self.0.logs.remove(id)),
            Err(error) => tracing::warn!(%error, "old deploys could not be trimmed"),
        }
    }

    /// The app's jobs run one after another, so nothing fetches meanwhile.
    async fn tidy_repo(&self, app: i64) {
        match self.0.git().tidy(&self.repo(app)).await {
            Ok(true) => tracing::info!(app, "the app's repository was packed anew"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, app, "the app's repository could not be packed anew");
            }
        }
    }

    /// The numbers of releases that containers of the app are of.
    fn releases_running(&self, app: i64) -> Vec<i64> {
        let owner = super::plan::owner(app);
        let live = self.0.ports.containers.live();
        let all = live.borrow().clone();
        // One on its way out is gone before its image is given up on.
        let own = all
            .iter()
            .filter(|l| l.owner == owner && l.state != Container::Retiring);
        own.filter_map(|l| l.release).collect()
    }

    async fn collect_images(&self, facts: &AppFacts) -> Result<(), String> {
        let told = |e: crate::db::DbError| e.to_string();
        // What the state has forgotten may be what serves.
        if !self.0.db.recoveries().await.map_err(told)?.is_empty() {
            return Ok(());
        }
        let app = facts.id;
        let all = self.releases(app).await.map_err(told)?;
        let live = self.live(app).await.map_err(told)?;
        let recent = self.list(Some(app), DEPLOYS_KEPT).await.map_err(told)?;
        let mut needed: Vec<i64> = live.iter().map(|l| l.release_id).collect();
        needed.extend(needed_by(&recent));
        // Others than these two may drain still.
        let running = self.releases_running(app);
        needed.extend(
            all.iter()
                .filter(|r| running.contains(&r.number))
                .map(|r| r.id),
        );
        let marks: Vec<Mark> = all.iter().map(Mark::from).collect();
        let gone = release::to_collect(&marks, &needed, self.0.limits().releases_kept);
        let stays: Vec<&Release> = all
            .iter()
            .filter(|r| r.gone.is_none() && !gone.contains(&r.id))
            .collect();
        for release in all.iter().filter(|r| gone.contains(&r.id)) {
            // A settings release shares the image of another.
            let shared = stays.iter().any(|s| s.image_tag == release.image_tag);
            // A folder goes when no release says it is there any more: one cut off half way is none to go back to.
            if !shared && Files::parse(&release.image_tag).is_none() {
                self.remove_image(&release.image_tag).await?;
            }
            let (id, now) = (release.id, UnixMs::now());
            let marked = self
                .0
                .db
                .write(move |tx| release::store::mark_gone(tx, id, now))
                .await;
            marked.map_err(told)?;
        }
        let unsettled = recent.iter().filter(|d| !d.state.is_settled());
        let kept: Vec<i64> = stays
            .iter()
            .filter_map(|r| Files::parse(&r.image_tag).map(|files| files.deploy))
            .chain(unsettled.map(|d| d.id))
            .collect();
        self.remove_folders_but(app, &kept)?;
        // What failed builds left: our label, and no release has its tag.
        let labels = [
            format!("freehold.installation={}", self.0.installation.as_str()),
            format!("freehold.owner={}", super::plan::owner(app)),
        ];
        let images = self.0.ports.images.list(&labels).await;
        let building: Vec<String> = recent
            .iter()
            .filter(|d| !d.state.is_settled())
            .map(|d| self.tag(&facts.name, d.id))
            .collect();
        let keep: Vec<&str> = stays
            .iter()
            .map(|r| r.image_tag.as_str())
            .chain(building.iter().map(String::as_str))
            .collect();
        for reference in left_over(&images.map_err(|e| e.to_string())?, &keep) {
            self.remove_image(&reference).await?;
        }
        Ok(())
    }

    /// Removes one reference, or the files in its place. Its last container may still be on its way out; an image that
    /// stays in use goes another time.
    pub(super) async fn remove_image(&self, reference: &str) -> Result<(), String> {
        if let Some(files) = Files::parse(reference) {
            return self.remove_files(&files);
        }
        for _ in 0..TRIES {
            match self.0.ports.images.remove(reference).await {
                Ok(()) => return Ok(()),
                Err(EngineError::Conflict { .. }) => tokio::time::sleep(BETWEEN).await,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

/// Releases that work under way may still come back to.
fn needed_by(recent: &[Deploy]) -> Vec<i64> {
    recent
        .iter()
        .filter(|d| !d.state.is_final())
        .flat_map(|d| {
            let own = d.release.map(|(id, _)| id);
            let queued = match &d.source {
                Source::Release { id, .. } => Some(*id),
                _ => None,
            };
            let back = d.returns_to.filter(|_| d.state != State::Queued);
            [own, queued, back]
        })
        .flatten()
        .collect()
}

/// References of labelled images that no kept tag holds.
fn left_over(images: &[Image], keep: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for image in images {
        if image.tags.is_empty() {
            all.push(image.id.clone());
        }
        for tag in &image.tags {
            if !keep.contains(&tag.as_str()) && tag.starts_with("fh-") {
                all.push(tag.clone());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f9_only_our_own_tags_that_no_release_holds_are_removed() {
        let image = |id: &str, tags: &[&str]| Image {
            id: id.into(),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            labels: Default::default(),
            size: 0,
            created_ms: 0,
            exposed_ports: Vec::new(),
            command: Vec::new(),
        };
        let images = [
            image("sha256:a", &["fh-x/tasks:d1", "mine:latest"]),
            image("sha256:b", &["fh-x/tasks:d2"]),
            image("sha256:c", &[]),
        ];
        assert_eq!(
            left_over(&images, &["fh-x/tasks:d2"]),
            ["fh-x/tasks:d1", "sha256:c"]
        );
    }
}
