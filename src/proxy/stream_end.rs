//! Stream end: how an answer that is under way ends when the drain of its target, or of the edge, has reached its limit.
//!
//! What is a stream by its type may end at any time, and is ended in its own way: server-sent events that were asked for
//! with GET between two events, a gRPC call between two messages with a status in its trailers. Anything else without a length
//! is broken off, never ended: half a download must not pass for a whole one. What has a length cannot pass for whole, and is
//! left to its app. Whatever is there already still goes out, and what is about to end has a moment for it.
//! An answer that never waits for its app costs a comparison a piece; what tells of the limit is made for one that does.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Method, Response, Version};
use http_body::Body as _;
use tokio::time::{Sleep, sleep};

use super::body::EdgeBody;
use super::client::{Client, Phase};
use super::endings::Place;
use super::exchange::Exchange;
use super::grpc_status;
use super::target::Target;

/// How long the event or message that is on its way may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Of one answer.
pub(super) struct StreamEnd {
    kind: Kind,
    /// Its client knows the end of the answer by that of the connection.
    pub(super) is_told_by_close: bool,
    signal: Signal,
}

/// What wakes the answer.
enum Signal {
    /// It has not waited yet.
    None,
    Limit(Place),
    /// The limit has been reached: the end of the farewell.
    Farewell(Pin<Box<Sleep>>),
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// It has a length, or comes from nobody who drains.
    NotAtAll,
    Events(Events),
    Messages(Messages),
    Other,
}

/// What becomes of an answer at the limit.
pub(super) enum Farewell {
    /// It goes on until it can end.
    Not,
    /// It ends like one that is whole, with these trailers.
    Ends(Option<HeaderMap>),
    /// It is broken off.
    Breaks,
}

impl StreamEnd {
    pub(super) fn none() -> StreamEnd {
        StreamEnd {
            kind: Kind::NotAtAll,
            is_told_by_close: false,
            signal: Signal::None,
        }
    }

    /// Of an answer to a request of this version.
    pub(super) fn of(
        response: &Response<EdgeBody>,
        exchange: &Exchange,
        (method, version): (&Method, Version),
    ) -> StreamEnd {
        if response.body().size_hint().exact().is_some() {
            return StreamEnd::none();
        }
        let kind = match exchange.claim() {
            Some(_) => Kind::of(response.headers(), exchange.client.http2.get()),
            None => Kind::NotAtAll,
        };
        // Nobody asks again for events that answer anything else.
        let kind = match kind {
            Kind::Events(_) if *method != Method::GET => Kind::Other,
            kind => kind,
        };
        StreamEnd {
            kind,
            is_told_by_close: version < Version::HTTP_11,
            ..StreamEnd::none()
        }
    }

    /// Whether the answer ends early at all.
    pub(super) fn may_come(&self) -> bool {
        self.kind != Kind::NotAtAll
    }

    /// A piece of the answer was passed on.
    pub(super) fn passed(&mut self, data: &[u8]) {
        let _whole = self.kind.pass(data);
    }

    /// How much of a piece is passed on at the limit: of events what ends the one that had begun, and no more.
    pub(super) fn passes_last(&mut self, data: &[u8]) -> usize {
        self.kind.passes_last(data)
    }

    /// Whether the limit has been reached.
    pub(super) fn is_due(&self, client: &Client, target: &Target) -> bool {
        target.is_cut() || client.phase() >= Phase::AtLimit
    }

    /// It waits for its app, and is to be woken when the limit may have been reached.
    pub(super) fn listen(&mut self, cx: &Context<'_>, client: &Client, target: &Arc<Target>) {
        if let Signal::None = self.signal {
            self.signal = Signal::Limit(client.worker.endings.place_at(target));
        }
        if let Signal::Limit(place) = &self.signal {
            place.listen(cx);
        }
    }

    /// Whether the moment is over that what is on its way may take; it begins with the first question.
    pub(super) fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            match &mut self.signal {
                Signal::Farewell(sleep) => return sleep.as_mut().poll(cx).is_ready(),
                signal => *signal = Signal::Farewell(Box::pin(sleep(FAREWELL))),
            }
        }
    }

    /// What becomes of the answer now that the limit has been reached and its own end is not there.
    pub(super) fn farewell(&self, is_late: bool) -> Farewell {
        match &self.kind {
            // A reader of events throws away one that has no end.
            Kind::Events(events) if is_late || events.is_between() => Farewell::Ends(None),
            Kind::Messages(_) if is_late => Farewell::Ends(Some(grpc_status::drained())),
            Kind::Other if is_late => Farewell::Breaks,
            _ => Farewell::Not,
        }
    }
}

impl Kind {
    fn of(headers: &HeaderMap, http2: bool) -> Kind {
        let content_type = headers.get(header::CONTENT_TYPE);
        let name = content_type.map_or(&b""[..], |value| value.as_bytes());
        let name = name.split(|byte| *byte == b';').next().unwrap_or_default();
        let is_plain = !headers.contains_key(header::CONTENT_ENCODING);
        if is_plain && name.trim_ascii().eq_ignore_ascii_case(b"text/event-stream") {
            Kind::Events(Events::default())
        } else if http2 && grpc_status::is_grpc(headers) {
            Kind::Messages(Messages::default())
        } else {
            Kind::Other
        }
    }
}

impl Kind {
    fn pass(&mut self, data: &[u8]) -> Option<usize> {
        match self {
            Kind::Events(events) => events.pass(data),
            Kind::Messages(messages) => messages.pass(data),
            Kind::NotAtAll | Kind::Other => None,
        }
    }

    fn passes_last(&mut self, data: &[u8]) -> usize {
        match (self.pass(data), self) {
            (Some(end), Kind::Events(events)) => {
                *events = Events::default();
                end
            }
            _ => data.len(),
        }
    }
}

/// Where a stream of server-sent events stands: a blank line ends one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Events {
    /// The event that has begun has bytes, and the line that has begun in it.
    in_event: bool,
    in_line: bool,
    after_cr: bool,
}

impl Events {
    fn is_between(&self) -> bool {
        !self.in_event
    }

    /// Goes over a piece; says where the first event of it ends.
    fn pass(&mut self, data: &[u8]) -> Option<usize> {
        let mut end = None;
        for (at, byte) in data.iter().enumerate() {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                // The second half of a line's end.
                b'\n' if after_cr => {
                    if end == Some(at) {
                        end = Some(at + 1);
                    }
                }
                b'\r' | b'\n' if !std::mem::take(&mut self.in_line) => {
                    self.in_event = false;
                    end = end.or(Some(at + 1));
                }
                b'\r' | b'\n' => {}
                _ => (self.in_event, self.in_line) = (true, true),
            }
        }
        end
    }
}

/// Where a stream of gRPC messages stands: each is a byte, four of its length, and itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Messages {
    /// Bytes of the five that came.
    head: u8,
    length: u32,
    /// Bytes of the message that are missing.
    left: u32,
}

impl Messages {
    fn is_between(&self) -> bool {
        self.head == 0 && self.left == 0
    }

    /// Goes over a piece; says where the first message of it ends.
    fn pass(&mut self, data: &[u8]) -> Option<usize> {
        let (mut at, mut end) = (0, None);
        while let Some(byte) = data.get(at) {
            if self.left > 0 {
                let rest = data.len() - at;
                let part = rest.min(usize::try_from(self.left).unwrap_or(rest));
                self.left -= part as u32;
                at += part;
            } else {
                self.length = self.length << 8 | u32::from(*byte);
                self.head += 1;
                at += 1;
                if self.head == 5 {
                    (self.head, self.left, self.length) = (0, self.length, 0);
                }
            }
            if self.is_between() {
                end = end.or(Some(at));
            }
        }
        end
    }
}

#[cfg(freehold_fuzz)]
pub(super) mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_an_event_ends_with_a_blank_line_whatever_ends_lines() {
        for (pieces, between) in [
            (&[""][..], true),
            (&["data: 1\n\n"], true),
            (&["data: 1\n"], false),
            (&["data: 1\n", "\n"], true),
            (&["data: 1\r\n\r", "\n"], true),
            (&["data: 1\r\r"], true),
            (&["data: 1\r", "\n"], false),
            (&["data: 1\r\n", "data: 2"], false),
            (&[": hello\n\n", "id: 7"], false),
            // What passes nothing on begins no event.
            (&["\n\n\n"], true),
        ] {
            let mut events = Events::default();
            for piece in pieces {
                events.pass(piece.as_bytes());
            }
            assert_eq!(events.is_between(), between, "{pieces:?}");
        }
    }

    #[test]
    fn n2_of_the_last_piece_only_the_event_that_had_begun_goes_out() {
        for (begun, last, passed) in [
            ("data: 1", "2\n\ndata: 3\n\n", "2\n\n"),
            ("data: 1\r\n", "\r\ndata: 3\r\n\r\n", "\r\n"),
            ("data: 1\n", "\n", "\n"),
            ("data: 1", " and more", " and more"),
        ] {
            let headers = [(header::CONTENT_TYPE, "text/event-stream")];
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
            let mut end = StreamEnd {
                kind: Kind::of(&headers.into_iter().collect(), false),
                ..StreamEnd::none()
            };
            end.passed(begun.as_bytes());
            let length = end.passes_last(last.as_bytes());
            assert_eq!(&last[..length], passed, "{begun:?} {last:?}");
        }
    }

    #[test]
    fn n2_a_message_ends_where_its_length_says() {
        let mut all = Vec::new();
        for length in [3_u32, 0, 70_000] {
            all.push(0);
            all.extend(length.to_be_bytes());
            all.resize(all.len() + length as usize, b'x');
        }
        let ends = [8, 13, all.len()];
        for size in [1, 2, 7, 4_096, all.len()] {
            let mut messages = Messages::default();
            let mut at = 0;
            for piece in all.chunks(size) {
                let first = messages.pass(piece).map(|end| at + end);
                let wanted = ends.into_iter().find(|end| *end > at);
                let wanted = wanted.filter(|end| *end <= at + piece.len());
                assert_eq!(first, wanted, "{at} by {size}");
                at += piece.len();
                assert_eq!(messages.is_between(), ends.contains(&at), "{at} by {size}");
            }
        }
    }

    #[test]
    fn n2_a_stream_is_known_by_its_type_and_coded_events_are_none() {
        let of = |fields: &[(&'static str, &str)], http2| {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            Kind::of(&fields.collect(), http2)
        };
        let events = ("content-type", "Text/Event-Stream; charset=utf-8");
        assert_eq!(of(&[events], false), Kind::Events(Events::default()));
        let coded = of(&[events, ("content-encoding", "gzip")], true);
        assert_eq!(coded, Kind::Other);
        let grpc = ("content-type", "application/grpc+proto");
        assert_eq!(of(&[grpc], true), Kind::Messages(Messages::default()));
        // Without trailers its end would say nothing.
        assert_eq!(of(&[grpc], false), Kind::Other);
        for kind in ["text/csv", "application/x-ndjson", "text/event-stream2"] {
            assert_eq!(of(&[("content-type", kind)], true), Kind::Other, "{kind}");
        }
        assert_eq!(of(&[], true), Kind::Other);
    }
}
