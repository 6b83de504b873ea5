//! Newline-delimited JSON, read as it comes.

use bytes::BytesMut;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::output::Fail;

/// The lines of an answer.
pub struct Lines {
    body: Incoming,
    bytes: BytesMut,
    cut: bool,
}

/// No line is longer.
const LONGEST: usize = 4 << 20;

impl Lines {
    /// Those of `answer`.
    pub fn of(answer: Response<Incoming>) -> Self {
        Self {
            body: answer.into_body(),
            bytes: BytesMut::new(),
            cut: false,
        }
    }

    /// Whether the answer broke off before its end.
    pub fn cut(&self) -> bool {
        self.cut
    }

    /// The next one; `None` at the end, or when the daemon hung up.
    ///
    /// # Errors
    /// When a line is not what was expected.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fail> {
        loop {
            if let Some(at) = self.bytes.iter().position(|b| *b == b'\n') {
                let line = self.bytes.split_to(at + 1);
                let value = serde_json::from_slice(&line[..at]);
                return value
                    .map(Some)
                    .map_err(|e| Fail::internal(format!("a line is not understood: {e}")));
            }
            if self.bytes.len() > LONGEST {
                return Err(Fail::internal("a line is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.bytes.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => {
                    self.cut = true;
                    return Ok(None);
                }
                None => return Ok(None),
            }
        }
    }
}
