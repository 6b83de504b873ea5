//! Fuzz target of a store's refusal, which a stranger may send in its place.
use std::sync::OnceLock;

use super::location::{S3Location, S3Options};
use super::s3::S3;
use super::s3_answer::refusal;
use crate::base::secret::Secret;
use crate::http_client::HttpClient;

/// The first byte chooses the status. Whatever stands in the answer: one sentence of bounded length, without what a
/// terminal obeys.
pub fn store_refusal(data: &[u8]) {
    static STORE: OnceLock<S3> = OnceLock::new();
    let s3 = STORE.get_or_init(|| {
        let options = S3Options {
            endpoint: Some("https://s3.test".into()),
            ..S3Options::default()
        };
        let (name, folder) = ("dumps".into(), String::new());
        let key = Secret::new("hunter2");
        let Ok(location) = S3Location::new(name, folder, &options, "AKID".into(), key) else {
            panic!("the location is well-formed");
        };
        let client = HttpClient::new(None).ok();
        let store = client.and_then(|client| S3::new(&location, client).ok());
        store.unwrap_or_else(|| panic!("there is a client"))
    });
    let [choice, body @ ..] = data else { return };
    let status = [400, 401, 403, 404, 409, 500, 503, 507][usize::from(choice & 7)];
    let text = refusal(s3, "read an object", "a/b", status, body).to_string();
    assert!(!text.is_empty() && text.chars().count() < 1_000, "{text}");
    assert!(!text.contains(char::is_control), "{text}");
}
