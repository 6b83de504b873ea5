//! The engine that does as it is told: images that are built, containers that are wanted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::world::World;
use crate::base::clock::UnixMs;
use crate::deploy::ports::{Boxed, Containers, Images, Lines};
use crate::docker::{
    BuildError, BuildRequest, CacheRecord, Credentials, EngineError, Image, LogLine,
};
use crate::supervise::{
    Cause as NotReadyCause, EngineState, Exit, JobEnd, Live, NotReady, Spec, State as Container,
    SuperviseError,
};

impl Images for World {
    fn build<'a>(
        &'a self,
        request: &'a BuildRequest,
        line: Lines<'a>,
        cancel: CancellationToken,
    ) -> Boxed<'a, Result<String, BuildError>> {
        Box::pin(async move {
            assert!(request.context.exists(), "the context is there");
            self.told.lock().unwrap().builds.push(request.clone());
            line("Step 1: postgres://tasks:hunter2@main/tasks");
            tokio::select! {
                () = self.pass("build") => {}
                () = cancel.cancelled() => {
                    self.note("build killed");
                    return Err(BuildError::Cancelled);
                }
            }
            if self.told.lock().unwrap().fail_build {
                return Err(BuildError::Failed {
                    step: Some("[2/3] RUN make".into()),
                    message: "exit code: 2".into(),
                });
            }
            let mut told = self.told.lock().unwrap();
            let id = format!("sha256:{}", request.tag);
            told.images.insert(request.tag.clone(), id.clone());
            Ok(id)
        })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        _: Option<Credentials>,
        _: Duration,
        _: Lines<'a>,
    ) -> Boxed<'a, Result<Image, EngineError>> {
        Box::pin(async move { Ok(image(&format!("sha256:{reference}"))) })
    }

    fn inspect<'a>(&'a self, reference: &'a str) -> Boxed<'a, Result<Image, EngineError>> {
        let told = self.told.lock().unwrap();
        let tags = told.images.iter().filter(|(_, id)| *id == reference);
        let found = Image {
            tags: tags.map(|(tag, _)| tag.clone()).collect(),
            ..image(reference)
        };
        Box::pin(async move { Ok(found) })
    }

    fn tag<'a>(&'a self, id: &'a str, tag: &'a str) -> Boxed<'a, Result<(), EngineError>> {
        let mut told = self.told.lock().unwrap();
        told.images.insert(tag.into(), id.into());
        drop(told);
        Box::pin(async {
            self.pass("tagged").await;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, reference: &'a str) -> Boxed<'a, Result<(), EngineError>> {
        self.told.lock().unwrap().images.remove(reference);
        Box::pin(async { Ok(()) })
    }

    fn list<'a>(&'a self, _: &'a [String]) -> Boxed<'a, Result<Vec<Image>, EngineError>> {
        let told = self.told.lock().unwrap();
        let all = told.images.iter().map(|(tag, id)| Image {
            tags: vec![tag.clone()],
            ..image(id)
        });
        let all: Vec<Image> = all.collect();
        Box::pin(async move { Ok(all) })
    }

    fn folder(&self) -> Boxed<'_, Option<PathBuf>> {
        Box::pin(std::future::ready(None))
    }
    fn cache(&self) -> Boxed<'_, Result<Vec<CacheRecord>, EngineError>> {
        self.note("look into the cache");
        Box::pin(async { Ok(Vec::new()) })
    }

    fn remove_from_cache<'a>(&'a self, _: &'a [String]) -> Boxed<'a, Result<u64, EngineError>> {
        Box::pin(async { Ok(0) })
    }
}

fn image(id: &str) -> Image {
    Image {
        id: id.to_owned(),
        tags: Vec::new(),
        labels: Default::default(),
        size: 1,
        created_ms: 0,
        exposed_ports: vec![8000],
        command: Vec::new(),
    }
}

impl Containers for World {
    fn want(&self, spec: Spec) -> Boxed<'_, Result<i64, SuperviseError>> {
        let mut told = self.told.lock().unwrap();
        let known = self
            .live
            .borrow()
            .iter()
            .find(|l| l.name == spec.name)
            .map(|l| l.row);
        let row = match known {
            Some(row) => row,
            None => {
                told.next_row += 1;
                let row = told.next_row;
                told.done.push(format!("want {}", spec.name));
                let one = Live {
                    row,
                    name: spec.name.clone(),
                    kind: spec.kind,
                    owner: spec.owner.clone(),
                    process: spec.process.clone(),
                    release: spec.release,
                    address: None,
                    state: Container::Healthy,
                    started: Some(UnixMs(1)),
                    container_id: None,
                    restarts: 0,
                    last_exit: None,
                };
                self.live.send_modify(|all| {
                    let mut list = all.as_ref().clone();
                    list.push(one);
                    *all = Arc::new(list);
                });
                row
            }
        };
        told.specs.insert(spec.name.clone(), spec);
        drop(told);
        Box::pin(async move {
            self.pass("wanted").await;
            Ok(row)
        })
    }

    fn retire(&self, row: i64, _: Duration) -> Boxed<'_, Result<(), SuperviseError>> {
        let gone = self.live.borrow().iter().find(|l| l.row == row).cloned();
        if let Some(gone) = gone {
            self.note(format!("retire {}", gone.name));
            self.live.send_modify(|all| {
                let list = all.iter().filter(|l| l.row != row).cloned().collect();
                *all = Arc::new(list);
            });
        }
        Box::pin(async { Ok(()) })
    }

    fn wait_gone(&self, _: i64, _: Duration) -> Boxed<'_, Result<(), SuperviseError>> {
        Box::pin(async move {
            self.pass("gone").await;
            Ok(())
        })
    }

    fn wait_ready(&self, row: i64, limit: Duration) -> Boxed<'_, Result<Live, NotReady>> {
        Box::pin(async move {
            self.pass("ready").await;
            let all = self.live.borrow().clone();
            let one = all.iter().find(|l| l.row == row).unwrap().clone();
            let mut told = self.told.lock().unwrap();
            let cause = match std::mem::take(&mut told.broken) {
                true => NotReadyCause::Broken("the daemon is stopping".into()),
                false => NotReadyCause::Deadline(limit),
            };
            match told.unhealthy || matches!(cause, NotReadyCause::Broken(_)) {
                false => Ok(one),
                true => Err(NotReady {
                    name: one.name,
                    cause,
                    check: Some("GET http://10.83.0.2:8000/healthz".into()),
                    last_answer: Some("500 Internal Server Error".into()),
                    expected_port: Some(8000),
                    listening: Some(Vec::new()),
                    log: vec!["cannot reach postgres://tasks:hunter2@main/tasks".into()],
                }),
            }
        })
    }

    fn run_job<'a>(
        &'a self,
        spec: Spec,
        _: Duration,
        line: &'a mut (dyn FnMut(LogLine) + Send),
        cancel: CancellationToken,
    ) -> Boxed<'a, Result<JobEnd, SuperviseError>> {
        Box::pin(async move {
            tokio::select! {
                () = self.pass("job") => {}
                () = cancel.cancelled() => return Err(SuperviseError::Cancelled(spec.name)),
            }
            // As the real one: the result is kept under the name.
            let mut told = self.told.lock().unwrap();
            if std::mem::take(&mut told.unnoted) {
                return Err(SuperviseError::State("the disk is full".into()));
            }
            *told.jobs.entry(spec.name.clone()).or_default() += 1;
            line(LogLine {
                at_ms: 0,
                is_error: false,
                text: "migrated".into(),
            });
            Ok(JobEnd {
                exit: Exit {
                    code: told.release_exit,
                    oom: false,
                    at: UnixMs(1),
                },
                errors: Vec::new(),
            })
        })
    }

    fn live(&self) -> watch::Receiver<Arc<Vec<Live>>> {
        self.live.subscribe()
    }
    fn engine(&self) -> watch::Receiver<EngineState> {
        self.engine.subscribe()
    }

    fn ensure_network<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        Box::pin(async {
            if self.told.lock().unwrap().no_engine {
                self.note("the engine is away");
                return Err(SuperviseError::Engine(EngineError::Unreachable {
                    host: "/var/run/docker.sock".into(),
                    why: "connection refused".into(),
                }));
            }
            Ok(())
        })
    }

    fn remove_network<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        self.note(format!("remove network {name}"));
        Box::pin(async { Ok(()) })
    }
    fn ensure_volume<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>> {
        self.note(format!("remove volume {name}"));
        Box::pin(async { Ok(()) })
    }
}
