//! What is asked of Postgres' own tools, and how their words are read: pure.

use serde::{Deserialize, Serialize};

use crate::supervise::JobEnd;

/// What every archive in custom format begins with.
pub const MAGIC: &[u8] = b"PGDMP";

/// What an archive says it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Tables.
    pub tables: u64,
    /// Tables with their rows.
    pub table_data: u64,
    /// Everything: tables, indexes, functions, …
    pub entries: u64,
}

/// The dump: custom format with its own compression, which is zstd from 16 on.
/// A table that somebody holds locked fails it after a minute rather than never.
pub fn dump_arguments(version: u32) -> Vec<String> {
    let compress = if version >= 16 {
        "--compress=zstd:3"
    } else {
        "--compress=6"
    };
    [
        "pg_dump",
        "--format=custom",
        compress,
        "--no-password",
        "--lock-wait-timeout=60000",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The table of contents of an archive on the input.
pub fn list_arguments() -> Vec<String> {
    ["pg_restore", "--list"].map(str::to_owned).to_vec()
}

/// Reads a whole archive on the input and unpacks everything in it, into nothing.
pub fn decode_arguments() -> Vec<String> {
    ["pg_restore", "--file=/dev/null"]
        .map(str::to_owned)
        .to_vec()
}

/// Restores an archive on the input; the first error ends it.
pub fn restore_arguments(dbname: String) -> Vec<String> {
    vec![
        "pg_restore".into(),
        "--exit-on-error".into(),
        "--no-password".into(),
        dbname,
    ]
}

/// Reads what `pg_restore --list` prints:
/// `217; 1259 16386 TABLE public users tasks`, comments beginning with `;`.
pub fn read_list(text: &str) -> Contents {
    let mut contents = Contents::default();
    for line in text.lines() {
        if line.starts_with(';') {
            continue;
        }
        let Some((_, rest)) = line.split_once("; ") else {
            continue;
        };
        let mut parts = rest.splitn(3, ' ');
        let (Some(_), Some(_), Some(what)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        contents.entries += 1;
        if what.starts_with("TABLE DATA ") {
            contents.table_data += 1;
        } else if what.starts_with("TABLE ") && !what.starts_with("TABLE ATTACH ") {
            contents.tables += 1;
        }
    }
    contents
}

/// Why a tool failed, from how it ended and what it said last.
pub fn why(tool: &str, end: &JobEnd) -> String {
    let said = end
        .errors
        .iter()
        .rev()
        .find(|l| l.contains("error:") || l.contains("ERROR:"))
        .or_else(|| end.errors.iter().rev().find(|l| !l.trim().is_empty()));
    let full = end
        .errors
        .iter()
        .any(|l| l.contains("No space left on device"));
    let mut text = format!("{tool} {}", end.exit);
    if let Some(said) = said {
        let said: String = said.trim().chars().take(300).collect();
        text.push_str(&format!(": {said}"));
    }
    if full {
        text.push_str(". The disk is full: free some space, then try again");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMs;
    use crate::supervise::Exit;

    #[test]
    fn f6_dumps_are_compressed_by_zstd_from_16_on_and_gzip_before() {
        assert!(dump_arguments(17).contains(&"--compress=zstd:3".to_owned()));
        assert!(dump_arguments(15).contains(&"--compress=6".to_owned()));
    }

    #[test]
    fn f6_the_table_of_contents_is_counted() {
        let text = "\
;
; Archive created at 2026-11-21 02:17:00 UTC
;     dbname: tasks
;
217; 1259 16386 TABLE public users tasks
218; 1259 16390 TABLE public odd name tasks
219; 0 0 TABLE ATTACH public part_1 tasks
3350; 0 16386 TABLE DATA public users tasks
3202; 2606 16389 CONSTRAINT public users users_pkey tasks
";
        assert_eq!(
            read_list(text),
            Contents {
                tables: 2,
                table_data: 1,
                entries: 5
            }
        );
        assert_eq!(read_list(""), Contents::default());
    }

    #[test]
    fn f6_a_failed_tool_is_told_by_its_own_words() {
        let end = |code, oom, lines: &[&str]| JobEnd {
            exit: Exit {
                code,
                oom,
                at: UnixMs(0),
            },
            errors: lines.iter().map(|l| (*l).to_owned()).collect(),
        };
        let text = why(
            "pg_dump",
            &end(1, false, &["pg_dump: error: connection failed", "detail"]),
        );
        assert_eq!(
            text,
            "pg_dump ended with exit code 1: pg_dump: error: connection failed"
        );
        let text = why(
            "pg_restore",
            &end(
                1,
                false,
                &["ERROR:  could not extend file: No space left on device"],
            ),
        );
        assert!(text.contains("The disk is full: free some space"), "{text}");
        assert!(why("pg_dump", &end(137, true, &[])).contains("memory limit"));
    }
}
