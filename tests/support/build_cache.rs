//! Build cache of somebody else's on the test engine.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use freehold::docker::{BuildRequest, Engine, pack_context};
use tokio_util::sync::CancellationToken;

/// Names and sizes of the engine's records of steps in whose command these words stand. Other tests build beside this one,
/// and nothing but a record's description says whose it is. The engine looks for one at a time, and refuses others meanwhile.
pub async fn of_step(words: &str) -> Vec<(String, u64)> {
    let engine = crate::support::freehold::engine();
    for _ in 0..600 {
        let asked = Command::new("curl")
            .args(["-s", "--unix-socket", engine.trim_start_matches("unix://")])
            .arg("http://engine/system/df?type=build-cache")
            .output()
            .unwrap();
        let df: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
        if df.get("BuildCache").is_some() {
            let all = df["BuildCache"].as_array().into_iter().flatten();
            let of_it = |r: &&serde_json::Value| {
                let description = r["Description"].as_str();
                description.is_some_and(|d| d.contains(words))
            };
            let told = |r: &serde_json::Value| {
                let id = r["ID"].as_str().unwrap().to_owned();
                (id, r["Size"].as_u64().unwrap_or_default())
            };
            return all.filter(of_it).map(told).collect();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("somebody else looks all the time");
}

/// Where the step of [`leave`] writes to, which no other test's does.
pub fn left() -> String {
    format!(">/left-{}", std::process::id())
}

/// A build whose step writes so many bytes, its image removed again.
pub async fn leave(engine: &Engine, bytes: u64) {
    let tag = format!("fhtest-cache-{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let (app, tar) = (folder.path().join("app"), folder.path().join("context.tar"));
    std::fs::create_dir(&app).unwrap();
    let left = left();
    let step = format!("FROM busybox:latest\nRUN head -c {bytes} /dev/urandom {left}\n");
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
        deadline: Duration::from_secs(300),
        builder: None,
    };
    let built = engine.build(&request, |_| (), CancellationToken::new());
    built.await.unwrap();
    engine.remove_image(&tag).await.unwrap();
}
