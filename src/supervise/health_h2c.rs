//! Asking a container that speaks HTTP/2 without TLS.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::Request;
use tokio::net::TcpStream;

use super::health::{ANSWER, shown};
use crate::base::hearsay::one_line;

/// What a client says first: the preface and empty settings.
pub(super) const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// GET of `path`: the status, or why that is no good answer. The caller bounds the time; `heard` tells whether an answer began
/// by then, of which frames beneath are no part.
pub(super) async fn get(
    stream: TcpStream,
    path: &str,
    heard: &AtomicBool,
) -> Result<String, String> {
    let address = stream.peer_addr().map_err(|e| e.to_string())?;
    let (mut sender, connection) = h2::client::handshake(stream).await.map_err(broken)?;
    let request = Request::get(format!("http://{address}{path}"))
        .header("user-agent", "freehold-health")
        .header("accept", "*/*")
        .body(())
        .map_err(|e| format!("{path} cannot be asked for: {e}"))?;
    let asked = async {
        let (answer, _) = sender.send_request(request, true).map_err(broken)?;
        let answer = answer.await.map_err(broken)?;
        heard.store(true, Relaxed);
        judge(path, answer).await
    };
    // Moved here, it is gone with the question, however that ends.
    tokio::select! {
        answer = asked => answer,
        ended = connection => Err(match ended {
            Ok(()) => "it closed the connection without an answer".to_owned(),
            Err(error) => broken(error),
        }),
    }
}

fn broken(error: h2::Error) -> String {
    format!("the connection broke off, or is no HTTP/2: {error}")
}

async fn judge(path: &str, answer: http::Response<h2::RecvStream>) -> Result<String, String> {
    let (head, mut body) = answer.into_parts();
    // A gRPC server answers a path that it does not know with 200 and a status of its own.
    if let Some(status) = head.headers.get("grpc-status").filter(|s| *s != "0") {
        let status = one_line(&String::from_utf8_lossy(status.as_bytes()), ANSWER);
        return Err(format!(
            "it is a gRPC server and knows no {path} (grpc-status {status}): leave `health` out, and a connection is enough"
        ));
    }
    let line = head.status.to_string();
    if (200..400).contains(&head.status.as_u16()) {
        return Ok(line);
    }
    let said = match body.data().await {
        Some(Ok(said)) => said,
        _ => bytes::Bytes::new(),
    };
    let shown = shown(&said);
    Err(match shown.is_empty() {
        true => line,
        false => format!("{line}: {shown}"),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
        let mut answer = Response::new(Full::from("the database\n is away"));
        match request.uri().path() {
            "/sick" => *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE,
            "/unknown" => {
                answer.headers_mut().insert("grpc-status", 12.into());
            }
            _ => {}
        }
        Ok(answer)
    }

    #[tokio::test]
    async fn e2_a_container_that_speaks_h2c_is_asked_over_h2c() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(serve)));
            }
        });
        let heard = AtomicBool::new(false);
        let ask = async |path| get(TcpStream::connect(address).await.unwrap(), path, &heard).await;
        assert_eq!(ask("/healthz").await.unwrap(), "200 OK");
        assert_eq!(
            ask("/sick").await.unwrap_err(),
            "503 Service Unavailable: the database is away"
        );
        assert!(
            ask("/unknown")
                .await
                .unwrap_err()
                .contains("grpc-status 12")
        );
    }
}
