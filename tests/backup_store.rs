//! The store behind backups against a real S3 server and the real file system.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use freehold::base::secret::{Secret, sha256_hex};
use freehold::http_client::HttpClient;
use freehold::objects::{Location, S3Location, S3Options, Store, StoreError};
use support::disk::Disk;
use support::s3::S3;

fn location(s3: &S3, bucket: &str, key: &str, secret: &str) -> Location {
    Location::S3(
        S3Location::new(
            bucket.into(),
            "box-1".into(),
            &S3Options {
                endpoint: Some(s3.endpoint()),
                ..S3Options::default()
            },
            key.into(),
            Secret::new(secret),
        )
        .unwrap(),
    )
}

fn open(s3: &S3, bucket: &str) -> Store {
    let location = location(s3, bucket, &s3.access_key, &s3.secret_key);
    Store::open(&location, HttpClient::new(None).unwrap()).unwrap()
}

/// Bytes that do not repeat within a part.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

async fn read_all(store: &Store, key: &str) -> Vec<u8> {
    let mut reading = store.read(key).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = reading.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

/// Files of the server itself that speak of uploads not completed.
fn pending(s3: &S3) -> Vec<String> {
    let root = s3.root();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.contains("upload") {
            found.push(name);
        }
    }
    found
}

#[tokio::test]
async fn f6_objects_go_up_in_parts_and_come_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::start(dir.path());
    s3.create_bucket("dumps");
    let store = open(&s3, "dumps");
    store.test().await.unwrap();
    assert!(s3.objects("dumps").is_empty(), "the test left something");

    for length in [0, 5, 8 * 1024 * 1024, 20_000_001] {
        let bytes = noise(length);
        let mut upload = store.begin("main/a.dump", 0).await.unwrap();
        for piece in bytes.chunks(70_000) {
            upload.write(piece).await.unwrap();
        }
        assert_eq!(store.head("main/a.dump").await.unwrap(), None);
        let written = upload.finish().await.unwrap();
        assert_eq!(written.size, length as u64);
        assert_eq!(written.sha256, sha256_hex(&bytes));
        assert_eq!(
            store.head("main/a.dump").await.unwrap(),
            Some(length as u64)
        );
        assert!(read_all(&store, "main/a.dump").await == bytes);
        let listed = store.list("main/").await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].key, "main/a.dump");
        store.delete("main/a.dump").await.unwrap();
    }
    assert_eq!(pending(&s3), Vec::<String>::new());
}

#[tokio::test]
async fn f6_an_aborted_upload_leaves_neither_object_nor_parts() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::start(dir.path());
    s3.create_bucket("dumps");
    let store = open(&s3, "dumps");
    let mut upload = store.begin("a.dump", 0).await.unwrap();
    upload.write(&noise(9_000_000)).await.unwrap();
    upload.abort().await;
    assert_eq!(pending(&s3), Vec::<String>::new());

    // Cut off by a crash: only the token that was written down is left.
    let mut upload = store.begin("a.dump", 0).await.unwrap();
    upload.write(&noise(9_000_000)).await.unwrap();
    let token = upload.token().unwrap().to_owned();
    drop(upload);
    assert_ne!(pending(&s3), Vec::<String>::new());
    store.abort("a.dump", Some(&token)).await.unwrap();
    store.abort("a.dump", Some(&token)).await.unwrap();
    assert_eq!(pending(&s3), Vec::<String>::new());
    assert!(s3.objects("dumps").is_empty());
}

#[tokio::test]
async fn f6_bucket_missing_key_refused_and_nobody_there_are_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let mut s3 = S3::start(dir.path());
    s3.create_bucket("dumps");
    let client = HttpClient::new(None).unwrap();

    let missing = open(&s3, "nowhere").test().await.unwrap_err();
    assert!(matches!(missing, StoreError::NoBucket { .. }), "{missing}");

    let wrong = Store::open(&location(&s3, "dumps", "AKIDUNKNOWN", "x"), client.clone()).unwrap();
    let refused = wrong.test().await.unwrap_err();
    assert!(
        refused.to_string().contains("refused the access key"),
        "{refused}"
    );

    let wrong = Store::open(
        &location(&s3, "dumps", &s3.access_key, "not the secret"),
        client,
    )
    .unwrap();
    let refused = wrong.test().await.unwrap_err();
    assert!(matches!(refused, StoreError::Signature { .. }), "{refused}");
    assert!(!refused.to_string().contains("not the secret"));

    let store = open(&s3, "dumps");
    s3.down();
    let gone = store.test().await.unwrap_err().to_string();
    assert!(
        gone.contains("127.0.0.1") && gone.contains("refused"),
        "{gone}"
    );
}

/// A folder's disk that fills up behind the last look at what is free, in the midst of a dump's stream.
#[tokio::test]
async fn n7_a_stream_into_a_folder_that_fills_up_in_its_midst_leaves_no_file() {
    let disk = Disk::mount(300);
    let store = Store::folder(disk.path().to_owned());
    let mut upload = store.begin("main/a.dump", 0).await.unwrap();
    upload.write(&noise(2_000_000)).await.unwrap();
    // What is left is less than the stream brings until anybody looks again.
    disk.fill(1_000_000);
    let mut refused = None;
    for _ in 0..8 {
        // A write's failure may be told by the one after it.
        if let Err(error) = upload.write(&noise(1_000_000)).await {
            refused = Some(error);
            break;
        }
    }
    upload.abort().await;
    let refused = refused.expect("the disk was full");
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    disk.free();
    assert_eq!(files_below(disk.path()), Vec::<std::path::PathBuf>::new());
    // One that meets it at its end says so, too, and takes itself away.
    let mut upload = store.begin("main/b.dump", 0).await.unwrap();
    disk.fill(100_000);
    upload.write(&noise(1_000_000)).await.ok();
    let ended = upload.finish().await;
    assert!(matches!(ended, Err(StoreError::DiskFull { .. })));
    disk.free();
    assert_eq!(files_below(disk.path()), Vec::<std::path::PathBuf>::new());
    // With space all is well.
    let mut upload = store.begin("main/b.dump", 0).await.unwrap();
    upload.write(&noise(1_000_000)).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(files_below(disk.path()).len(), 1);
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
    {
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}
