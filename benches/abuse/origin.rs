//! The app behind the edge: `/1k`, `/10m`, `/wait`, which nobody is answered, and bodies that are read and forgotten.
use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::Outcome;

pub async fn serve(address: SocketAddr, h2c: bool) -> Outcome {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        if h2c {
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(stream, service_fn(answer)));
        } else {
            tokio::spawn(http1::Builder::new().serve_connection(stream, service_fn(answer)));
        }
    }
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    if request.uri().path().ends_with("/wait") {
        std::future::pending::<()>().await;
    }
    let big = request.uri().path() == "/10m";
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let piece = Bytes::from_static(&[b'x'; 16 * 1024]);
    Ok(Response::new(if big {
        let pieces = (0..640).map(move |_| Ok(Frame::data(piece.clone())));
        StreamBody::new(futures_util::stream::iter(pieces)).boxed()
    } else {
        Full::new(piece.slice(..1024)).boxed()
    }))
}
