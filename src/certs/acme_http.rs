//! instant-acme's requests over our own client: bounded in time, tried again
//! on 429, 5xx and broken connections, keeping what `Retry-After` asks.
//!
//! Sending a signed request twice is safe: its nonce is used up or it is not,
//! and instant-acme signs anew when it was.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error};

use crate::base::clock::UnixMs;
use crate::http_client::{self, HttpClient, HttpError, Timeouts, retry_after};

const TIMEOUTS: Timeouts = Timeouts {
    answer: Duration::from_secs(30),
    idle: Duration::from_secs(15),
};
const LARGEST: usize = 1 << 20;
/// Waits before the second and third try when the server names none.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// A longer wait than this is left to the job's own next try.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What the server last asked us to wait, seen by whoever plans the next try.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Option<Duration>>>);

impl Asked {
    fn set(&self, wait: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wait;
    }

    pub(super) fn get(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is no ACME answer: an error without a problem document.
#[derive(Debug, thiserror::Error)]
#[error("the server answered with {0} and no reason")]
pub(super) struct NoReason(StatusCode);

/// The client instant-acme is given.
pub(super) struct AcmeHttp {
    client: HttpClient,
    asked: Asked,
}

impl AcmeHttp {
    pub(super) fn new(client: HttpClient, asked: Asked) -> Self {
        Self { client, asked }
    }
}

impl instant_acme::HttpClient for AcmeHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.client.clone();
        let asked = self.asked.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(whole) => whole.to_bytes(),
                Err(never) => match never {},
            };
            let mut waits = WAITS.into_iter();
            loop {
                let again = Request::from_parts(parts.clone(), http_client::full(body.clone()));
                let tried = once(&client, again).await;
                let wait = waits.next();
                match (tried, wait) {
                    (Ok(answer), wait) if may_pass(answer.status()) => {
                        let wish = retry_after(answer.headers(), UnixMs::now());
                        asked.set(wish);
                        match wait.map(|w| wish.unwrap_or(w)) {
                            Some(wait) if wait <= LONGEST_WAIT => tokio::time::sleep(wait).await,
                            _ => return understood(answer),
                        }
                    }
                    (Ok(answer), _) => {
                        asked.set(None);
                        return understood(answer);
                    }
                    (Err(HttpError::Connect { .. } | HttpError::Broken { .. }), Some(wait)) => {
                        tokio::time::sleep(wait).await;
                    }
                    (Err(error), _) => return Err(Error::Other(Box::new(error))),
                }
            }
        })
    }
}

fn may_pass(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

async fn once(
    client: &HttpClient,
    request: Request<http_client::BoxBody>,
) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = client.send(request, TIMEOUTS).await?.into_parts();
    let body = body.collect_limited(LARGEST).await?;
    Ok(Response::from_parts(parts, body))
}

/// instant-acme reads an error's body as JSON; one that is not is told as such.
pub(super) fn understood(answer: Response<Bytes>) -> Result<BytesResponse, Error> {
    let status = answer.status();
    let bad = status.is_client_error() || status.is_server_error();
    if bad && serde_json::from_slice::<serde_json::Value>(answer.body()).is_err() {
        return Err(Error::Other(Box::new(NoReason(status))));
    }
    Ok(BytesResponse::from(answer.map(Full::new)))
}

#[cfg(test)]
mod tests {
    use instant_acme::HttpClient as _;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers the first requests with `said`, one each, and the last of them for ever.
    async fn server(said: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/dir", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for at in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = [0u8; 4096];
                let _ = stream.read(&mut seen).await;
                let answer = said[at.min(said.len() - 1)];
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    async fn ask(said: &'static [&'static str]) -> (Result<BytesResponse, Error>, Asked) {
        let url = server(said).await;
        let asked = Asked::default();
        let http = AcmeHttp::new(HttpClient::new(None).unwrap(), asked.clone());
        let request = Request::get(url).body(BodyWrapper::default()).unwrap();
        (http.request(request).await, asked)
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}";
    const LIMITED: &str = "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 7200\r\nContent-Length: 2\r\n\r\n{}";
    const BAD: &str =
        "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 4\r\n\r\noops";

    #[tokio::test]
    async fn f5_a_busy_server_is_asked_again_when_it_says() {
        let begun = std::time::Instant::now();
        let (answer, asked) = ask(&[BUSY, GOOD]).await;
        assert_eq!(answer.unwrap().parts.status, StatusCode::OK);
        assert!(begun.elapsed() >= Duration::from_secs(1));
        assert_eq!(asked.get(), None);
    }

    #[tokio::test]
    async fn f5_a_long_wait_is_left_to_the_next_try() {
        let begun = std::time::Instant::now();
        let (answer, asked) = ask(&[LIMITED]).await;
        assert_eq!(answer.unwrap().parts.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert_eq!(asked.get(), Some(Duration::from_secs(7_200)));
    }

    #[tokio::test]
    async fn f5_a_cut_connection_and_an_error_without_reason_are_tried_again() {
        let (answer, _) = ask(&["", BAD, GOOD]).await;
        assert_eq!(answer.unwrap().parts.status, StatusCode::OK);
        let (answer, _) = ask(&[BAD]).await;
        let said = answer.err().unwrap().to_string();
        assert!(said.contains("502 Bad Gateway"), "{said}");
    }
}
