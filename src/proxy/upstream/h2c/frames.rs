//! Frames of HTTP/2 as a target sends them, followed only so far as to know which of them are trailers.
//!
//! Fields on a stream are a head, or one of some that only inform (1xx) and are followed by another; once that is there,
//! what comes later are trailers. A head's first field is its status. Where that is none that is told here, one of the
//! target's own table, and no data comes between, it stays open which the last fields are, and they go on as they are.
use std::collections::BTreeMap;

use crate::proxy::h2_trailers::{Follow, HEAD, LARGEST, Stop, is_apart};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// Streams that are remembered: more than a connection has. Those that were reset from here go when there are more.
const MOST: usize = 256;
/// Of the names everybody knows, those of statuses (RFC 7541, appendix A).
const STATUS: std::ops::RangeInclusive<u8> = 8..=14;

/// Where a connection's frames stand.
#[derive(Debug, Default)]
pub(in crate::proxy) struct AnswerFrames {
    /// What is left of a payload.
    left: usize,
    head: [u8; HEAD],
    /// Bytes of a head that has come in part.
    read: usize,
    /// Streams that have begun to answer and not ended, and whether what comes next is no head any more.
    answering: BTreeMap<u32, bool>,
    peek: Option<Peek>,
    trailers_begin: bool,
    over: bool,
}

/// The first field of a head, looked for in a payload that has begun.
#[derive(Debug)]
struct Peek {
    stream: u32,
    /// What is left before the fields: the length of padding, and a priority.
    before: usize,
    /// In the midst of a number.
    goes_on: bool,
    found: [u8; 3],
    count: usize,
}

impl Follow for AnswerFrames {
    fn follow(&mut self, bytes: &[u8]) -> Option<Stop> {
        let mut at = 0;
        loop {
            if std::mem::take(&mut self.trailers_begin) {
                return Some(Stop::Trailers(at, self.head));
            }
            let skipped = self.left.min(bytes.len() - at);
            self.look_into(&bytes[at..at + skipped]);
            at += skipped;
            self.left -= skipped;
            if self.over && self.left == 0 {
                return Some(Stop::Over(at));
            }
            let rest = &bytes[at..];
            if rest.is_empty() {
                return None;
            }
            let count = rest.len().min(HEAD - self.read);
            self.head[self.read..self.read + count].copy_from_slice(&rest[..count]);
            self.read += count;
            at += count;
            if self.read == HEAD {
                self.read = 0;
                self.begin();
            }
        }
    }

    fn cut(&self) -> &[u8] {
        &self.head[..self.read]
    }
}

impl AnswerFrames {
    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        self.peek = None;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        let has = |flag: u8| flags & flag != 0;
        match kind {
            DATA => {
                if let Some(is_answered) = self.answering.get_mut(&stream) {
                    *is_answered = true;
                }
            }
            HEADERS => match self.answering.get(&stream) {
                Some(true) => {
                    // A frame that is full, and not of fields alone, has no room for a mark. Nobody sends such a one.
                    self.over |= self.left + HEAD > LARGEST && is_apart(flags);
                    self.trailers_begin = !self.over;
                }
                _ if has(END_STREAM) => {}
                _ => {
                    self.answering.insert(stream, false);
                    if self.answering.len() > MOST {
                        self.answering.pop_first();
                    }
                    let priority = if has(PRIORITY) { 5 } else { 0 };
                    self.peek = Some(Peek {
                        stream,
                        before: usize::from(has(PADDED)) + priority,
                        goes_on: false,
                        found: [0; 3],
                        count: 0,
                    });
                }
            },
            RESET => {
                self.answering.remove(&stream);
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && has(END_STREAM) {
            self.answering.remove(&stream);
        }
    }

    /// Looks at a piece of a payload for the status of a head.
    fn look_into(&mut self, payload: &[u8]) {
        let Some(peek) = &mut self.peek else {
            return;
        };
        let Some(informs) = payload.iter().find_map(|byte| peek.take(*byte)) else {
            return;
        };
        if let Some(is_answered) = self.answering.get_mut(&peek.stream) {
            *is_answered = informs == Some(false);
        }
        self.peek = None;
    }
}

impl Peek {
    /// Takes the next byte. `Some`: enough is known, and whether the head only informs, if that is.
    fn take(&mut self, byte: u8) -> Option<Option<bool>> {
        if self.before > 0 {
            self.before -= 1;
            return None;
        }
        if self.goes_on {
            self.goes_on = byte & 0x80 != 0;
            return None;
        }
        // A change of the table's size comes before all fields.
        if self.count == 0 && byte & 0xe0 == 0x20 {
            self.goes_on = byte & 0x1f == 0x1f;
            return None;
        }
        self.found[self.count] = byte;
        self.count += 1;
        let [first, length, digit] = self.found;
        let known = first & 0x80 != 0;
        // With an index to come (6.2.1), or without one (6.2.2, 6.2.3).
        let name = match first & 0xc0 {
            0x40 => first & 0x3f,
            _ => first & 0x0f,
        };
        match self.count {
            // All statuses that everybody knows are answers'.
            1 if known => Some(STATUS.contains(&(first & 0x7f)).then_some(false)),
            1 if !STATUS.contains(&name) => Some(None),
            1 | 2 => None,
            // In Huffman code `1` has five bits.
            _ if length & 0x80 != 0 => Some(Some(digit >> 3 == 1)),
            _ => Some(Some(digit == b'1')),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::h2_trailers::{Passed, Trailers};

    const END_HEADERS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags];
        [&head[..], &stream.to_be_bytes(), payload].concat()
    }

    /// All that goes on, in pieces of at most so many bytes, and whether it is over.
    fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let (mut frames, mut trailers) = (AnswerFrames::default(), Trailers::default());
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            let (passed, is_over) = trailers.pass(&mut frames, piece);
            match passed {
                Passed::AsTheyAre(count) => all.extend(&piece[..count]),
                Passed::Instead(bytes) => all.extend(bytes),
            }
            if is_over {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn e3_fields_behind_an_answers_head_are_trailers_and_heads_stay_as_they_are() {
        let (all, last) = (END_HEADERS, END_HEADERS | END_STREAM);
        let head = |payload: &[u8]| frame(HEADERS, all, 1, payload);
        let end = frame(HEADERS, last, 1, &[0x88, 1, 2]);
        let data = frame(DATA, 0, 1, b"hello");
        let marked = frame(HEADERS, last, 1, &[0x0f, 33, 0, 0x88, 1, 2]);
        for (what, before, is_marked) in [
            ("nothing, all is one head", vec![], false),
            ("a head", head(&[0x88]), true),
            (
                "a head and data",
                [head(&[0x88]), data.clone()].concat(),
                true,
            ),
            ("404 by its index", head(&[0x8d, 0, 1]), true),
            ("103 in full", head(&[0x08, 3, b'1', b'0', b'3']), false),
            (
                "103 in Huffman code",
                head(&[0x48, 0x82, 0x08, 0x0f]),
                false,
            ),
            ("201 in full", head(&[0x48, 3, b'2', b'0', b'1']), true),
            ("201 in Huffman code", head(&[0x48, 0x82, 0x10, 0x03]), true),
            ("a status of the target's own", head(&[0xbe]), false),
            (
                "one of its own, and data",
                [head(&[0xbe]), data.clone()].concat(),
                true,
            ),
            (
                "103 and a head",
                [head(&[0x08, 3, b'1', b'0', b'3']), head(&[0x88])].concat(),
                true,
            ),
            (
                "another size of the table",
                head(&[0x3f, 0x80, 1, 0x20, 0x88]),
                true,
            ),
            (
                "padding and a priority",
                frame(
                    HEADERS,
                    all | PADDED | PRIORITY,
                    1,
                    &[1, 0, 0, 0, 0, 0, 0x88, 0],
                ),
                true,
            ),
            (
                "another stream's head",
                frame(HEADERS, all, 3, &[0x88]),
                false,
            ),
            (
                "a head, and a reset",
                [head(&[0x88]), frame(RESET, 0, 1, &[0; 4])].concat(),
                false,
            ),
        ] {
            let wanted = [&before[..], if is_marked { &marked } else { &end }].concat();
            let sent = [before, end.clone()].concat();
            for piece in [1, 2, 5, 9, 10, 1_000] {
                assert_eq!(passed(&sent, piece), (wanted.clone(), false), "{what}");
            }
        }
    }

    #[test]
    fn e3_the_mark_stands_before_the_first_field_and_behind_what_must_come_first() {
        let head = frame(HEADERS, END_HEADERS, 1, &[0x88]);
        for (what, flags, payload, marked) in [
            ("nothing", 0, &[][..], &[0x0f, 33, 0][..]),
            ("a field", 0, &[0x84], &[0x0f, 33, 0, 0x84]),
            ("padding", PADDED, &[1, 0x84, 0], &[1, 0x0f, 33, 0, 0x84, 0]),
            ("padding alone", PADDED, &[2, 0, 0], &[2, 0x0f, 33, 0, 0, 0]),
            (
                "a priority",
                PRIORITY,
                &[0, 0, 0, 0, 9, 0x84],
                &[0, 0, 0, 0, 9, 0x0f, 33, 0, 0x84],
            ),
            (
                "sizes of the table",
                0,
                &[0x20, 0x3f, 0x80, 0x7f, 0x84],
                &[0x20, 0x3f, 0x80, 0x7f, 0x0f, 33, 0, 0x84],
            ),
            ("a size alone", 0, &[0x20], &[0x20, 0x0f, 33, 0]),
            // Such as h2 refuses stay so: three bytes more would make them whole.
            ("nothing, and padded", PADDED, &[], &[]),
            ("more padding than there is", PADDED, &[3], &[3]),
            ("padding where a field is", PADDED, &[2, 0x84], &[2, 0x84]),
            ("half of a priority", PRIORITY, &[0, 0, 0, 0], &[0, 0, 0, 0]),
            (
                "padding in a priority",
                PADDED | PRIORITY,
                &[1, 0, 0, 0, 0, 9],
                &[1, 0, 0, 0, 0, 9],
            ),
            ("too short for its flags", PADDED | PRIORITY, &[9], &[9]),
        ] {
            let flags = flags | END_STREAM;
            let next = frame(6, 0, 0, &[7; 8]);
            let sent = [&head[..], &frame(HEADERS, flags, 1, payload), &next].concat();
            let wanted = [&head[..], &frame(HEADERS, flags, 1, marked), &next].concat();
            for piece in [1, 3, 11, 1_000] {
                assert_eq!(passed(&sent, piece), (wanted.clone(), false), "{what}");
            }
        }
        // Where there is no room for it, in a frame before; whoever pads such a one has what comes of it.
        let full = vec![0x84; LARGEST];
        let long = |flags| [&head[..], &frame(HEADERS, flags, 1, &full)].concat();
        let wanted = [
            &head[..],
            &frame(HEADERS, END_STREAM, 1, &[0x0f, 33, 0]),
            &frame(9, END_HEADERS, 1, &full),
        ];
        let sent = long(END_STREAM | END_HEADERS);
        for piece in [1, 1_000, 100_000] {
            assert_eq!(passed(&sent, piece), (wanted.concat(), false));
        }
        assert!(passed(&long(END_STREAM | PADDED), 1_000).1);
    }

    proptest! {
        #[test]
        fn e3_the_cuts_between_reads_do_not_matter(
            frames in prop::collection::vec(
                (0_u8..4, any::<u8>(), 0_u32..4, prop::collection::vec(any::<u8>(), 0..20)),
                0..40,
            ),
            piece in 1_usize..40,
        ) {
            let written = frames.iter().map(|(kind, flags, stream, payload)| {
                frame(*kind, *flags, *stream, payload)
            });
            let bytes = written.collect::<Vec<_>>().concat();
            prop_assert_eq!(passed(&bytes, piece), passed(&bytes, bytes.len().max(1)));
        }
    }
}
