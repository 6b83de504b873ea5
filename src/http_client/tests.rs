//! Against a real socket: limits, stalls, refusals, and that errors keep secrets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers each request with `said` and keeps the connection open.
async fn server(said: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut seen = [0u8; 4096];
                while stream.read(&mut seen).await.is_ok_and(|n| n > 0) {
                    stream.write_all(said.as_bytes()).await.unwrap();
                }
            });
        }
    });
    url
}

fn get(url: &str) -> Request<BoxBody> {
    Request::get(url).body(empty()).unwrap()
}

const SHORT: Timeouts = Timeouts {
    answer: Duration::from_millis(300),
    idle: Duration::from_millis(300),
};

#[tokio::test]
async fn a_silent_server_and_a_stalled_body_end_in_time() {
    let client = HttpClient::new(None).unwrap();
    let silent = server("").await;
    let error = client.send(get(&silent), SHORT).await.err().unwrap();
    assert!(matches!(error, HttpError::Timeout { .. }), "{error}");
    let cut = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let answer = client.send(get(&cut), SHORT).await.unwrap();
    let error = answer.into_body().collect_limited(100).await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_long_answer_is_refused_and_a_short_one_read() {
    let client = HttpClient::new(None).unwrap();
    let url = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = client.send(get(&url), SHORT).await.unwrap();
    let error = answer.into_body().collect_limited(4).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLong { .. }), "{error}");
    let answer = client.send(get(&url), SHORT).await.unwrap();
    assert_eq!(
        answer.into_body().collect_limited(5).await.unwrap(),
        "hello"
    );
}

#[tokio::test]
async fn errors_name_the_host_but_no_secret() {
    let client = HttpClient::new(None).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = client
        .send(get(&format!("https://{address}/p?token=hunter2")), SHORT)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(error.contains("refused"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_bad_root_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.pem");
    std::fs::write(&path, "nothing").unwrap();
    for path in [path, folder.path().join("absent.pem")] {
        let error = HttpClient::new(Some(path.clone()))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let mut headers = HeaderMap::new();
    assert_eq!(retry_after(&headers, UnixMs(0)), None);
    headers.insert("retry-after", "120".parse().unwrap());
    assert_eq!(
        retry_after(&headers, UnixMs(0)),
        Some(Duration::from_secs(120))
    );
    headers.insert(
        "retry-after",
        "Thu, 01 Jan 1970 00:01:00 GMT".parse().unwrap(),
    );
    assert_eq!(
        retry_after(&headers, UnixMs(0)),
        Some(Duration::from_secs(60))
    );
}
