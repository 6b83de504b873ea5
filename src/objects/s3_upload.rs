//! One object in parts, through one buffer that is used again and again.

use bytes::{Bytes, BytesMut};
use rusty_s3::Method;
use rusty_s3::actions::{
    CompleteMultipartUpload, CompleteMultipartUploadResponse, CreateMultipartUpload,
};

use super::error::StoreError;
use super::s3::{S3, signed_for};

/// Every store takes parts from 5 MiB on and at most 10,000 of them; some
/// (R2) want all but the last of one size.
const PART: usize = 8 * 1024 * 1024;
const MOST_PARTS: u64 = 10_000;

/// The part size for an object of about `expected` bytes: 8 MiB, more only
/// when the object would not fit into the allowed parts. A dump is rarely
/// larger than what it was estimated from; a tenth is left in any case.
pub(super) fn part_size(expected: u64) -> usize {
    let needed = expected.div_ceil(MOST_PARTS * 9 / 10);
    let mebibyte = 1024 * 1024;
    let rounded = needed.div_ceil(mebibyte).saturating_mul(mebibyte);
    usize::try_from(rounded).unwrap_or(usize::MAX).max(PART)
}

pub(super) struct S3Upload {
    s3: S3,
    key: String,
    id: String,
    buffer: BytesMut,
    part_size: usize,
    tags: Vec<String>,
}

impl S3Upload {
    pub(super) async fn begin(s3: S3, key: &str, expected: u64) -> Result<Self, StoreError> {
        s3.look_at_bucket().await?;
        let full_key = s3.full_key(key);
        let action = s3
            .raw_bucket()
            .create_multipart_upload(Some(s3.credentials()), &full_key);
        let (_, body) = s3.act("begin an upload", key, action, Bytes::new()).await?;
        let id = CreateMultipartUpload::parse_response(&String::from_utf8_lossy(&body))
            .map_err(|_| s3.not_understood("begin an upload"))?
            .upload_id()
            .to_owned();
        Ok(Self {
            s3,
            key: key.to_owned(),
            id,
            buffer: BytesMut::new(),
            part_size: part_size(expected),
            tags: Vec::new(),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve(self.part_size);
            }
            let room = self.part_size - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == self.part_size {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        let number = u16::try_from(self.tags.len() + 1)
            .ok()
            .filter(|n| u64::from(*n) <= MOST_PARTS)
            .ok_or_else(|| StoreError::Local("the object needs more parts than a store takes: the database grew far beyond its size while it was dumped; try again".into()))?;
        let part = std::mem::take(&mut self.buffer).freeze();
        let full_key = self.s3.full_key(&self.key);
        let action = self.s3.raw_bucket().upload_part(
            Some(self.s3.credentials()),
            &full_key,
            number,
            &self.id,
        );
        let (headers, _) = self
            .s3
            .act("store a part", &self.key, action, part.clone())
            .await?;
        let tag = headers
            .get(http::header::ETAG)
            .and_then(|v| v.to_str().ok())
            .ok_or_else(|| self.s3.not_understood("store a part"))?;
        self.tags.push(tag.to_owned());
        // The client has let go of the part by now, as a rule, and its memory is used again.
        if let Ok(mut buffer) = part.try_into_mut() {
            buffer.clear();
            self.buffer = buffer;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self, size: u64) -> Result<(), StoreError> {
        match self.complete(size).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn complete(&mut self, size: u64) -> Result<(), StoreError> {
        if !self.buffer.is_empty() || self.tags.is_empty() {
            self.send_part().await?;
        }
        let full_key = self.s3.full_key(&self.key);
        let action = || {
            CompleteMultipartUpload::new(
                self.s3.raw_bucket(),
                Some(self.s3.credentials()),
                &full_key,
                &self.id,
                self.tags.iter().map(String::as_str),
            )
        };
        let body = Bytes::from(action().body());
        let answered = self
            .s3
            .act("complete an upload", &self.key, action(), body)
            .await;
        let text = match answered {
            Ok((_, text)) => text,
            // The answer to an earlier try was lost: what counts is whether the object is there.
            Err(error) => {
                return match self.s3.head(&self.key).await {
                    Ok(Some(found)) if found == size => Ok(()),
                    _ => Err(error),
                };
            }
        };
        // A store may say 200 and then fail: only this element says that it is done.
        match CompleteMultipartUploadResponse::parse(&String::from_utf8_lossy(&text)) {
            Ok(_) => Ok(()),
            Err(_) => Err(super::s3_answer::refusal(
                &self.s3,
                "complete an upload",
                &self.key,
                200,
                &text,
            )),
        }
    }

    pub(super) async fn abort(self) {
        if let Err(error) = abort_one(&self.s3, &self.key, &self.id).await {
            tracing::warn!(%error, key = self.key, "an upload could not be taken back; the next sweep tries again");
        }
    }
}

async fn abort_one(s3: &S3, key: &str, id: &str) -> Result<(), StoreError> {
    let full_key = s3.full_key(key);
    let action = s3
        .raw_bucket()
        .abort_multipart_upload(Some(s3.credentials()), &full_key, id);
    match s3
        .act("take an upload back", key, action, Bytes::new())
        .await
    {
        Ok(_) | Err(StoreError::Missing { .. }) => Ok(()),
        Err(StoreError::Refused { status: 404, .. }) => Ok(()),
        Err(StoreError::Refused { code, .. }) if code == "NoSuchUpload" => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes back every upload of exactly this key: the one we know of, and those
/// the store lists. A store that cannot list uploads is believed to have none.
pub(super) async fn abort_leftovers(
    s3: &S3,
    key: &str,
    known: Option<&str>,
) -> Result<(), StoreError> {
    if let Some(id) = known {
        match abort_one(s3, key, id).await {
            // Some stores answer so for an upload that is no more.
            Err(StoreError::KeyRefused { code, .. }) => {
                tracing::info!(key, code, "an upload is gone, or may not be taken back");
            }
            other => other?,
        }
    }
    let full_key = s3.full_key(key);
    let query = [("prefix", full_key.as_str()), ("uploads", "")];
    let answer = s3
        .ask("list uploads", key, "GET", &[], Bytes::new(), || {
            let credentials = s3.credentials();
            rusty_s3::signing::sign(
                &jiff::Timestamp::now(),
                Method::Get,
                s3.raw_bucket().base_url().clone(),
                credentials.key(),
                credentials.secret(),
                None,
                s3.raw_bucket().region(),
                signed_for().as_secs(),
                query.into_iter(),
                std::iter::empty(),
            )
        })
        .await;
    let body = match answer {
        Ok(answer) => answer.into_body().collect_limited(1024 * 1024).await?,
        Err(
            StoreError::Refused {
                status: 400 | 404 | 405 | 501,
                ..
            }
            | StoreError::KeyRefused { .. },
        ) => return Ok(()),
        Err(error) => return Err(error),
    };
    for id in uploads_of(&String::from_utf8_lossy(&body), &full_key) {
        abort_one(s3, key, &id).await?;
    }
    Ok(())
}

/// The ids of the uploads of exactly `key` in a ListMultipartUploads answer.
fn uploads_of(xml: &str, key: &str) -> Vec<String> {
    let content = |of: &str, name: &str| -> Option<String> {
        let (_, rest) = of.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once("</")?;
        Some(text.replace("&amp;", "&"))
    };
    xml.split("<Upload>")
        .skip(1)
        .filter(|upload| content(upload, "Key").as_deref() == Some(key))
        .filter_map(|upload| content(upload, "UploadId"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f6_parts_are_8_mib_until_there_would_be_too_many() {
        assert_eq!(part_size(0), PART);
        assert_eq!(part_size(70 << 30), PART);
        let huge = 1u64 << 40;
        let part = part_size(huge) as u64;
        assert!(huge.div_ceil(part) <= 9_000);
        assert_eq!(part % (1024 * 1024), 0);
    }

    #[test]
    fn f6_only_uploads_of_the_very_key_are_taken_back() {
        let xml = "<ListMultipartUploadsResult><Upload><Key>a/x.dump</Key><UploadId>1&amp;2</UploadId></Upload>\
                   <Upload><Key>a/x.dump2</Key><UploadId>3</UploadId></Upload></ListMultipartUploadsResult>";
        assert_eq!(uploads_of(xml, "a/x.dump"), ["1&2"]);
    }
}
