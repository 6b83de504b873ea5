//! Server-sent events (HTML standard, 9.2), read as they come.

use std::time::Duration;

use bytes::BytesMut;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::output::Fail;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What it is called; empty when nothing says so.
    pub event: String,
    /// What it carries.
    pub data: String,
}

/// Those of an answer.
pub struct Messages {
    body: Incoming,
    read: Reader,
}

/// None is longer.
const LONGEST: usize = 4 << 20;
/// A daemon that is there sends a comment every 15 s; one that is silent for so long is not.
const SILENCE: Duration = Duration::from_secs(45);

impl Messages {
    /// Those of `answer`.
    pub fn of(answer: Response<Incoming>) -> Self {
        Self {
            body: answer.into_body(),
            read: Reader::default(),
        }
    }

    /// The next one; `None` when there are no more: the daemon ended them, went away or fell silent.
    ///
    /// # Errors
    /// When one is too long to be one.
    pub async fn next(&mut self) -> Result<Option<Message>, Fail> {
        loop {
            if let Some(message) = self.read.next() {
                return Ok(Some(message));
            }
            if self.read.bytes.len() + self.read.begun.data.len() > LONGEST {
                return Err(Fail::internal("a message is too long"));
            }
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.bytes.extend_from_slice(&data);
                    }
                }
                Ok(Some(Err(_)) | None) | Err(_) => return Ok(None),
            }
        }
    }
}

/// What came and is not told yet.
#[derive(Debug, Default)]
struct Reader {
    bytes: BytesMut,
    begun: Message,
}

impl Reader {
    /// The next message that is whole.
    fn next(&mut self) -> Option<Message> {
        while let Some(at) = self.bytes.iter().position(|b| *b == b'\n') {
            let line = self.bytes.split_to(at + 1);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\n').trim_end_matches('\r');
            if line.is_empty() {
                let message = std::mem::take(&mut self.begun);
                if message != Message::default() {
                    return Some(message);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.begun.event),
                "data" => {
                    if !self.begun.data.is_empty() {
                        self.begun.data.push('\n');
                    }
                    self.begun.data.push_str(value);
                }
                // A comment has no name before its colon; what else there may be is nothing to us.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_messages_are_read_however_they_are_cut() {
        let text = ":\n\nevent: event\nid: 7\ndata: {\"a\":\ndata: 1}\n\n: silence\n\nevent:missed\r\ndata:\r\n\r\nevent: cut";
        let message = |event: &str, data: &str| Message {
            event: event.to_owned(),
            data: data.to_owned(),
        };
        let all = [message("event", "{\"a\":\n1}"), message("missed", "")];
        for size in [1, 2, 7, text.len()] {
            let mut reader = Reader::default();
            let mut read = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                reader.bytes.extend_from_slice(piece);
                read.extend(std::iter::from_fn(|| reader.next()));
            }
            assert_eq!(read, all, "in pieces of {size}");
        }
    }
}
