//! What the edge says of a request: its lines of the access log (docs/access-log.md), by the request's id or path.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::ledger::Record;

/// The log's writer is a little behind, and on a busy machine more.
const BEHIND: Duration = Duration::from_secs(30);

/// Its lines in the log of this folder, oldest first. A request whose id was not told is found by its path, in which its
/// number stands.
pub fn lines_of(folder: &Path, record: &Record) -> Vec<Value> {
    let path = record.kind.path(record.number);
    let path = path.split('?').next().unwrap_or(&path);
    let is_it = |line: &Value| match &record.id {
        Some(id) => line["id"] == id.as_str(),
        None => line["path"] == path,
    };
    let begun = std::time::Instant::now();
    loop {
        let found: Vec<Value> = lines(folder).into_iter().filter(|l| is_it(l)).collect();
        if !found.is_empty() || begun.elapsed() > BEHIND {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Every whole line of the log's files, oldest file first.
fn lines(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    files.sort();
    files.reverse();
    let texts = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    texts
        .flat_map(|text| {
            let lines = text.lines().map(|l| serde_json::from_str(l).ok());
            lines.flatten().collect::<Vec<Value>>()
        })
        .collect()
}

/// In one sentence what the edge did with it.
pub fn told(lines: &[Value]) -> String {
    if lines.is_empty() {
        return "the edge has no line for it: its head never came, or has not ended".to_owned();
    }
    let told = lines.iter().map(|line| {
        let word = |name: &str| match &line[name] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!(
            "id {} at {}: status {}, ended {:?}, target {}, retries {}, held {} us, head after {} us, over after {} us, error {}",
            word("id"),
            word("time"),
            word("status"),
            word("ended"),
            word("target"),
            word("retries"),
            word("held_us"),
            word("head_us"),
            word("total_us"),
            word("error"),
        )
    });
    told.collect::<Vec<_>>().join("\n        ")
}
