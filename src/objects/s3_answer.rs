//! What a store's refusal means.

use super::error::StoreError;
use super::s3::{LOOK_AT_BUCKET, S3};

/// The content of the first `<name>` element of a short answer.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once('<')?;
    Some(content.trim())
}

/// The error that `status` and the answer's body stand for.
pub(super) fn refusal(s3: &S3, what: &str, key: &str, status: u16, body: &[u8]) -> StoreError {
    let body = String::from_utf8_lossy(body);
    // Both are shown, and may come from whoever answers in the store's place.
    let said = |name, most| -> String {
        let content = element(&body, name).unwrap_or_default().chars();
        content.filter(|c| !c.is_control()).take(most).collect()
    };
    let (code, message) = (said("Code", 100), said("Message", 300));
    let host = s3.host();
    let bucket = s3.bucket();
    match (status, code.as_str()) {
        (_, "NoSuchBucket") => StoreError::NoBucket { bucket, host },
        (404, _) if what == LOOK_AT_BUCKET => StoreError::NoBucket { bucket, host },
        (_, "RequestTimeTooSkewed") => StoreError::Clock { host },
        (403, "AccessDenied") if message.contains("expired") => StoreError::Clock { host },
        (
            _,
            "SignatureDoesNotMatch"
            | "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "AuthorizationQueryParametersError",
        ) => StoreError::Signature {
            bucket,
            host,
            region: s3.region(),
            code,
        },
        (_, "XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage" | "EntityTooLarge")
        | (507, _) => StoreError::Full { place: s3.place() },
        (404, "NoSuchKey") => StoreError::Missing {
            place: s3.place(),
            key: key.to_owned(),
        },
        (404, "") if what == "look at an object" || what == "read an object" => {
            StoreError::Missing {
                place: s3.place(),
                key: key.to_owned(),
            }
        }
        (401 | 403, _) | (_, "InvalidAccessKeyId" | "AccessDenied" | "NotSignedUp") => {
            StoreError::KeyRefused {
                bucket,
                host,
                code: if code.is_empty() {
                    format!("status {status}")
                } else {
                    code
                },
            }
        }
        _ => StoreError::Refused {
            host,
            what: what.to_owned(),
            status,
            code: if code.is_empty() {
                "no reason given".into()
            } else {
                code
            },
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::location::{S3Location, S3Options};
    use super::*;
    use crate::base::secret::Secret;
    use crate::http_client::HttpClient;

    fn said(status: u16, code: &str, message: &str) -> String {
        let location = S3Location::new(
            "dumps".into(),
            String::new(),
            &S3Options {
                endpoint: Some("https://s3.test".into()),
                ..S3Options::default()
            },
            "AKID".into(),
            Secret::new("hunter2"),
        )
        .unwrap();
        let s3 = S3::new(&location, HttpClient::new(None).unwrap()).unwrap();
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        refusal(&s3, "store a part", "a/b", status, body.as_bytes()).to_string()
    }

    #[test]
    fn f6_every_refusal_names_the_store_and_the_remedy() {
        for (status, code, message, expected) in [
            (
                404,
                "NoSuchBucket",
                "",
                "the bucket \"dumps\" does not exist at s3.test: create it",
            ),
            (
                403,
                "InvalidAccessKeyId",
                "",
                "refused the access key for the bucket \"dumps\" (InvalidAccessKeyId): check",
            ),
            (
                403,
                "AccessDenied",
                "Access Denied",
                "may read, write, list and delete",
            ),
            (403, "AccessDenied", "Request has expired", "clock differs"),
            (403, "RequestTimeTooSkewed", "", "clock differs"),
            (
                403,
                "SignatureDoesNotMatch",
                "",
                "the secret key does not belong",
            ),
            (
                400,
                "AuthorizationHeaderMalformed",
                "",
                "region \"us-east-1\" is not the bucket's",
            ),
            (507, "XMinioStorageFull", "", "has no space left"),
            (
                500,
                "InternalError",
                "oh",
                "s3.test refused to store a part: InternalError (status 500) oh",
            ),
        ] {
            let text = said(status, code, message);
            assert!(text.contains(expected), "{code}: {text}");
            assert!(!text.contains("hunter2"));
        }
        // Whoever answers in its place says no more than fits, and nothing that a terminal obeys.
        let text = said(500, &format!("\u{1b}[2J{}", "x".repeat(5_000)), "\r\noh");
        assert!(
            text.len() < 500 && !text.contains(char::is_control),
            "{text}"
        );
    }
}
