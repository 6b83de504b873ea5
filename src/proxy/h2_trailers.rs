//! Trailers of HTTP/2 on their way to h2, so marked that it refuses pseudo-header fields in them (RFC 9113, 8.1).
//!
//! h2 leaves such a field out of trailers without a word, and resets the stream only where one comes behind an ordinary
//! field. So an ordinary one is put before all of them: one that may stand in no trailers, and is taken out with those
//! (`headers::may_be_trailer`). It is written without an index, so that the table of known fields stays as the sender has
//! it. Nothing is decoded, and only frames of trailers are written anew.
use bytes::{BufMut, BytesMut};

/// Of a frame.
pub(super) const HEAD: usize = 9;
/// The largest payload that h2 takes unless it says otherwise.
pub(super) const LARGEST: usize = 16_384;

/// `proxy-authenticate`, the 48th of the names everybody knows, without a value (RFC 7541, 6.2.2).
const MARK: [u8; 3] = [0x0f, 48 - 15, 0];

const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Where the follower of a connection's frames stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Here a frame ends that is the last to pass.
    Over(usize),
    /// Here the head of a frame ends whose payload are trailers, or begins with them.
    Trailers(usize, [u8; HEAD]),
}

/// What follows a connection's frames.
pub(super) trait Follow {
    /// Follows these bytes; `None`: all of them, to the end.
    fn follow(&mut self, bytes: &[u8]) -> Option<Stop>;

    /// The bytes of a frame's head that has come in part. They are held back until it is whole.
    fn cut(&self) -> &[u8];
}

/// What of some bytes goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// So many, as they are.
    AsTheyAre(usize),
    /// These instead.
    Instead(BytesMut),
}

/// What is to be known of trailers between two reads.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    marking: Option<Marking>,
}

/// A frame of trailers that is not marked yet.
#[derive(Debug, Default)]
struct Marking {
    /// What is left of its payload.
    left: usize,
    /// Of that, what is left before its fields: the length of padding, and a priority.
    before: usize,
    /// Of that, padding.
    padding: usize,
    /// The head of a frame whose padding is not known yet. It is held back: only a sound frame may become longer.
    padded: Option<[u8; HEAD]>,
    /// In the midst of a number.
    goes_on: bool,
    is_marked: bool,
}

/// Whether something else than fields is in a frame of trailers with these flags: nothing that a continuation may have.
pub(super) fn is_apart(flags: u8) -> bool {
    flags & (PADDED | PRIORITY) != 0
}

impl Trailers {
    /// What of these bytes goes on, and whether nothing goes on behind it.
    pub(super) fn pass(&mut self, frames: &mut impl Follow, bytes: &[u8]) -> (Passed, bool) {
        let mut carried = BytesMut::from(frames.cut());
        let mut out = BytesMut::new();
        let (mut at, mut written) = (0, 0);
        if let Some(marking) = &mut self.marking {
            written = marking.feed(bytes, &mut out);
            self.marking.take_if(|marking| marking.is_marked);
        }
        loop {
            let (end, is_over) = match frames.follow(&bytes[at..]) {
                None => (bytes.len().saturating_sub(frames.cut().len()), false),
                Some(Stop::Over(here)) => (at + here, true),
                Some(Stop::Trailers(here, head)) => {
                    at += here;
                    match (at - written).checked_sub(HEAD) {
                        Some(before) => {
                            out.unsplit(std::mem::take(&mut carried));
                            out.extend_from_slice(&bytes[written..written + before]);
                        }
                        // It began in an earlier read.
                        None => carried.clear(),
                    }
                    let mut marking = Marking::of(head, &mut out);
                    written = at + marking.feed(&bytes[at..], &mut out);
                    self.marking = (!marking.is_marked).then_some(marking);
                    continue;
                }
            };
            // A head that is still cut is held back whole, what had come of it before included.
            if bytes.len() + carried.len() == frames.cut().len() {
                return (Passed::Instead(BytesMut::new()), is_over);
            }
            if out.is_empty() && carried.is_empty() && written == 0 {
                return (Passed::AsTheyAre(end), is_over);
            }
            out.unsplit(carried);
            out.extend_from_slice(&bytes[written..end.max(written)]);
            return (Passed::Instead(out), is_over);
        }
    }
}

fn put_head(out: &mut BytesMut, length: u32, (kind, flags): (u8, u8), stream: [u8; 4]) {
    let [_, length @ ..] = length.to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream);
}

impl Marking {
    /// The head with room for the mark goes out; where a frame has none, the mark in one of its own.
    fn of(head: [u8; HEAD], out: &mut BytesMut) -> Marking {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let left = u32::from_be_bytes([0, a, b, c]);
        let mark = MARK.len() as u32;
        if (left + mark) as usize > LARGEST && !is_apart(flags) {
            put_head(out, mark, (kind, flags & END_STREAM), stream);
            out.extend_from_slice(&MARK);
            put_head(out, left, (CONTINUATION, flags & END_HEADERS), stream);
            return Marking {
                is_marked: true,
                ..Marking::default()
            };
        }
        let is_padded = flags & PADDED != 0;
        let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
        let mut marking = Marking {
            left: left as usize,
            before: usize::from(is_padded) + priority,
            padding: 0,
            padded: None,
            goes_on: false,
            is_marked: false,
        };
        match is_padded && left > 0 {
            true => marking.padded = Some(head),
            false => marking.begin(head, marking.before <= marking.left, out),
        }
        marking
    }

    /// The head goes out, with room for the mark. A frame with less in it than its flags and its padding say has no place
    /// for one, and three bytes more might make it whole: it goes as it is, and h2 ends the connection.
    fn begin(&mut self, head: [u8; HEAD], is_sound: bool, out: &mut BytesMut) {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mark = if is_sound { MARK.len() as u32 } else { 0 };
        let length = u32::from_be_bytes([0, a, b, c]) + mark;
        put_head(out, length, (kind, flags), stream);
        self.is_marked = !is_sound;
    }

    /// Takes the payload's bytes up to where the mark belongs, and puts it there; how many were taken.
    fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) -> usize {
        let mut taken = 0;
        while !self.is_marked {
            let is_size = |byte: u8| byte & 0xe0 == 0x20;
            let byte = bytes.get(taken).copied();
            let fields_are_over = self.left <= self.padding;
            let begins = self.before == 0 && !self.goes_on && byte.is_some_and(|b| !is_size(b));
            if self.left == 0 || (self.before == 0 && fields_are_over) || begins {
                out.extend_from_slice(&MARK);
                self.is_marked = true;
                break;
            }
            let Some(byte) = byte else {
                break;
            };
            if self.before > 0 {
                self.before -= 1;
                if let Some(head) = self.padded.take() {
                    self.padding = usize::from(byte);
                    // The byte itself is not padding.
                    self.begin(head, self.before + self.padding < self.left, out);
                }
            } else if self.goes_on {
                self.goes_on = byte & 0x80 != 0;
            } else {
                // A change of the table's size, whose number has five bits here.
                self.goes_on = byte & 0x1f == 0x1f;
            }
            out.put_u8(byte);
            self.left -= 1;
            taken += 1;
        }
        taken
    }
}
