//! Requests to an S3-compatible store: signed, sent, tried again, understood.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::Entry;
use super::error::StoreError;
use super::location::S3Location;
use super::s3_answer::refusal;
use crate::base::clock::UnixMs;
use crate::base::retry::Backoff;
use crate::http_client::{Answer, HttpClient, Timeouts, full, retry_after};

/// How long a signed URL is good for; every try signs anew.
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// A part of 8 MiB over a line of 1 Mbit/s takes 70 s.
const TIMEOUTS: Timeouts = Timeouts {
    answer: Duration::from_secs(180),
    idle: Duration::from_secs(30),
};
/// Tries of one request.
const TRIES: u32 = 5;
/// Tries of one request of a trial, which somebody waits for.
const TRIES_OF_A_TRIAL: u32 = 2;
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    max: Duration::from_secs(10),
    factor: 3,
};
/// The longest wait a store may ask for between tries.
const LONGEST_ASKED_WAIT: Duration = Duration::from_secs(30);
/// Answers that are not objects: lists, errors.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// Objects listed at most.
const LIST_LIMIT: usize = 100_000;

pub(super) const LOOK_AT_BUCKET: &str = "look at the bucket";

/// A bucket, its credentials and the client; cheap to clone.
#[derive(Clone)]
pub(super) struct S3 {
    inner: Arc<Inner>,
    tries: u32,
}

struct Inner {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    host: String,
    client: HttpClient,
}

impl S3 {
    pub(super) fn new(location: &S3Location, client: HttpClient) -> Result<Self, StoreError> {
        let style = if location.path_style {
            UrlStyle::Path
        } else {
            UrlStyle::VirtualHost
        };
        let bucket = Bucket::new(
            location.endpoint.clone(),
            style,
            location.bucket.clone(),
            location.region.clone(),
        )
        .map_err(|error| {
            StoreError::BadLocation(format!(
                "the endpoint and the bucket \"{}\" do not make an address ({error}): try --path-style.",
                location.bucket
            ))
        })?;
        let host = location.endpoint.host_str().unwrap_or_default();
        Ok(Self {
            tries: TRIES,
            inner: Arc::new(Inner {
                bucket,
                credentials: Credentials::new(
                    location.access_key.clone(),
                    location.secret_key.expose(),
                ),
                prefix: location.prefix.clone(),
                host: match location.endpoint.port() {
                    Some(port) => format!("{host}:{port}"),
                    None => host.to_owned(),
                },
                client,
            }),
        })
    }

    /// The same, to be told soon whether it works.
    pub(super) fn for_a_trial(&self) -> Self {
        Self {
            tries: TRIES_OF_A_TRIAL,
            ..self.clone()
        }
    }

    pub(super) fn host(&self) -> String {
        self.inner.host.clone()
    }

    pub(super) fn bucket(&self) -> String {
        self.inner.bucket.name().to_owned()
    }

    pub(super) fn region(&self) -> String {
        self.inner.bucket.region().to_owned()
    }

    pub(super) fn place(&self) -> String {
        format!(
            "the bucket {} at {}",
            self.inner.bucket.name(),
            self.inner.host
        )
    }

    pub(super) fn raw_bucket(&self) -> &Bucket {
        &self.inner.bucket
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    /// The store's key for ours.
    pub(super) fn full_key(&self, key: &str) -> String {
        if self.inner.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.inner.prefix)
        }
    }

    /// Sends what `sign` signs, again while that can help, until the store says yes.
    pub(super) async fn ask(
        &self,
        what: &'static str,
        key: &str,
        method: &'static str,
        headers: &[(&'static str, String)],
        body: Bytes,
        sign: impl Fn() -> url::Url,
    ) -> Result<Response<Answer>, StoreError> {
        let mut failures = 0;
        loop {
            let (error, wait) = match self
                .once(what, key, method, headers, body.clone(), sign())
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            failures += 1;
            if failures >= self.tries || !error.is_passing() {
                return Err(error);
            }
            let wait = wait
                .unwrap_or_default()
                .min(LONGEST_ASKED_WAIT)
                .max(BACKOFF.delay_with_jitter(failures, jitter()));
            tracing::debug!(%error, what, wait_ms = wait.as_millis(), "the store is asked again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(
        &self,
        what: &'static str,
        key: &str,
        method: &'static str,
        headers: &[(&'static str, String)],
        body: Bytes,
        url: url::Url,
    ) -> Result<Response<Answer>, (StoreError, Option<Duration>)> {
        let mut request = Request::builder().method(method).uri(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(full(body)).map_err(|_| {
            (
                StoreError::Local("the store's address cannot be asked".into()),
                None,
            )
        })?;
        let answer = self
            .inner
            .client
            .send(request, TIMEOUTS)
            .await
            .map_err(|e| (e.into(), None))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let wait = retry_after(answer.headers(), UnixMs::now());
        let body = match answer.into_body().collect_limited(ANSWER_LIMIT).await {
            Ok(body) => body,
            Err(error) => {
                tracing::debug!(%error, "a refusal's reason could not be read");
                Bytes::new()
            }
        };
        Err((refusal(self, what, key, status.as_u16(), &body), wait))
    }

    /// [`Self::ask`] for an action whose answer is short.
    pub(super) async fn act<'a, A: S3Action<'a>>(
        &self,
        what: &'static str,
        key: &str,
        action: A,
        body: Bytes,
    ) -> Result<(http::HeaderMap, Bytes), StoreError> {
        let answer = self
            .ask(what, key, A::METHOD.to_str(), &[], body, || {
                action.sign(SIGNED_FOR)
            })
            .await?;
        let (head, body) = answer.into_parts();
        Ok((head.headers, body.collect_limited(ANSWER_LIMIT).await?))
    }

    /// Whether the bucket is there: some servers make a missing one of their
    /// own accord, and a misspelt bucket should be noticed.
    pub(super) async fn look_at_bucket(&self) -> Result<(), StoreError> {
        let action = self.inner.bucket.head_bucket(Some(&self.inner.credentials));
        match self.act(LOOK_AT_BUCKET, "", action, Bytes::new()).await {
            // A key may be allowed to write and not to look.
            Ok(_) | Err(StoreError::KeyRefused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let full_key = self.full_key(key);
        let action = self
            .inner
            .bucket
            .put_object(Some(&self.inner.credentials), &full_key);
        self.act("store an object", key, action, bytes)
            .await
            .map(drop)
    }

    pub(super) async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let full_key = self.full_key(key);
        let action = self
            .inner
            .bucket
            .head_object(Some(&self.inner.credentials), &full_key);
        match self
            .act("look at an object", key, action, Bytes::new())
            .await
        {
            Ok((headers, _)) => Ok(Some(
                headers
                    .get(http::header::CONTENT_LENGTH)
                    .and_then(|v| v.to_str().ok()?.parse().ok())
                    .unwrap_or(0),
            )),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let full_key = self.full_key(key);
        let action = self
            .inner
            .bucket
            .delete_object(Some(&self.inner.credentials), &full_key);
        match self
            .act("remove an object", key, action, Bytes::new())
            .await
        {
            Ok(_) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let full_prefix = self.full_key(prefix);
        let strip = self.full_key("");
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut action = ListObjectsV2::new(&self.inner.bucket, Some(&self.inner.credentials));
            action.with_prefix(full_prefix.as_str());
            if let Some(token) = &next {
                action.with_continuation_token(token.as_str());
            }
            let (_, body) = self
                .act("list objects", prefix, action, Bytes::new())
                .await?;
            let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&body))
                .map_err(|_| self.not_understood("list objects"))?;
            for object in page.contents {
                if let Some(key) = object.key.strip_prefix(&strip) {
                    found.push(Entry {
                        key: key.to_owned(),
                        size: object.size.unwrap_or(0),
                    });
                }
            }
            next = page.next_continuation_token;
            if next.is_none() || found.len() >= LIST_LIMIT {
                found.sort_by(|a, b| a.key.cmp(&b.key));
                return Ok(found);
            }
        }
    }

    pub(super) fn not_understood(&self, what: &str) -> StoreError {
        StoreError::Refused {
            host: self.host(),
            what: what.to_owned(),
            status: 200,
            code: "its answer is not S3's".into(),
            message: "Is the endpoint the store's API address?".into(),
        }
    }

    pub(super) async fn read(&self, key: &str) -> Result<S3Reading, StoreError> {
        let mut reading = S3Reading {
            s3: self.clone(),
            key: key.to_owned(),
            body: None,
            read: 0,
            tag: None,
            breaks: 0,
        };
        reading.open().await?;
        Ok(reading)
    }
}

/// An object as a stream that goes on where a broken connection left it.
pub(super) struct S3Reading {
    s3: S3,
    key: String,
    body: Option<Answer>,
    read: u64,
    tag: Option<String>,
    breaks: u32,
}

impl S3Reading {
    async fn open(&mut self) -> Result<(), StoreError> {
        let full_key = self.s3.full_key(&self.key);
        let inner = Arc::clone(&self.s3.inner);
        let mut headers = Vec::new();
        if self.read > 0 {
            headers.push(("range", format!("bytes={}-", self.read)));
            if let Some(tag) = &self.tag {
                headers.push(("if-match", tag.clone()));
            }
        }
        let answer = self
            .s3
            .ask(
                "read an object",
                &self.key,
                "GET",
                &headers,
                Bytes::new(),
                || {
                    inner
                        .bucket
                        .get_object(Some(&inner.credentials), &full_key)
                        .sign(SIGNED_FOR)
                },
            )
            .await?;
        if self.read > 0 && answer.status() != http::StatusCode::PARTIAL_CONTENT {
            return Err(StoreError::Changed {
                place: self.s3.place(),
                key: self.key.clone(),
                what: "the connection broke and the store cannot go on in the middle".into(),
            });
        }
        self.tag = answer
            .headers()
            .get(http::header::ETAG)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        self.body = Some(answer.into_body());
        Ok(())
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            match body.frame().await {
                None => {
                    self.body = None;
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    self.breaks += 1;
                    if self.breaks >= TRIES {
                        return Err(error.into());
                    }
                    tracing::debug!(%error, at_bytes = self.read, "an object is read on after a break");
                    tokio::time::sleep(BACKOFF.delay_with_jitter(self.breaks, jitter())).await;
                    self.open().await?;
                }
            }
        }
    }
}

fn jitter() -> u8 {
    let mut byte = [0u8; 1];
    match crate::base::secret::fill_random(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => 128,
    }
}

/// How long signed URLs of other files are good for.
pub(super) const fn signed_for() -> Duration {
    SIGNED_FOR
}
