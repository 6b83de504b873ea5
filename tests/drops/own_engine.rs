//! An engine of a test's own, which may end it: in a folder of its own, cleaned away with its value.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::freehold::engine;

pub struct OwnEngine {
    pub folder: PathBuf,
    /// Containers live on while it is down.
    pub live_restore: bool,
}

fn rig(action: &str, folder: &Path, live_restore: bool) -> bool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/engine");
    let mut command = Command::new(script);
    command.arg(action).arg(folder);
    // Reached from this machine alone, it needs none; and making them it would empty those of other engines for a moment.
    command.env("ENGINE_FIREWALL", "no");
    if live_restore {
        command.env("ENGINE_LIVE_RESTORE", "1");
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
