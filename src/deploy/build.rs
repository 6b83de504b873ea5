//! Building: the tree becomes an image, one build at a time, with caps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::clock::UnixMs;
use crate::base::policies::VerifierKey;
use crate::docker::{BuildError, BuildRequest};

use super::Deploys;
use super::context;
use super::create::remove_file;
use super::error::Stop;
use super::fetch::for_engine;
use super::image_name::Own;
use super::places::{LONGEST_WAIT, Place};
use super::room;
use super::row::NewRelease;
use super::run::{Next, Work};
use super::source::{Site, Source};
use super::state::State;
use super::store;

impl Deploys {
    /// `place` is given back as soon as the builder is done.
    pub(super) async fn build(
        &self,
        work: &Work<'_>,
        place: Option<Place<'_>>,
    ) -> Result<Next, Stop> {
        self.enough_disk().await?;
        room::enough_memory(self.0.limits().free_memory)?;
        let tree = match &work.deploy.source {
            Source::Upload { file, .. } => self.folder().join(file),
            _ => self.tree(work.deploy.id),
        };
        if !tree.exists() {
            self.fetch_tree_again(work).await?;
        }
        let trimmed = self
            .folder()
            .join(format!("{}.trimmed.tar", work.deploy.id));
        let (mut settings, notes, context) = look(
            tree.clone(),
            trimmed.clone(),
            self.own_images(&work.facts.name),
            work.deploy.source.site().cloned(),
        )
        .await?;
        settings.take_in(&VerifierKey::of(&self.0.key));
        for note in notes {
            work.log.line(&note);
        }
        if !settings.cron.is_empty() {
            work.log
                .line("freehold.toml has [cron]: this version checks it but does not run it yet.");
        }
        if settings.static_folder.is_some() {
            return self.lay_out(work, tree, settings).await;
        }
        let tag = self.tag(&work.facts.name, work.deploy.id);
        let request = BuildRequest {
            id: self.build_id(work.deploy.id, work.attempt),
            instead_of: (work.attempt > 1).then(|| self.build_id(work.deploy.id, work.attempt - 1)),
            context,
            dockerfile: settings.dockerfile.clone(),
            tag: tag.clone(),
            labels: self.labels(work.facts.id, work.deploy.id),
            args: BTreeMap::new(),
            target: None,
            no_cache: false,
            credentials: work.facts.registry.iter().map(for_engine).collect(),
            memory_bytes: self.0.limits().build_memory.or_else(room::half_of_memory),
            // The engine's scale has 1024 where ours has 100.
            cpu_shares: Some(self.0.limits().build_cpu_weight.saturating_mul(1024) / 100),
            cpus: self.0.limits().build_cpus,
            cgroup_parent: None,
            deadline: self.0.limits().build_deadline,
            builder: None,
        };
        let (deploy, begun) = (work.deploy.id, UnixMs::now());
        let noted = self
            .0
            .db
            .write(move |tx| store::begin_build(tx, deploy, begun))
            .await;
        noted.map_err(|e| Stop::Failed(e.to_string()))?;
        let mut line = |text: &str| work.log.line(text);
        let built = self
            .0
            .ports
            .images
            .build(&request, &mut line, work.cancel.clone())
            .await;
        drop(place);
        let ended = UnixMs::now();
        let noted = self
            .0
            .db
            .write(move |tx| store::end_build(tx, deploy, ended))
            .await;
        // What was built counts all the same; the row is ended later.
        if let Err(error) = noted {
            tracing::warn!(%error, deploy, "the end of a build could not be written down");
        }
        remove_file(&trimmed);
        let image = match built {
            Ok(image) => image,
            Err(BuildError::Cancelled) => return Err(Stop::Cancelled),
            Err(error) => return Err(Stop::Failed(error.to_string())),
        };
        let seen = self.0.ports.images.inspect(&image).await;
        let seen = seen.map_err(|e| Stop::Failed(e.to_string()))?;
        settings.settle_port(&seen.exposed_ports);
        let mut next = Next::to(State::Releasing);
        next.change.image = Some(image.clone());
        next.release = Some(NewRelease {
            image,
            image_tag: tag,
            settings,
            env: work.facts.env.clone(),
            commit: work.deploy.commit.clone(),
            title: work.deploy.title.clone(),
        });
        Ok(next)
    }

    /// Waits for as long as others build.
    pub(super) async fn place_to_build(&self, work: &Work<'_>) -> Result<Place<'_>, Stop> {
        if let Some(place) = self.0.builds.try_take() {
            return Ok(place);
        }
        work.log
            .line("Another build is running on this box; this one begins after it.");
        tokio::select! {
            place = self.0.builds.take() => Ok(place),
            () = work.cancel.cancelled() => Err(Stop::Cancelled),
            () = tokio::time::sleep(LONGEST_WAIT) => Err(Stop::Failed(format!(
                "other builds had the box's places for {} hours: deploy it again, or raise [build] at_once",
                LONGEST_WAIT.as_secs() / 3_600
            ))),
        }
    }

    /// What the engine knows one run of a deploy's build by.
    fn build_id(&self, deploy: i64, attempt: u32) -> String {
        format!("fh-{}-d{deploy}-{attempt}", self.0.installation)
    }

    /// What every image of ours carries.
    pub(super) fn labels(&self, app: i64, deploy: i64) -> BTreeMap<String, String> {
        BTreeMap::from([
            (
                "freehold.installation".to_owned(),
                self.0.installation.as_str().to_owned(),
            ),
            ("freehold.owner".to_owned(), super::plan::owner(app)),
            ("freehold.deploy".to_owned(), deploy.to_string()),
        ])
    }
}

/// Reads the tree and makes the context, on the blocking pool.
async fn look(
    tree: PathBuf,
    trimmed: PathBuf,
    own: Own,
    site: Option<Site>,
) -> Result<(super::AppFile, Vec<String>, PathBuf), Stop> {
    let work = move || -> Result<_, String> {
        let found = context::look(&tree)?;
        let settings = found.settings(site.as_ref())?;
        if settings.static_folder.is_some() {
            return Ok((settings, found.notes, tree));
        }
        for text in context::dockerfile(&tree, &settings.dockerfile)? {
            own.allows_dockerfile(&text)?;
        }
        let context = match found.trim(&settings.dockerfile, &tree, &trimmed)? {
            true => trimmed,
            false => tree,
        };
        Ok((settings, found.notes, context))
    };
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| Stop::Failed("reading the tree failed".into()))??)
}
