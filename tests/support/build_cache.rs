//! Build cache of somebody else's on the test engine.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold::docker::{BuildRequest, CacheRecord, Engine, pack_context};
use tokio_util::sync::CancellationToken;

/// What the engine has. It looks for one at a time, and refuses others meanwhile.
pub async fn seen(engine: &Engine) -> Vec<CacheRecord> {
    for _ in 0..300 {
        match engine.build_cache().await {
            Ok(records) => return records,
            Err(error) if error.to_string().contains("already running") => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("somebody else looks all the time");
}

/// A build whose step writes so many bytes, its image removed again.
pub async fn leave(engine: &Engine, bytes: u64) {
    let tag = format!("fhtest-cache-{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let (app, tar) = (folder.path().join("app"), folder.path().join("context.tar"));
    std::fs::create_dir(&app).unwrap();
    let step = format!("FROM busybox:latest\nRUN head -c {bytes} /dev/urandom >/left\n");
    std::fs::write(app.join("Dockerfile"), step).unwrap();
    pack_context(app, "Dockerfile".into(), tar.clone(), 1 << 20)
        .await
        .unwrap();
    let request = BuildRequest {
        id: freehold::base::secret::random_id(25).unwrap(),
        instead_of: None,
        context: tar,
        dockerfile: "Dockerfile".into(),
        tag: tag.clone(),
        labels: BTreeMap::new(),
        args: BTreeMap::new(),
        target: None,
        no_cache: true,
        credentials: Vec::new(),
        memory_bytes: None,
        cpu_shares: None,
        cpus: None,
        cgroup_parent: None,
        deadline: Duration::from_secs(120),
        builder: None,
    };
    let built = engine.build(&request, |_| (), CancellationToken::new());
    built.await.unwrap();
    engine.remove_image(&tag).await.unwrap();
}
