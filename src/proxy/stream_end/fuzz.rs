//! Fuzz target of where an app's stream may end early, held against a reader that has all of it at once.

use super::{Events, Kind, Messages};

/// The first byte chooses the kind of stream and cuts it. Where it stands, and where its first event or message ends, does
/// not depend on how it arrives; and what of a piece is passed on at the limit ends the event that had begun, and nothing more.
pub fn stream_end(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let piece = usize::from(choice >> 1).max(1);
    match choice & 1 {
        0 => events(bytes, piece),
        _ => messages(bytes, piece),
    }
}

fn events(bytes: &[u8], piece: usize) {
    let (mut events, mut at, mut first) = (Events::default(), 0, None);
    for piece in bytes.chunks(piece) {
        let end = events.pass(piece);
        first = first.or(end.map(|end| at + end));
        at += piece.len();
        assert_eq!(events.is_between(), is_between_events(&bytes[..at]), "{at}");
    }
    // The second half of a line's end, in a piece of its own.
    let halved =
        first.filter(|end| bytes[..*end].ends_with(b"\r") && bytes[*end..].starts_with(b"\n"));
    assert_eq!(halved.map(|end| end + 1).or(first), blank_line(bytes));
    let (begun, last) = bytes.split_at(piece.min(bytes.len()));
    let mut kind = Kind::Events(Events::default());
    kind.pass(begun);
    let passed = kind.passes_last(last);
    if !is_between_events(begun) && passed < last.len() {
        let whole = [begun, &last[..passed]].concat();
        assert!(is_between_events(&whole));
        // But for a line's second half it is the first such place.
        let shorter = passed.saturating_sub(2);
        assert!(!is_between_events(&[begun, &last[..shorter]].concat()) || passed <= 2);
    }
}

/// Behind the first blank line.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    loop {
        let rest = &bytes[line..];
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let length = if rest[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        if end == 0 {
            return Some(line + length);
        }
        line += end + length;
    }
}

fn is_between_events(mut bytes: &[u8]) -> bool {
    while let Some(end) = blank_line(bytes) {
        bytes = &bytes[end..];
    }
    bytes.is_empty()
}

fn messages(bytes: &[u8], piece: usize) {
    let mut ends = Vec::new();
    let mut rest = bytes;
    while let [_, a, b, c, d, behind @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some(next) = behind.get(length..) else {
            break;
        };
        rest = next;
        ends.push(bytes.len() - rest.len());
    }
    let (mut messages, mut at, mut first) = (Messages::default(), 0, None);
    for piece in bytes.chunks(piece) {
        let end = messages.pass(piece);
        first = first.or(end.map(|end| at + end));
        at += piece.len();
        assert_eq!(messages.is_between(), ends.contains(&at), "{at}");
    }
    assert_eq!(first.as_ref(), ends.first());
}
