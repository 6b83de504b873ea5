//! The S3 server: s3s-fs, whose objects are plain files, so that a test can
//! be the saboteur that flips a byte in the store.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::address::accepts;
use super::port::free_port;
use super::process::{Process, tool};

pub struct S3 {
    server: Option<Process>,
    root: PathBuf,
    port: u16,
    pub access_key: String,
    pub secret_key: String,
}

impl S3 {
    /// Starts it with its objects under `dir`.
    pub fn start(dir: &Path) -> Self {
        let root = dir.join("objects");
        std::fs::create_dir_all(&root).unwrap();
        let mut this = Self {
            server: None,
            root,
            port: free_port(Ipv4Addr::LOCALHOST),
            access_key: "AKIDFREEHOLDTEST".into(),
            secret_key: "a secret/with+odd=characters".into(),
        };
        this.up();
        this
    }

    /// Starts it again after [`S3::down`], on the same port with the same objects.
    pub fn up(&mut self) {
        let server = Process::start(
            Command::new(tool("bin/s3s-fs"))
                .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
                .args(["--access-key", &self.access_key])
                .args(["--secret-key", &self.secret_key])
                .arg(&self.root),
            self.root.with_file_name("s3.log"),
        );
        let port = self.port;
        self.server = Some(server.ready("s3s-fs", || accepts(Ipv4Addr::LOCALHOST, port)));
    }

    /// Nobody answers there any more.
    pub fn down(&mut self) {
        self.server = None;
    }

    /// Where the server keeps its files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn create_bucket(&self, name: &str) {
        std::fs::create_dir_all(self.root.join(name)).unwrap();
    }

    /// The whole objects of a bucket, without the server's own files.
    pub fn objects(&self, bucket: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.join(bucket)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if !name.starts_with('.') {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// What multipart uploads that were neither completed nor aborted have left, by the server's own names.
    pub fn uploads(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.root).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let mut found: Vec<String> = names.filter(|n| n.starts_with(".upload")).collect();
        found.sort();
        found
    }

    /// Flips one byte in the middle of an object.
    pub fn flip_a_byte(&self, object: &Path) {
        let mut bytes = std::fs::read(object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        std::fs::write(object, bytes).unwrap();
    }
}
