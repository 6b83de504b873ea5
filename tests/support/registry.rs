//! A private registry: Debian's docker-registry over TLS with a password.
//!
//! It listens on the engine's bridge, since an engine does not verify the
//! certificate of a registry on 127.0.0.0/8; the engine learns the root from
//! `/etc/docker/certs.d`, which is cleaned up again.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::address::accepts;
use super::authority::Authority;
use super::port::free_port;
use super::process::{Process, run};

pub struct Registry {
    _server: Process,
    trusted: PathBuf,
    /// `address:port`, as in an image reference.
    pub name: String,
    pub user: String,
    pub password: String,
}

impl Registry {
    /// Starts it for the engine that `DOCKER_HOST` names.
    pub fn start(dir: &Path, authority: &Authority) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let bridge = run(Command::new("docker").args([
            "network",
            "inspect",
            "--format",
            "{{range .IPAM.Config}}{{.Gateway}}{{end}}",
            "bridge",
        ]));
        let address: std::net::Ipv4Addr = bridge.trim().parse().unwrap();
        let port = free_port(address);
        let name = format!("{address}:{port}");
        let (user, password) = ("puller".to_owned(), "pull $ me".to_owned());
        let login = run(Command::new("htpasswd").args(["-Bbn", &user, &password]));
        std::fs::write(dir.join("htpasswd"), login).unwrap();
        let served = authority.issue(&[&address.to_string()]);
        let config = serde_json::json!({
            "version": "0.1",
            "log": { "level": "warn" },
            "storage": { "filesystem": { "rootdirectory": dir.join("store") } },
            "http": { "addr": name, "tls": { "certificate": served.certificate, "key": served.key } },
            "auth": { "htpasswd": { "realm": "registry", "path": dir.join("htpasswd") } },
        });
        let file = dir.join("registry.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let trusted = Path::new("/etc/docker/certs.d").join(&name);
        std::fs::create_dir_all(&trusted).unwrap();
        std::fs::copy(&authority.root_file, trusted.join("ca.crt")).unwrap();
        let server = Process::start(
            Command::new("docker-registry").arg("serve").arg(&file),
            dir.join("registry.log"),
        )
        .ready("docker-registry", || accepts(address, port));
        Self {
            _server: server,
            trusted,
            name,
            user,
            password,
        }
    }

    /// Pushes the local image `from` as `name:tag`, and removes it here, so
    /// that only a pull brings it back. Gives the reference.
    pub fn push(&self, from: &str, name: &str, dir: &Path) -> String {
        let reference = format!("{}/{name}", self.name);
        let docker = || {
            let mut command = Command::new("docker");
            command.arg("--config").arg(dir);
            command
        };
        run(docker().args(["login", "-u", &self.user, "-p", &self.password, &self.name]));
        run(docker().args(["tag", from, &reference]));
        run(docker().args(["push", "--quiet", &reference]));
        run(docker().args(["rmi", &reference]));
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.trusted).ok();
    }
}
