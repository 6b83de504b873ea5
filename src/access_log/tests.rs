//! The log from a real edge to real files, and what becomes of it where the disk takes nothing.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::base::log_share::LogShare;
use crate::proxy::{Edge, Limits, Listeners};

const KEPT: Settings = Settings {
    size: 10_000,
    files: 3,
};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn block(bytes: usize, letter: u8) -> Vec<u8> {
    let mut block = vec![letter; bytes - 1];
    block.push(b'\n');
    block
}

#[test]
fn e7_files_step_back_and_together_keep_to_their_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs").join(FILE);
    let mut files = Files::new(path.clone());
    for letter in b'a'..=b'h' {
        files.write(&block(6_000, letter), KEPT).unwrap();
    }
    let older = |step: u32| path.with_file_name(format!("{FILE}.{step}"));
    for (file, letter) in [(&path, b'h'), (&older(1), b'g'), (&older(2), b'f')] {
        assert_eq!(std::fs::read(file).unwrap(), block(6_000, letter));
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(!older(3).exists());
    let folder_mode = std::fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(folder_mode.permissions().mode() & 0o777, 0o700);
    // Fewer files are kept from the next step on.
    let fewer = Settings { files: 1, ..KEPT };
    files.write(&block(6_000, b'i'), fewer).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), block(6_000, b'i'));
    assert!(!older(1).exists() && !older(2).exists());
}

#[test]
fn e7_a_log_that_others_move_and_one_cut_inside_a_line_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    std::fs::write(&path, "{\"half").unwrap();
    let mut files = Files::new(path.clone());
    files.write(b"one\n", KEPT).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"half\none\n");
    std::fs::rename(&path, folder.path().join("mine")).unwrap();
    files.write(b"two\n", KEPT).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    std::fs::remove_file(&path).unwrap();
    files.write(b"three\n", KEPT).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
}

/// An edge without routes whose requests are all logged, and its address.
fn edge() -> (Edge, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (failed, _) = tokio::sync::mpsc::channel(1);
    let limits = Limits {
        workers: Some(1),
        ..Limits::default()
    };
    // Without a certificate there is no https: its crypto is not asked for.
    let listeners = Listeners {
        http: vec![listener],
        https: Vec::new(),
    };
    let edge = Edge::start(listeners, Arc::default(), limits, failed).unwrap();
    edge.log(LogShare::ALL, false);
    (edge, address)
}

fn ask(address: std::net::SocketAddr, path: &str) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let ask = format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \"x\\\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

async fn until(mut is: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it does not come about"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn e7_requests_are_written_as_lines_of_json_and_the_last_ones_at_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (mut edge, address) = edge();
    let tasks = Tasks::new(Shutdown::new());
    let entries = edge.entries().unwrap();
    AccessLog::start(entries, folder.path(), KEPT, &tasks);
    let path = folder.path().join(FILE);
    let asked = tokio::task::spawn_blocking(move || {
        (0..3).for_each(|n| ask(address, &format!("/{n}?secret")));
        ask(address, "/setup/secret");
    });
    asked.await.unwrap();
    assert!(tasks.finish(Duration::from_secs(60)).await);
    assert!(!std::fs::read_to_string(&path).unwrap().contains("secret"));
    let all = lines(&path);
    assert_eq!(all.len(), 4);
    let keys: Vec<&String> = all[0].as_object().unwrap().keys().collect();
    let mut expected = [
        "time",
        "id",
        "client",
        "method",
        "host",
        "path",
        "protocol",
        "status",
        "bytes_in",
        "bytes_out",
        "head_us",
        "total_us",
        "ended",
        "error",
        "user_agent",
    ];
    expected.sort_unstable();
    let mut keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(all[2]["path"], "/2");
    assert_eq!(all[2]["status"], 404);
    assert_eq!(all[2]["user_agent"], "\"x\\");
    let time = all[2]["time"].as_str().unwrap();
    let written: jiff::Timestamp = time.parse().unwrap();
    let ago = UnixMs::now().0 - written.as_millisecond();
    assert!((0..120_000).contains(&ago), "{time}");
}

#[tokio::test]
async fn e7_a_disk_that_cannot_be_written_drops_and_counts_and_the_log_says_so_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (mut edge, address) = edge();
    let tasks = Tasks::new(Shutdown::new());
    let entries = edge.entries().unwrap();
    let logs = folder.path().join("logs");
    // A file where the folder should be stands for a disk that takes nothing; it holds for root, too.
    std::fs::write(&logs, "").unwrap();
    AccessLog::start(entries, &logs, KEPT, &tasks);
    let many =
        move |n: u32| tokio::task::spawn_blocking(move || (0..n).for_each(|_| ask(address, "/")));
    many(5).await.unwrap();
    until(|| edge.stats().log_dropped == 5).await;
    std::fs::remove_file(&logs).unwrap();
    many(2).await.unwrap();
    assert!(tasks.finish(Duration::from_secs(60)).await);
    let all = lines(&logs.join(FILE));
    assert_eq!(all[0]["dropped"], 5);
    assert_eq!(all.len(), 3, "told once: {all:?}");
    assert_eq!(edge.stats().log_dropped, 5);
}

#[test]
fn e7_a_full_disk_leaves_no_half_line() {
    // A device that is always full.
    let full = Path::new("/dev/full");
    let mut file = std::fs::OpenOptions::new().append(true).open(full).unwrap();
    let error = std::io::Write::write_all(&mut file, b"x\n").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let mut files = Files::new(full.to_owned());
    assert!(files.write(b"x\n", KEPT).is_err());
    assert!(files.write(b"x\n", KEPT).is_err(), "and it is tried again");
}
