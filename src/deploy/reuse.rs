//! A commit that is deployed again, and whose image is still here, is not built again.
//!
//! A build takes nothing but the commit's tree and what its Dockerfile names: freehold.toml with the Dockerfile's name
//! and the static folder is part of it, and there are neither build arguments, nor a target, nor any of the app's
//! environment (`build.rs`; a test holds it). What may differ is what lies outside of it, such as a base image that
//! moved: then `freehold deploy --rebuild`. The release is a new one all the same, with the environment of now.

use super::Deploys;
use super::error::Stop;
use super::image_name::goes_by;
use super::release::store;
use super::row::Release;
use super::run::{Next, Work, with_settings_of_now};
use super::state::State;
use super::static_folder::Files;
use crate::git::CommitId;

impl Deploys {
    /// Straight to the release command with the image that is kept of `commit`, if one is.
    pub(super) async fn reuse(
        &self,
        work: &Work<'_>,
        commit: &CommitId,
    ) -> Result<Option<Next>, Stop> {
        let (app, wanted) = (work.facts.id, commit.as_str().to_owned());
        let found = self
            .0
            .db
            .read(move |c| store::of_commit(c, app, &wanted))
            .await?;
        let Some(kept) = found.filter(|release| !release.unreadable) else {
            return Ok(None);
        };
        if !self.is_there(&kept).await {
            work.log.line(&format!(
                "The image of v{} is not on this box any more, so {} is built again.",
                kept.number,
                commit.short()
            ));
            return Ok(None);
        }
        work.log.line(&format!(
            "The image of v{} is of commit {} already, so nothing is built (`--rebuild` builds it again).",
            kept.number,
            commit.short()
        ));
        let mut next = with_settings_of_now(work, kept);
        next.to = State::Releasing;
        if let Some(new) = &next.release {
            next.change.commit.clone_from(&new.commit);
            next.change.title.clone_from(&new.title);
        }
        Ok(Some(next))
    }

    /// Whether what a release was made of is here as it was, under the name that keeps it here.
    async fn is_there(&self, release: &Release) -> bool {
        if let Some(files) = Files::parse(&release.image) {
            return self.check_files(files, release.number).await.is_ok();
        }
        let image = self.0.ports.images.inspect(&release.image).await;
        image.is_ok_and(|image| goes_by(&image.tags, &release.image_tag))
    }
}
