//! Objects over stores that answer as asked, and over a real folder.

use super::*;

fn store(folder: &tempfile::TempDir) -> Store {
    Store::folder(folder.path().to_owned())
}

async fn whole(store: &Store, key: &str) -> Vec<u8> {
    let mut reading = store.read(key).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = reading.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

#[tokio::test]
async fn f6_an_object_in_a_folder_is_visible_only_when_finished() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let mut upload = store.begin("box/main/a.dump", 0).await.unwrap();
    upload.write(b"hello ").await.unwrap();
    assert_eq!(store.head("box/main/a.dump").await.unwrap(), None);
    assert!(store.list("box/").await.unwrap().is_empty());
    upload.write(b"world").await.unwrap();
    let written = upload.finish().await.unwrap();
    assert_eq!(written.size, 11);
    assert_eq!(
        written.sha256,
        crate::base::secret::sha256_hex(b"hello world")
    );
    assert_eq!(whole(&store, "box/main/a.dump").await, b"hello world");
    assert_eq!(store.list("box/").await.unwrap().len(), 1);
    store.delete("box/main/a.dump").await.unwrap();
    store.delete("box/main/a.dump").await.unwrap();
    let gone = store.read("box/main/a.dump").await.err().unwrap();
    assert!(gone.to_string().contains("was removed there"));
}

#[tokio::test]
async fn f6_an_aborted_object_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let mut upload = store.begin("a.dump", 0).await.unwrap();
    upload.write(b"half").await.unwrap();
    upload.abort().await;
    let mut cut = store.begin("b.dump", 0).await.unwrap();
    cut.write(b"half").await.unwrap();
    drop(cut);
    store.abort("b.dump", None).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn f6_a_folder_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::folder(folder.path().join("mount"));
    let said = store.test().await.unwrap_err().to_string();
    assert!(said.contains("mount its disk"), "{said}");
}

#[tokio::test]
async fn f6_the_test_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).test().await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn f6_keys_that_would_escape_are_refused() {
    for bad in ["", "/a", "a//b", "../a", "a/../b", ".a", "a b", "a\0", "ä"] {
        assert!(check_key(bad).is_err(), "{bad}");
    }
    check_key("box/main/20261121T020500Z-7.dump").unwrap();
}
