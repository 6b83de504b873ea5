//! Fuzz target of what a server says, in which names stand that its users gave, and words that they let it say.

use super::inside::{first_number, inside_of};
use super::query::{reason, rows};
use crate::base::clock::UnixMs;

/// The first byte chooses: an answer, or a complaint. All of an answer is in its rows, each database is counted once; a
/// complaint becomes a sentence of bounded length without what a terminal obeys.
pub fn said(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let text = String::from_utf8_lossy(bytes);
    if choice & 1 == 1 {
        let why = reason(&text);
        assert!(why.chars().count() <= 300, "{why}");
        assert!(!why.contains(char::is_control), "{why:?}");
        return;
    }
    let rows = rows(&text);
    let joined: Vec<_> = rows.iter().map(|row| row.join("\u{1f}")).collect();
    let whole = text.strip_suffix('\n').unwrap_or(&text);
    assert_eq!(joined.join("\u{1e}"), whole);
    let inside = inside_of(&rows, UnixMs(5));
    assert!(inside.logical.len() <= rows.len());
    let largest = inside
        .logical
        .iter()
        .map(|logical| logical.size_bytes)
        .max();
    assert!(largest.unwrap_or(0) <= inside.size_bytes);
    let _either = first_number(&rows);
}
