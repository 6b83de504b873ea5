//! Frames of HTTP/2 as a client sends them, followed only so far as to know what each costs (RFC 9113, 4.1 and 10.5).
//!
//! h2 acknowledges and obeys every one; nothing in it says how many a second. Here each connection has an allowance:
//! frames that ask for work and bring no request cost, requests and what the client takes of answers earn. Only the nine
//! bytes of a head are looked at, payloads are skipped. What the frames mean, and whether they are well formed, is left
//! to h2.
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::h2_trailers::{Follow, HEAD, LARGEST, Stop};

const PREFACE: usize = 24;

/// What a connection may spend at once from its start.
const BURST: u32 = 400;
/// It earns one in so many milliseconds, a hundred a second: more than anybody needs who asks for nothing.
const EARNED_EACH: u32 = 10;
/// What each request earns: its window updates, its reset, trailers, a priority.
const A_REQUEST: u32 = 8;
/// What can be saved up.
const SAVED: u32 = 4_096;
/// Each piece of an answer that is handed over earns so much, and each 2 KB of it one more: a client that grants the
/// window of the stream and of the connection anew for each frame spends two for 16 KB, gRPC a PING for each small one.
const A_PIECE: u32 = 4;
const BYTES_FOR_ONE: usize = 2_048;

/// Settings are acknowledged, and may change every stream there is.
const SETTINGS_COST: u32 = 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Bytes of a request's trailers on the wire. h2 leaves out, without a word, what of them goes over its bound for heads
/// (`heads_of`), and who reads them would take the rest for all; of trailers within this, what is left is then over ours.
const TRAILERS: usize = 16 * 1024;
/// What decodes to more than `header_bytes` together with `TRAILERS`: those in Huffman code (8 to 5), a table of fields
/// known from before (4 KB) with its last one once more, and 32 bytes that h2 counts for each of a hundred fields.
const BESIDE: usize = TRAILERS * 8 / 5 + 2 * 4_096 + 32 * 110;

/// Continuations of a head in the stand-in: more than h2 takes for any size of heads that can be set.
const CONTINUATIONS: usize = 256;

/// The bound of h2 for heads and trailers, where ours are these: more, so that ours decide.
pub(super) fn heads_of(uri_bytes: usize, header_bytes: usize) -> u32 {
    u32::try_from(uri_bytes + header_bytes + BESIDE).unwrap_or(u32::MAX)
}

/// What a piece of an answer earns.
pub(super) fn earned_by(piece: usize) -> u32 {
    A_PIECE + u32::try_from(piece / BYTES_FOR_ONE).unwrap_or(SAVED)
}

/// Where a connection's frames stand.
pub(super) struct H2Frames {
    /// What is left of the preface or of a payload.
    left: usize,
    head: [u8; HEAD],
    /// Bytes of a head that has come in part.
    read: usize,
    /// The stream whose head goes on in the next frame.
    unfinished: Option<u32>,
    /// The highest stream that was opened.
    newest: u32,
    /// The frame that has begun belongs to a request's head.
    is_head: bool,
    /// Bytes of the trailers that came last; 0 if a request's first fields came since.
    trailers: usize,
    allowance: u32,
    /// Up to when the seconds are counted in.
    counted: Instant,
    /// Trailers begin with the payload that comes now.
    trailers_begin: bool,
    /// Nothing goes on after the frame that is on its way.
    over: bool,
}

/// A connection's frames, and what it earns.
pub(super) struct Earning<'a, F>(pub(super) &'a mut H2Frames, pub(super) F);

impl<F: FnMut() -> (Instant, u32)> Follow for Earning<'_, F> {
    fn follow(&mut self, bytes: &[u8]) -> Option<Stop> {
        self.0.follow(bytes, &mut self.1)
    }

    fn cut(&self) -> &[u8] {
        &self.0.head[..self.0.read]
    }
}

impl H2Frames {
    pub(super) fn new(now: Instant) -> H2Frames {
        H2Frames {
            left: PREFACE,
            head: [0; HEAD],
            read: 0,
            unfinished: None,
            newest: 0,
            is_head: false,
            trailers: 0,
            trailers_begin: false,
            allowance: BURST,
            counted: now,
            over: false,
        }
    }

    /// [`H2Frames::follow`] past trailers: where the connection is over.
    #[cfg(any(test, freehold_fuzz))]
    pub(super) fn look(
        &mut self,
        bytes: &[u8],
        earn: &mut impl FnMut() -> (Instant, u32),
    ) -> Option<usize> {
        let mut at = 0;
        loop {
            match self.follow(&bytes[at..], earn)? {
                Stop::Over(here) => return Some(at + here),
                Stop::Trailers(here, _) => at += here,
            }
        }
    }

    /// Follows these bytes up to trailers, or to where it is over: the connection has spent more than it had, or was
    /// stopped, and a frame ends here; only the bytes before may go on. `earn` is asked when the allowance is spent: what
    /// time it is, and what answers have earned since it was asked last.
    fn follow(&mut self, bytes: &[u8], earn: &mut impl FnMut() -> (Instant, u32)) -> Option<Stop> {
        let mut at = 0;
        loop {
            if std::mem::take(&mut self.trailers_begin) {
                return Some(Stop::Trailers(at, self.head));
            }
            let skipped = self.left.min(bytes.len() - at);
            at += skipped;
            self.left -= skipped;
            if self.over && self.is_between_frames() {
                return Some(Stop::Over(at));
            }
            let rest = &bytes[at..];
            if rest.is_empty() {
                return None;
            }
            if self.read == 0
                && let Some(head) = rest.first_chunk::<HEAD>()
            {
                at += HEAD;
                self.begin(*head, earn);
                continue;
            }
            let count = rest.len().min(HEAD - self.read);
            self.head[self.read..self.read + count].copy_from_slice(&rest[..count]);
            self.read += count;
            at += count;
            if self.read == HEAD {
                self.read = 0;
                self.begin(self.head, earn);
            }
        }
    }

    /// Whether trailers were too long, so that h2 may not tell all of them. The connection is over then.
    pub(super) fn trailers_are_too_long(&self) -> bool {
        self.trailers > TRAILERS
    }

    /// Lets nothing pass any more once the frame that has begun is over.
    pub(super) fn stop(&mut self) {
        self.over = true;
    }

    pub(super) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.read == 0
    }

    /// Whether a request's head, or the head of a frame, has come in part.
    pub(super) fn is_in_a_head(&self) -> bool {
        self.unfinished.is_some() || self.read > 0 || (self.left > 0 && self.is_head)
    }

    /// Frames upon which h2 ends the connection with `ENHANCE_YOUR_CALM`, whatever came before: hyper has no way to ask
    /// it to. They are a head that never ends.
    pub(super) fn stand_in(&self) -> Bytes {
        let mut frames = BytesMut::new();
        let mut frame = |kind: u8, stream: u32| {
            frames.extend_from_slice(&[0, 0, 0, kind, 0]);
            frames.extend_from_slice(&stream.to_be_bytes());
        };
        let stream = self.unfinished.unwrap_or(1);
        if self.unfinished.is_none() {
            frame(HEADERS, stream);
        }
        (0..CONTINUATIONS).for_each(|_| frame(CONTINUATION, stream));
        frames.freeze()
    }

    fn begin(&mut self, head: [u8; HEAD], earn: &mut impl FnMut() -> (Instant, u32)) {
        self.head = head;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.left = length as usize;
        self.is_head = matches!(kind, HEADERS | CONTINUATION);
        let has = |flag: u8| flags & flag != 0;
        let cost = match kind {
            // Padding is what an empty frame would hide behind.
            DATA => u32::from(has(PADDED) || (length == 0 && !has(END_STREAM))),
            HEADERS => {
                self.unfinished = (!has(END_HEADERS)).then_some(stream);
                if stream > self.newest {
                    self.newest = stream;
                    self.trailers = 0;
                    self.allowance = (self.allowance + A_REQUEST).min(SAVED);
                    0
                } else {
                    self.trailers = HEAD + self.left;
                    1
                }
            }
            CONTINUATION => {
                if has(END_HEADERS) {
                    self.unfinished = None;
                }
                if self.trailers > 0 {
                    self.trailers += HEAD + self.left;
                }
                u32::from(length == 0)
            }
            SETTINGS => SETTINGS_COST,
            _ => 1,
        };
        if cost > 0 {
            self.spend(cost, earn);
        }
        self.over |= self.trailers_are_too_long();
        // What is too long is the last thing anyway.
        self.trailers_begin = kind == HEADERS && (HEAD..=LARGEST).contains(&self.trailers);
    }

    fn spend(&mut self, cost: u32, earn: &mut impl FnMut() -> (Instant, u32)) {
        if self.allowance < cost {
            let (now, earned) = earn();
            let lasted = now.saturating_duration_since(self.counted);
            let for_time = u32::try_from(lasted.as_millis()).unwrap_or(u32::MAX) / EARNED_EACH;
            // What is left of a moment counts the next time.
            let begun = lasted.subsec_millis() % EARNED_EACH;
            self.counted = now - Duration::from_millis(begun.into());
            let earned = for_time.min(BURST).saturating_add(earned);
            self.allowance = self.allowance.saturating_add(earned).min(SAVED);
        }
        match self.allowance.checked_sub(cost) {
            Some(left) => self.allowance = left,
            None => self.over = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;
    const RESET: u8 = 3;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = size[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.resize(HEAD + length, 0xff);
        bytes
    }

    fn begun() -> H2Frames {
        let mut frames = H2Frames::new(Instant::now());
        assert_eq!(frames.look(&[b'x'; PREFACE], &mut nothing()), None);
        frames
    }

    fn nothing() -> impl FnMut() -> (Instant, u32) {
        let now = Instant::now();
        move || (now, 0)
    }

    /// How many of these frames pass, of up to `most`, when nothing is earned meanwhile.
    fn passing(frame: &[u8], most: usize) -> usize {
        let (mut frames, mut earn) = (begun(), nothing());
        (0..most)
            .find(|_| frames.look(frame, &mut earn).is_some())
            .unwrap_or(most)
    }

    #[test]
    fn e4_frames_that_bring_no_request_cost_and_the_others_do_not() {
        for (what, frame, most) in [
            ("PING", frame(PING, 0, 0, 8), 400),
            ("an answer to a PING", frame(PING, 1, 0, 8), 400),
            ("RST_STREAM", frame(RESET, 0, 1, 4), 400),
            ("PRIORITY", frame(2, 0, 1, 5), 400),
            ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, 4), 400),
            ("unknown", frame(0xfa, 0, 0, 100), 400),
            ("empty DATA", frame(DATA, 0, 1, 0), 400),
            ("nothing but padding", frame(DATA, PADDED, 1, 200), 400),
            ("SETTINGS", frame(SETTINGS, 0, 0, 6), 100),
            ("empty CONTINUATION", frame(CONTINUATION, 0, 1, 0), 400),
            ("small DATA", frame(DATA, 0, 1, 5), 10_000),
            ("the end of a body", frame(DATA, END_STREAM, 1, 0), 10_000),
            ("CONTINUATION", frame(CONTINUATION, 0, 1, 100), 10_000),
        ] {
            assert_eq!(passing(&frame, 10_000), most, "{what}");
        }
        // The first opens a stream and earns; what comes on it later are trailers.
        assert_eq!(passing(&frame(HEADERS, END_HEADERS, 1, 20), 10_000), 409);
    }

    #[test]
    fn e4_requests_answers_and_time_earn() {
        let (mut frames, mut earn) = (begun(), nothing());
        // A request with all that may come with it, for ever.
        for stream in (1..200_000).step_by(2) {
            assert_eq!(
                frames.look(&frame(HEADERS, END_HEADERS, stream, 30), &mut earn),
                None
            );
            for kind in [2, RESET, WINDOW_UPDATE, WINDOW_UPDATE, WINDOW_UPDATE, PING] {
                assert_eq!(frames.look(&frame(kind, 0, stream, 8), &mut earn), None);
            }
        }
        // Both windows granted anew for every frame of a gigabyte.
        let mut frames = begun();
        let mut owed = 0;
        for _ in 0..65_536 {
            owed += earned_by(16_384);
            let now = Instant::now();
            for _ in 0..2 {
                let mut earn = || (now, std::mem::take(&mut owed));
                let window = frame(WINDOW_UPDATE, 0, 0, 4);
                assert_eq!(frames.look(&window, &mut earn), None);
            }
        }
        // A PING every ten milliseconds for an hour; one every nine is too many.
        let lasts = |pause: u64| {
            let (mut frames, mut now) = (begun(), Instant::now());
            (0..360_000).all(|_| {
                now += Duration::from_millis(pause);
                frames
                    .look(&frame(PING, 0, 0, 8), &mut || (now, 0))
                    .is_none()
            })
        };
        assert!(lasts(10));
        assert!(!lasts(9));
    }

    #[test]
    fn e4_what_goes_over_ends_with_its_frame_and_the_stand_in_fits_behind_it() {
        let mut frames = begun();
        let flood = frame(PING, 0, 0, 8).repeat(500);
        let end = frames.look(&flood, &mut nothing()).unwrap();
        assert_eq!(end, 401 * (HEAD + 8));
        assert!(frames.is_between_frames());
        let stand_in = frames.stand_in();
        assert_eq!(stand_in[..HEAD], [0, 0, 0, HEADERS, 0, 0, 0, 0, 1]);
        assert_eq!(stand_in.len(), (1 + CONTINUATIONS) * HEAD);
        // In the middle of a head nothing but its continuation may follow.
        let mut frames = begun();
        frames.look(&frame(HEADERS, 0, 7, 3), &mut nothing());
        let flood = frame(CONTINUATION, 0, 7, 0).repeat(500);
        assert!(frames.look(&flood, &mut nothing()).is_some());
        assert_eq!(
            frames.stand_in()[..HEAD],
            [0, 0, 0, CONTINUATION, 0, 0, 0, 0, 7]
        );
        // Whoever is stopped inside a payload is let to its end.
        let mut frames = begun();
        let data = frame(DATA, 0, 1, 100);
        assert_eq!(frames.look(&data[..50], &mut nothing()), None);
        frames.stop();
        assert_eq!(frames.look(&data[50..80], &mut nothing()), None);
        let rest = [&data[80..], b"more"].concat();
        assert_eq!(frames.look(&rest, &mut nothing()), Some(data.len() - 80));
    }

    #[test]
    fn e3_trailers_that_are_long_on_the_wire_are_the_last_thing_that_passes() {
        let over = |frames: &[Vec<u8>]| {
            let (mut guard, mut earn) = (begun(), nothing());
            let over = frames
                .iter()
                .position(|frame| guard.look(frame, &mut earn).is_some());
            assert_eq!(guard.trailers_are_too_long(), over.is_some());
            over
        };
        let most = TRAILERS - HEAD;
        let begin = frame(HEADERS, END_HEADERS, 3, most + 9);
        let well = frame(HEADERS, END_HEADERS | END_STREAM, 3, most);
        let long = frame(HEADERS, END_HEADERS | END_STREAM, 3, most + 1);
        assert_eq!(over(&[begin.clone(), well]), None);
        assert_eq!(over(&[begin.clone(), long.clone()]), Some(1));
        // On a stream that was closed before, too; and together, wherever they are cut.
        assert_eq!(over(&[frame(HEADERS, 0, 9, 5), begin.clone()]), Some(1));
        let first = frame(HEADERS, END_STREAM, 3, 0);
        let rest = |length| frame(CONTINUATION, 0, 3, length);
        let cut = [begin.clone(), first, rest(most / 2), rest(most / 2)];
        assert_eq!(over(&cut), Some(3));
        // The head of a request has another bound, and counts for none of the trailers before it.
        let head = [
            frame(HEADERS, 0, 5, most),
            frame(CONTINUATION, END_HEADERS, 5, most),
        ];
        assert_eq!(over(&[&[begin][..], &head].concat()), None);
    }

    proptest! {
        #[test]
        fn e4_the_cuts_between_reads_do_not_matter(
            kinds in prop::collection::vec((0_u8..12, any::<u8>(), 0_u32..9, 0_usize..40), 0..600),
            cuts in prop::collection::vec(1_usize..60, 1..50),
        ) {
            let mut bytes = vec![b'x'; PREFACE];
            for (kind, flags, stream, length) in kinds {
                bytes.extend(frame(kind, flags, stream, length));
            }
            let now = Instant::now();
            let whole = H2Frames::new(now).look(&bytes, &mut || (now, 0));
            let (mut frames, mut at, mut cut) = (H2Frames::new(now), 0, cuts.iter().cycle());
            let mut in_pieces = None;
            while at < bytes.len() && in_pieces.is_none() {
                let end = bytes.len().min(at + cut.next().unwrap());
                in_pieces = frames.look(&bytes[at..end], &mut || (now, 0)).map(|end| at + end);
                at = end;
            }
            prop_assert_eq!(whole, in_pieces);
        }
    }
}
