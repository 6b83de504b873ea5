//! The ports to the engine and the supervisor, as they are outside of tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::docker::{
    BuildError, BuildRequest, CacheRecord, Credentials, Engine, EngineError, Image, LogLine,
};
use crate::supervise::{EngineState, JobEnd, Live, NotReady, Spec, SuperviseError, Supervisor};

use super::ports::{Boxed, Containers, Images, Lines};

impl Images for Engine {
    fn build<'a>(
        &'a self,
        request: &'a BuildRequest,
        line: Lines<'a>,
        cancel: CancellationToken,
    ) -> Boxed<'a, Result<String, BuildError>> {
        Box::pin(Engine::build(self, request, line, cancel))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        credentials: Option<Credentials>,
        limit: Duration,
        line: Lines<'a>,
    ) -> Boxed<'a, Result<Image, EngineError>> {
        Box::pin(async move {
            self.pull_image(reference, credentials.as_ref(), limit, line)
                .await
        })
    }

    fn inspect<'a>(&'a self, reference: &'a str) -> Boxed<'a, Result<Image, EngineError>> {
        Box::pin(self.inspect_image(reference))
    }

    fn tag<'a>(&'a self, image: &'a str, reference: &'a str) -> Boxed<'a, Result<(), EngineError>> {
        Box::pin(self.tag_image(image, reference))
    }

    fn remove<'a>(&'a self, reference: &'a str) -> Boxed<'a, Result<(), EngineError>> {
        Box::pin(self.remove_image(reference))
    }

    fn list<'a>(&'a self, labels: &'a [String]) -> Boxed<'a, Result<Vec<Image>, EngineError>> {
        Box::pin(self.list_images(labels))
    }

    fn folder(&self) -> Boxed<'_, Option<PathBuf>> {
        Box::pin(async move {
            let folder = Engine::folder(self).await.ok()?;
            folder.is_dir().then_some(folder)
        })
    }

    fn cache(&self) -> Boxed<'_, Result<Vec<CacheRecord>, EngineError>> {
        Box::pin(self.build_cache())
    }

    fn remove_from_cache<'a>(&'a self, ids: &'a [String]) -> Boxed<'a, Result<u64, EngineError>> {
        Box::pin(self.remove_from_build_cache(ids))
    }
}

impl Containers for Supervisor {
    fn want(&self, spec: Spec) -> Boxed<'_, Result<i64, SuperviseError>> {
        Box::pin(async move { Supervisor::want(self, spec).await.map(|row| row.id) })
    }

    fn retire(&self, row: i64, grace: Duration) -> Boxed<'_, Result<(), SuperviseError>> {
        Box::pin(Supervisor::retire(self, row, grace))
    }

    fn wait_gone(&self, row: i64, limit: Duration) -> Boxed<'_, Result<(), SuperviseError>> {
        Box::pin(Supervisor::wait_gone(self, row, limit))
    }

    fn wait_ready(&self, row: i64, limit: Duration) -> Boxed<'_, Result<Live, NotReady>> {
        Box::pin(Supervisor::wait_ready(self, row, limit))
    }

    fn run_job<'a>(
        &'a self,
        spec: Spec,
        limit: Duration,
        line: &'a mut (dyn FnMut(LogLine) + Send),
        cancel: CancellationToken,
    ) -> Boxed<'a, Result<JobEnd, SuperviseError>> {
        Box::pin(Supervisor::run_job(self, spec, limit, line, cancel))
    }

    fn live(&self) -> watch::Receiver<Arc<Vec<Live>>> {
        Supervisor::live(self)
    }

    fn engine(&self) -> watch::Receiver<EngineState> {
        Supervisor::engine(self)
    }

    fn ensure_network<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        Box::pin(Supervisor::ensure_network(self, name))
    }

    fn remove_network<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        Box::pin(Supervisor::remove_network(self, name))
    }

    fn ensure_volume<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        Box::pin(Supervisor::ensure_volume(self, name))
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        Box::pin(Supervisor::remove_volume(self, name))
    }
}
