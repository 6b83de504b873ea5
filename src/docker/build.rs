//! Images built from a folder: BuildKit over the engine's API, or the classic
//! builder where there is no BuildKit.
//!
//! Invariants: the context is streamed from a file; lines are given as they
//! come; a build that was cancelled or ran out of time was seen dead before
//! this returns, as far as the engine lets us see; every built image carries
//! the caller's labels.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error;
use bollard::moby::buildkit::v1::StatusResponse;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::cap::{self, Cap, Share};
use super::engine::{Engine, SHORT};
use super::error::EngineError;
use super::image::Credentials;
use super::progress::Progress;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Its name at the engine, unlike any other build's.
    pub id: String,
    /// The name of an earlier run of this build, whose caller died: it is ended first.
    pub instead_of: Option<String>,
    /// A tar file with the context (`docker::pack_context` makes one).
    pub context: PathBuf,
    /// The Dockerfile's path inside the context.
    pub dockerfile: String,
    /// The reference the image gets.
    pub tag: String,
    /// Labels the image gets.
    pub labels: BTreeMap<String, String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The stage to stop at; the last when `None`.
    pub target: Option<String>,
    /// Whether to leave the cache aside.
    pub no_cache: bool,
    /// For base images of private registries.
    pub credentials: Vec<Credentials>,
    /// Memory of all BuildKit steps together, or of each classic step.
    pub memory_bytes: Option<u64>,
    /// Weight against other work on the processors; 1024 is the usual one.
    pub cpu_shares: Option<u32>,
    /// Processors of all BuildKit steps together; all when `None`.
    pub cpus: Option<f64>,
    /// The cgroup under which steps run, where the engine honours it.
    pub cgroup_parent: Option<String>,
    /// The longest the whole may take.
    pub deadline: Duration,
    /// Which builder; the engine's best when `None`.
    pub builder: Option<Builder>,
}

/// Why no image came out.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile or one of its steps failed.
    #[error("{}{message}", .step.as_ref().map(|s| format!("the build failed at {s}: ")).unwrap_or_else(|| "the build failed: ".into()))]
    Failed {
        /// The step, such as `[3/5] RUN make`.
        step: Option<String>,
        /// The builder's words.
        message: String,
    },
    /// It took too long and was stopped.
    #[error("the build did not end within {} min and was stopped", .0.as_secs() / 60)]
    Deadline(Duration),
    /// The caller withdrew it; it was seen dead.
    #[error("the build was cancelled")]
    Cancelled,
    /// The engine or the context failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How long a cancelled build may take to die before we cut its connections.
const DYING: Duration = Duration::from_secs(20);
/// Between two times that its end is asked for.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How long a build that nobody follows is given to die; the engine does not say when it has.
const DYING_UNSEEN: Duration = Duration::from_secs(2);

/// A kind of builder an engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// Parallel, with a cache of its own.
    BuildKit,
    /// One step after another, each a container and a layer.
    Classic,
}

impl Engine {
    /// Builds an image, hands each line of output to `line` as it comes, and
    /// gives the image's id.
    ///
    /// # Errors
    /// [`BuildError`]; `Cancelled` and `Deadline` after the build was stopped.
    pub async fn build(
        &self,
        request: &BuildRequest,
        mut line: impl FnMut(&str) + Send,
        cancel: CancellationToken,
    ) -> Result<String, BuildError> {
        let builder = match request.builder {
            Some(builder) => builder,
            None => self.best_builder().await?,
        };
        let parent = match builder {
            Builder::BuildKit => self.cap_steps(request, &mut line).await,
            Builder::Classic => None,
        };
        let parent = request.cgroup_parent.clone().or(parent);
        if let (Some(earlier), Builder::BuildKit) = (&request.instead_of, builder) {
            tokio::select! {
                () = self.end_unfollowed(earlier) => {}
                () = cancel.cancelled() => return Err(BuildError::Cancelled),
            }
        }
        let build_id = escape(&request.id);
        let mut query = format!("buildid={build_id}");
        if let Some(parent) = &parent {
            query.push_str("&cgroupparent=");
            query.push_str(&escape(parent));
        }
        if let Some(memory) = request.memory_bytes {
            query.push_str(&format!("&memory={memory}&memswap={memory}"));
        }
        let cut = CancellationToken::new();
        let ends = cut.clone().drop_guard();
        let docker = self.cuttable(cut, query)?;
        let file = tokio::fs::File::open(&request.context)
            .await
            .map_err(|e| refused(format!("the build context cannot be read: {e}")))?;
        let body =
            bollard::body_try_stream(tokio_util::io::ReaderStream::with_capacity(file, 64 << 10));
        let credentials = credentials(&request.credentials);
        let stream = docker.build_image(
            options(request, builder, &build_id),
            Some(credentials),
            Some(body),
        );
        let mut run = Run {
            engine: self,
            progress: Progress::default(),
            image: None,
        };
        let mut stream = Box::pin(stream);
        let deadline = tokio::time::sleep(request.deadline);
        tokio::pin!(deadline);
        let ended = tokio::select! {
            ended = run.follow(&mut stream, &mut line) => Ended::ByItself(ended),
            () = cancel.cancelled() => Ended::Withdrawn(BuildError::Cancelled),
            () = &mut deadline => Ended::Withdrawn(BuildError::Deadline(request.deadline)),
        };
        let result = match ended {
            Ended::ByItself(result) => result,
            Ended::Withdrawn(why) => {
                self.stop_build(&build_id, builder, &mut run, &mut stream, &mut line)
                    .await;
                Err(why)
            }
        };
        for text in run.progress.finish() {
            line(&text);
        }
        let image = run.image.take();
        drop(stream);
        drop(ends);
        result?;
        let reference = image.unwrap_or_else(|| request.tag.clone());
        Ok(self.inspect_image(&reference).await?.id)
    }

    /// Caps all build steps of the engine together and says what came of it;
    /// gives the group that this build's steps are to run in.
    async fn cap_steps(
        &self,
        request: &BuildRequest,
        line: &mut (impl FnMut(&str) + Send),
    ) -> Option<String> {
        let share = Share {
            memory: request.memory_bytes?,
            cpu_shares: request.cpu_shares.unwrap_or(1024),
            cpus: request.cpus,
        };
        let minor = self.api_minor();
        let done = tokio::task::spawn_blocking(move || {
            cap::cap(Path::new("/sys/fs/cgroup"), share, minor)
        })
        .await;
        match done {
            Ok(Cap::Slice(slice)) => return Some(slice),
            Ok(Cap::Group) => {}
            Ok(Cap::None(why)) => {
                line(&format!("The memory of build steps is not capped: {why}."));
            }
            Err(error) => tracing::warn!(%error, "build steps could not be capped"),
        }
        None
    }

    /// Asks for the build's end and reads on until the builder has answered,
    /// which it does after its steps are gone.
    async fn stop_build(
        &self,
        build_id: &str,
        builder: Builder,
        run: &mut Run<'_>,
        stream: &mut (impl Stream<Item = Result<BuildInfo, Error>> + Unpin),
        line: &mut (impl FnMut(&str) + Send),
    ) {
        if builder == Builder::Classic {
            return;
        }
        // An engine that has not come to the build yet knows nothing of its name, and says so to nobody: it is told again.
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < DYING {
            if let Err(error) = self.ask_for_the_end(build_id).await {
                tracing::warn!(%error, "a build could not be cancelled by name; its connection is cut");
                return;
            }
            if tokio::time::timeout(ASK_AGAIN, run.follow(stream, line))
                .await
                .is_ok()
            {
                return;
            }
        }
        tracing::warn!("a cancelled build did not end in time; its connection is cut");
    }

    /// Ends a build whose caller died a moment ago. A step that both ran would
    /// be shared by them, and what it prints would be told to the first alone.
    async fn end_unfollowed(&self, build_id: &str) {
        match self.ask_for_the_end(&escape(build_id)).await {
            Ok(()) => tokio::time::sleep(DYING_UNSEEN).await,
            Err(error) => {
                tracing::warn!(%error, "an earlier run of a build could not be cancelled")
            }
        }
    }

    async fn ask_for_the_end(&self, escaped_id: &str) -> Result<(), EngineError> {
        let path = format!("/build/cancel?id={escaped_id}");
        self.raw_unit("cancel build", SHORT, http::Method::POST, &path)
            .await
    }

    /// BuildKit unless the engine says it has none. 20.10 says nothing and has it.
    async fn best_builder(&self) -> Result<Builder, EngineError> {
        let headers = self.ping_headers().await?;
        let classic = headers
            .get("builder-version")
            .is_some_and(|version| version == "1")
            && self.api_minor() >= 42;
        let podman = headers.contains_key("libpod-api-version");
        Ok(match classic || podman {
            true => Builder::Classic,
            false => Builder::BuildKit,
        })
    }
}

enum Ended {
    ByItself(Result<(), BuildError>),
    Withdrawn(BuildError),
}

struct Run<'a> {
    engine: &'a Engine,
    progress: Progress,
    image: Option<String>,
}

impl Run<'_> {
    async fn follow(
        &mut self,
        stream: &mut (impl Stream<Item = Result<BuildInfo, Error>> + Unpin),
        line: &mut (impl FnMut(&str) + Send),
    ) -> Result<(), BuildError> {
        while let Some(item) = stream.next().await {
            match item {
                Ok(info) => self.take(info, line)?,
                Err(Error::DockerStreamError { error }) => return Err(self.failed(error)),
                Err(error) => match self.engine.error("build image", error) {
                    // A Dockerfile that cannot be parsed is refused with a status by some engines.
                    EngineError::Refused { message, .. } => return Err(self.failed(message)),
                    other => return Err(other.into()),
                },
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        info: BuildInfo,
        line: &mut (impl FnMut(&str) + Send),
    ) -> Result<(), BuildError> {
        if let Some(message) = info.error_detail.and_then(|e| e.message) {
            return Err(self.failed(message));
        }
        match info.aux {
            Some(bollard::models::BuildInfoAux::BuildKit(report)) => self.report(&report, line),
            Some(bollard::models::BuildInfoAux::Default(id)) => {
                if let Some(id) = id.id.filter(|id| id.starts_with("sha256:")) {
                    self.image = Some(id);
                }
            }
            None => {}
        }
        if let Some(text) = info.stream {
            for part in text.lines().filter(|l| !l.trim().is_empty()) {
                line(part);
            }
        }
        Ok(())
    }

    fn report(&mut self, report: &StatusResponse, line: &mut (impl FnMut(&str) + Send)) {
        for text in self.progress.take(report) {
            line(&text);
        }
    }

    fn failed(&self, message: String) -> BuildError {
        BuildError::Failed {
            step: self.progress.failed_step().map(str::to_owned),
            message: explain(&message),
        }
    }
}

/// The builder's words without those that only its makers understand, and with what to do.
fn explain(message: &str) -> String {
    let told = ["LLB definition: ", "failed to solve: "]
        .into_iter()
        .fold(message, |text, noise| {
            text.split_once(noise).map_or(text, |(_, rest)| rest)
        });
    if let Some((_, code)) = told.rsplit_once("exit code: ") {
        if code.trim() == "137" {
            return "its command was killed (exit code 137): as a rule it wanted more memory than builds may have. Raise [build] memory in config.toml, or have it do less at once, and deploy again.".to_owned();
        }
        return format!(
            "its command ended with exit code {code}. What it said stands in the log; mend it and deploy again."
        );
    }
    let lower = told.to_ascii_lowercase();
    if lower.contains("dockerfile parse error") || lower.contains("unknown instruction") {
        return format!("{told}. Mend that line and deploy again.");
    }
    if lower.contains("failed to do request") || lower.contains("failed to resolve source metadata")
    {
        return format!(
            "{told}. Look at the name after FROM, and whether this box reaches its registry."
        );
    }
    told.to_owned()
}

fn refused(message: String) -> EngineError {
    EngineError::Refused {
        what: "build image".to_owned(),
        message,
    }
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn credentials(list: &[Credentials]) -> HashMap<String, bollard::auth::DockerCredentials> {
    list.iter()
        .map(|c| (c.registry.clone(), c.for_engine()))
        .collect()
}

fn options(request: &BuildRequest, builder: Builder, build_id: &str) -> BuildImageOptions {
    let map = |m: &BTreeMap<String, String>| -> HashMap<String, String> {
        m.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    BuildImageOptions {
        dockerfile: request.dockerfile.clone(),
        t: Some(request.tag.clone()),
        nocache: request.no_cache,
        rm: true,
        forcerm: true,
        buildargs: Some(map(&request.args)),
        labels: Some(map(&request.labels)),
        target: request.target.clone().unwrap_or_default(),
        cpushares: request.cpu_shares.and_then(|n| i32::try_from(n).ok()),
        version: match builder {
            Builder::BuildKit => BuilderVersion::BuilderBuildKit,
            Builder::Classic => BuilderVersion::BuilderV1,
        },
        session: (builder == Builder::BuildKit).then(|| format!("freehold-{build_id}")),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_what_the_builder_says_is_told_in_words() {
        for (said, told) in [
            (
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: RNU",
                "dockerfile parse error line 2: unknown instruction: RNU. Mend",
            ),
            (
                "executor failed running [/bin/sh -c make]: exit code: 7",
                "its command ended with exit code 7. ",
            ),
            (
                "failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 7",
                "its command ended with exit code 7. ",
            ),
            (
                "process \"/bin/sh -c make\" did not complete successfully: exit code: 137",
                "more memory than builds may have",
            ),
            (
                "failed to do request: Head \"https://r.test/v2/\": connection refused",
                "Look at the name after FROM",
            ),
            ("no space left on device", "no space left on device"),
        ] {
            let text = explain(said);
            assert!(text.contains(told), "{said} became {text}");
            assert!(!text.contains("LLB"), "{text}");
        }
    }
}
