//! Fuzz target of what Postgres' tools say of an archive; the archive itself is read by them alone.

use super::archive;

/// No more is counted than there are lines.
pub fn archive_list(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let found = archive::read_list(&text);
    assert!(found.tables + found.table_data <= found.entries);
    assert!(found.entries <= text.lines().count() as u64);
}
