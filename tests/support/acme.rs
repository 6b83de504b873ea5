//! The ACME server: pebble, with a name server of its own that answers every
//! name with the box's address.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::address::accepts;
use super::authority::Authority;
use super::port::free_port;
use super::process::{Process, run};
use super::until::{secs, until};

/// Pebble and its name server; validation comes to port 80 of the box.
pub struct Acme {
    _pebble: Process,
    _names: Process,
    /// For `[acme] directory`.
    pub directory: String,
    /// For `[acme] ca_file`: the root of the directory's own certificate.
    pub ca_file: PathBuf,
    /// For `[acme] resolver`.
    pub resolver: String,
    management: String,
    names_management: String,
}

impl Acme {
    /// Starts both. `validity` is how long its certificates live.
    pub fn start(dir: &Path, box_address: Ipv4Addr, validity: std::time::Duration) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let local = Ipv4Addr::LOCALHOST;
        let (dns, api) = (free_port(local), free_port(local));
        let (port, management) = (free_port(local), free_port(local));
        let names = Process::start(
            Command::new("pebble-challtestsrv")
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-dns01", &format!("127.0.0.1:{dns}")])
                .args(["-management", &format!("127.0.0.1:{api}")])
                .args(["-defaultIPv4", &box_address.to_string()])
                .args(["-defaultIPv6", ""]),
            dir.join("names.log"),
        )
        .ready("the name server", || accepts(local, api));

        let authority = Authority::new(dir);
        let served = authority.issue(&["127.0.0.1", "localhost"]);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": served.certificate, "privateKey": served.key,
            "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            // Orders for these and what lies under them are refused.
            "domainBlocklist": ["blocked.test"],
            // The old and the new name of the same setting.
            "certificateValidityPeriod": validity.as_secs(),
            "profiles": { "default": { "description": "", "validityPeriod": validity.as_secs() } },
        }});
        let config_file = dir.join("pebble.json");
        std::fs::write(&config_file, config.to_string()).unwrap();
        let pebble = Process::start(
            Command::new("pebble")
                .arg("-config")
                .arg(&config_file)
                .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
                .env("PEBBLE_VA_NOSLEEP", "1"),
            dir.join("pebble.log"),
        )
        .ready("pebble", || {
            accepts(local, port) && accepts(local, management)
        });
        Self {
            _pebble: pebble,
            _names: names,
            directory: format!("https://127.0.0.1:{port}/dir"),
            ca_file: authority.root_file,
            resolver: format!("127.0.0.1:{dns}"),
            management: format!("https://127.0.0.1:{management}"),
            names_management: format!("http://127.0.0.1:{api}"),
        }
    }

    /// Writes the root that issues the certificates to `file`.
    pub fn save_root(&self, file: &Path) {
        until("pebble's root", secs(60), || {
            let out = Command::new("curl")
                .args(["-sf", "--cacert"])
                .arg(&self.ca_file)
                .arg(format!("{}/roots/0", self.management))
                .output()
                .unwrap();
            if !out.status.success() {
                return Err(format!("curl ended with {}", out.status));
            }
            std::fs::write(file, out.stdout).unwrap();
            Ok(())
        });
    }

    /// Makes `host` resolve to another address, so that it does not lead here.
    pub fn point(&self, host: &str, address: Ipv4Addr) {
        let body = serde_json::json!({ "host": format!("{host}."), "addresses": [address] });
        // Adding alone would leave the addresses it had.
        for verb in ["clear-a", "add-a"] {
            run(Command::new("curl")
                .args(["-sf", "--data", &body.to_string()])
                .arg(format!("{}/{verb}", self.names_management)));
        }
    }
}
