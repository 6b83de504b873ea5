//! An engine of a test's own, which may end it: in a folder of its own, cleaned away with its value.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::freehold::engine;

/// For an engine that was killed to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct OwnEngine {
    folder: PathBuf,
    /// Containers live on while it is down.
    pub live_restore: bool,
}

fn rig(action: &str, folder: &Path, live_restore: bool) -> bool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/engine");
    let mut command = Command::new(script);
    command.arg(action).arg(folder);
    if live_restore {
        command.env("ENGINE_LIVE_RESTORE", "yes");
    }
    command.status().is_ok_and(|status| status.success())
}

impl OwnEngine {
    /// Starts it with these images of the tests' engine.
    pub fn start(images: &[&str], live_restore: bool) -> Self {
        let folder = PathBuf::from(format!("/run/fht{}", std::process::id()));
        let own = Self {
            folder,
            live_restore,
        };
        own.up();
        let file = own.folder.join("images.tar");
        let docker = |host: &str, verb: &str, flag: &str, images: &[&str]| {
            let mut command = Command::new("docker");
            command
                .args(["-H", host, verb, flag])
                .arg(&file)
                .args(images);
            assert!(command.status().unwrap().success(), "{verb} of {images:?}");
        };
        docker(&engine(), "save", "-o", images);
        docker(&own.host(), "load", "-i", &[]);
        std::fs::remove_file(&file).unwrap();
        own
    }

    pub fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.display())
    }

    pub fn up(&self) {
        assert!(
            rig("start", &self.folder, self.live_restore),
            "engine start"
        );
    }

    /// In order.
    pub fn down(&self) {
        assert!(rig("stop", &self.folder, self.live_restore), "engine stop");
    }

    /// With kill -9.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.folder.join("docker.pid")).unwrap();
        let status = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(status.unwrap().success());
        // An engine refuses to start while its predecessor's process is listed.
        let listed = PathBuf::from(format!("/proc/{}", pid.trim()));
        let begun = Instant::now();
        while listed.exists() {
            assert!(begun.elapsed() < PATIENCE, "the engine does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::remove_file(self.folder.join("docker.pid")).unwrap();
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if !rig("clean", &self.folder, false) {
            eprintln!(
                "the engine in {} could not be cleaned away",
                self.folder.display()
            );
        }
    }
}
