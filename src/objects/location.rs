//! Where a store is, as the user writes it: `s3://bucket/prefix` or `dir:///path`.

use std::path::PathBuf;

use url::Url;

use super::error::StoreError;
use crate::base::secret::Secret;

/// A parsed location.
#[derive(Clone, Debug)]
pub enum Location {
    /// A bucket.
    S3(S3Location),
    /// A folder of this box, or a mount.
    Folder(PathBuf),
}

/// A bucket and how to reach it.
#[derive(Clone, Debug)]
pub struct S3Location {
    /// The bucket's name.
    pub bucket: String,
    /// What every key of ours begins with; no slash at either end, may be empty.
    pub prefix: String,
    /// The store's address.
    pub endpoint: Url,
    /// The region to sign for.
    pub region: String,
    /// `https://host/bucket/key` rather than `https://bucket.host/key`.
    pub path_style: bool,
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
}

/// What beside the URL makes an S3 location.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// The store's address; Amazon's for the region when empty.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` when empty.
    pub region: Option<String>,
    /// Path style or not; decided by the endpoint when empty.
    pub path_style: Option<bool>,
}

fn bad<T>(text: String) -> Result<T, StoreError> {
    Err(StoreError::BadLocation(text))
}

/// The bucket and prefix of `s3://bucket/prefix`, or the folder of `dir:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bucket and prefix.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes at its ends.
        prefix: String,
    },
    /// The folder.
    Folder(PathBuf),
}

impl Place {
    /// Reads what the user wrote.
    ///
    /// # Errors
    /// With a sentence and an example.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let shown: String = text.chars().take(100).collect();
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            let good_bucket = (3..=63).contains(&bucket.len())
                && bucket.starts_with(|c: char| c.is_ascii_alphanumeric())
                && bucket
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !good_bucket {
                return bad(format!(
                    "\"{shown}\" names no bucket: write s3://bucket or s3://bucket/prefix; a bucket's name has 3 to 63 letters, digits, hyphens and dots."
                ));
            }
            if !prefix.is_empty() && super::check_key(prefix).is_err() {
                return bad(format!(
                    "the prefix in \"{shown}\" may hold letters, digits, dots, hyphens, underscores and single slashes, such as s3://bucket/box-1."
                ));
            }
            return Ok(Self::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            });
        }
        if let Some(path) = text.strip_prefix("dir://") {
            let path = PathBuf::from(path);
            let plain = path
                .components()
                .all(|c| !matches!(c, std::path::Component::ParentDir));
            if path.is_absolute() && plain && path.components().count() > 1 {
                return Ok(Self::Folder(path));
            }
            return bad(format!(
                "\"{shown}\" names no folder: write the whole path, such as dir:///mnt/backups."
            ));
        }
        bad(format!(
            "\"{shown}\" is no backup target: write s3://bucket/prefix or dir:///path/to/folder."
        ))
    }
}

impl S3Location {
    /// Puts the parts together, filling in what is usual.
    ///
    /// # Errors
    /// When the endpoint is no http or https address.
    pub fn new(
        bucket: String,
        prefix: String,
        options: &S3Options,
        access_key: String,
        secret_key: Secret,
    ) -> Result<Self, StoreError> {
        let region = match options.region.as_deref().map(str::trim) {
            None | Some("") => "us-east-1".to_owned(),
            Some(region) => region.to_owned(),
        };
        if !region
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return bad(format!(
                "\"{region}\" is no region: write it as your store shows it, such as eu-central-1."
            ));
        }
        let text = match options.endpoint.as_deref().map(str::trim) {
            None | Some("") => format!("https://s3.{region}.amazonaws.com"),
            Some(text) if text.contains("://") => text.to_owned(),
            Some(text) => format!("https://{text}"),
        };
        let endpoint = Url::parse(&text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
            .filter(|url| url.username().is_empty() && url.password().is_none());
        let Some(endpoint) = endpoint else {
            return bad(
                "the endpoint must be the store's address without user or password, such as https://s3.eu-central-1.amazonaws.com."
                    .into(),
            );
        };
        let amazon = endpoint
            .host_str()
            .is_some_and(|h| h.ends_with(".amazonaws.com"));
        Ok(Self {
            path_style: options
                .path_style
                .unwrap_or(!amazon || bucket.contains('.')),
            bucket,
            prefix,
            endpoint,
            region,
            access_key,
            secret_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f6_targets_are_read_or_refused_with_an_example() {
        assert_eq!(
            Place::parse("s3://my-bucket/a/b/").unwrap(),
            Place::S3 {
                bucket: "my-bucket".into(),
                prefix: "a/b".into()
            }
        );
        assert_eq!(
            Place::parse("dir:///mnt/x").unwrap(),
            Place::Folder("/mnt/x".into())
        );
        for wrong in [
            "",
            "s3://",
            "s3://a",
            "s3:///x",
            "s3://ok-bucket/../x",
            "s3://b ad/x",
            "dir://x",
            "dir:///",
            "dir:///a/../b",
            "ftp://x",
            "/mnt",
        ] {
            let said = Place::parse(wrong).unwrap_err().to_string();
            assert!(said.contains("://"), "{wrong}: {said}");
        }
    }

    fn location(options: &S3Options) -> Result<S3Location, StoreError> {
        S3Location::new(
            "b-1".into(),
            String::new(),
            options,
            "k".into(),
            Secret::new("s"),
        )
    }

    #[test]
    fn f6_amazon_is_asked_by_host_and_others_by_path() {
        let amazon = location(&S3Options {
            region: Some("eu-central-1".into()),
            ..S3Options::default()
        })
        .unwrap();
        assert_eq!(
            amazon.endpoint.as_str(),
            "https://s3.eu-central-1.amazonaws.com/"
        );
        assert!(!amazon.path_style);
        let own = location(&S3Options {
            endpoint: Some("minio.internal:9000".into()),
            ..S3Options::default()
        })
        .unwrap();
        assert!(own.path_style);
        assert_eq!(own.endpoint.as_str(), "https://minio.internal:9000/");
        for wrong in ["ftp://x", "https://u:p@x", "https://"] {
            let said = location(&S3Options {
                endpoint: Some(wrong.into()),
                ..S3Options::default()
            })
            .unwrap_err()
            .to_string();
            assert!(said.contains("endpoint"), "{said}");
        }
    }
}
