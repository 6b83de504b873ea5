//! One record of the journal, to bytes and back.
//!
//! `magic (4) | kind (1) | 0 (3) | number (8) | length (4) | checksum (16) | text`, numbers with the lowest byte
//! first. The checksum is the beginning of the SHA-256 of all that stands before and behind it. A record that is not
//! whole is not believed; reading goes on at the next that is. What was given up is overwritten with zeros, which
//! is also what a file has behind its last record. Files are left to `journal.rs`.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMs;

const MAGIC: [u8; 4] = *b"FhJ1";
const BEFORE: usize = 20;
const SUM: usize = 16;
/// Bytes of a record without its text.
pub(super) const HEAD: usize = BEFORE + SUM;

/// What one transaction changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// When.
    pub(super) at_ms: UnixMs,
    /// Steps of the schema that were done.
    pub(super) schema: i64,
    /// What it is about, in words for a person.
    pub(super) about: Vec<String>,
    /// Rows it changed, triggers and foreign keys included.
    pub(super) rows: u64,
    /// Every statement, with its values in it, in order.
    pub(super) statements: Vec<String>,
}

/// One thing a journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// This was about to be committed.
    Change(u64, Change),
    /// This was committed.
    Kept(u64),
    /// Bytes that are no record.
    Unreadable {
        /// From where in the file.
        at: usize,
        /// Whether a record that can be read follows.
        inside: bool,
    },
}

/// The bytes of a change.
///
/// # Errors
/// When it is too large for a record (4 GB).
pub(super) fn change(number: u64, change: &Change) -> Result<Vec<u8>, String> {
    let text = serde_json::to_vec(change).map_err(|e| e.to_string())?;
    frame(1, number, &text)
}

/// The bytes that say that `number` was committed.
pub(super) fn kept(number: u64) -> Vec<u8> {
    frame(2, number, &[]).unwrap_or_default()
}

fn frame(kind: u8, number: u64, text: &[u8]) -> Result<Vec<u8>, String> {
    let length = u32::try_from(text.len()).map_err(|_| "a change of more than 4 GB".to_owned())?;
    let mut bytes = Vec::with_capacity(HEAD + text.len());
    bytes.extend(MAGIC);
    bytes.extend([kind, 0, 0, 0]);
    bytes.extend(number.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    let sum = checksum(&bytes, text);
    bytes.extend(sum);
    bytes.extend(text);
    Ok(bytes)
}

fn checksum(head: &[u8], text: &[u8]) -> [u8; SUM] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(head);
    context.update(text);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&context.finish().as_ref()[..SUM]);
    sum
}

/// Everything that `bytes` say, in order, one thing at a time: a file may hold more than is to be in memory twice.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += bytes.get(at..)?.iter().position(|b| *b != 0)?;
        if let Some((entry, length)) = one(&bytes[at..]) {
            at += length;
            return Some(entry);
        }
        let next = (at + 1..bytes.len())
            .find(|next| bytes[*next..].starts_with(&MAGIC) && one(&bytes[*next..]).is_some());
        let unreadable = Entry::Unreadable {
            at,
            inside: next.is_some(),
        };
        at = next.unwrap_or(bytes.len());
        Some(unreadable)
    })
}

fn one(bytes: &[u8]) -> Option<(Entry, usize)> {
    let head = bytes.get(..BEFORE)?;
    if head[..4] != MAGIC {
        return None;
    }
    let number = u64::from_le_bytes(head[8..16].try_into().ok()?);
    let length = u32::from_le_bytes(head[16..20].try_into().ok()?) as usize;
    let text = bytes.get(HEAD..HEAD.checked_add(length)?)?;
    if checksum(head, text) != bytes[BEFORE..HEAD] {
        return None;
    }
    let entry = match head[4] {
        1 => Entry::Change(number, serde_json::from_slice(text).ok()?),
        2 => Entry::Kept(number),
        _ => return None,
    };
    Some((entry, HEAD + length))
}

/// Where the last thing that is no zero ends: there writing goes on.
pub(super) fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Entry> {
        entries(bytes).collect()
    }

    fn of(words: &str) -> Change {
        Change {
            at_ms: UnixMs(5),
            schema: 23,
            about: vec![words.into()],
            rows: 1,
            statements: vec![format!("INSERT INTO meta VALUES ('{words}')")],
        }
    }

    fn three() -> Vec<u8> {
        let mut bytes = change(1, &of("one")).unwrap();
        bytes.extend(kept(1));
        bytes.extend(change(2, &of("two")).unwrap());
        bytes.extend([0; 500]);
        bytes
    }

    #[test]
    fn n7_what_was_written_is_read() {
        assert_eq!(
            read(&three()),
            [
                Entry::Change(1, of("one")),
                Entry::Kept(1),
                Entry::Change(2, of("two"))
            ]
        );
        assert_eq!(end(&three()), three().len() - 500);
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[0; 70]), []);
    }

    #[test]
    fn n7_a_flipped_bit_anywhere_is_noticed_and_what_follows_is_still_read() {
        let whole = three();
        let first = change(1, &of("one")).unwrap().len();
        for at in 0..first {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let entries = read(&bytes);
            assert!(
                matches!(entries[0], Entry::Unreadable { inside: true, .. }),
                "{at}: {entries:?}"
            );
            assert_eq!(entries[1..], [Entry::Kept(1), Entry::Change(2, of("two"))]);
        }
    }

    #[test]
    fn n7_a_record_that_was_cut_off_is_no_record() {
        let whole = three();
        for cut in 1..whole.len() - 501 {
            for entry in read(&whole[..cut]) {
                match entry {
                    Entry::Change(1, change) => assert_eq!(change, of("one")),
                    Entry::Change(..) => panic!("half a record was read at {cut}"),
                    Entry::Kept(number) => assert_eq!(number, 1),
                    Entry::Unreadable { inside, .. } => assert!(!inside),
                }
            }
        }
    }
}
