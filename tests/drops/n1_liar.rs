//! A server that lies about one request of all, or about each stream's end, over HTTP/1.1 and over HTTP/2; all else it
//! answers as the rig's app does.

use std::future::poll_fn;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::SendStream;
use h2::server::SendResponse;
use http::Response;

use crate::rig::ask::expected;
use crate::rig::frames;
use crate::rig::ledger::Kind;

/// What is done to one request of all; the others are answered well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lie {
    None,
    /// Another byte in the middle.
    OtherByte,
    /// A whole body that is a byte shorter, as its length says.
    OneLess,
    /// The connection ends inside a body of a known length.
    Cut,
    /// The same in chunks; over HTTP/2 the stream is reset there.
    CutChunks,
    /// The connection ends instead of an answer.
    Gone,
    /// It is reset instead of an answer.
    Reset,
    /// The answer to another request.
    Others,
    Status,
    /// No answer of any protocol; over HTTP/2 the connection is ended with a reproach.
    Nonsense,
    /// An answer that is late, but well.
    Late,
    /// None at all, and the connection stays.
    Silence,
}

/// Lies about the request with this number.
pub const WHICH: u64 = 20;
/// Longer than a busy machine keeps any other from its answer.
pub const LATE: Duration = Duration::from_secs(8);
/// For what was written to leave, and to be read, before its connection dies.
const MOMENT: Duration = Duration::from_secs(1);

/// What is asked for, as its path says.
fn asked(path: &str) -> (Kind, u64) {
    let path = path.split('?').next().unwrap();
    let mut words = path.split('/').skip(1);
    let kind = match words.next().unwrap() {
        "slow" => Kind::Slow,
        "upload" => Kind::Upload,
        "download" => Kind::Download,
        "events" => Kind::Events,
        "ws" => Kind::WebSocket,
        _ => Kind::KeepAlive,
    };
    (kind, words.next().unwrap().parse().unwrap())
}

/// What is to be done to this one, and the body that it gets.
fn told(lie: Lie, kind: Kind, number: u64) -> (Lie, Vec<u8>) {
    let lie = if number == WHICH { lie } else { Lie::None };
    let mut body = expected(kind, number);
    let middle = body.len() / 2;
    match lie {
        Lie::OtherByte => body[middle] = b'!',
        Lie::Others => body = expected(kind, number + 1),
        Lie::OneLess => {
            body.pop();
        }
        _ => {}
    }
    (lie, body)
}

/// One that speaks HTTP/1.1.
pub fn server(lie: Lie) -> SocketAddr {
    listening(move |stream| serve(stream, lie))
}

fn listening(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A head as it came, or nothing at the connection's end.
fn head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    // Whoever speaks HTTP/2 is at the wrong one.
    (!head.starts_with("PRI ")).then_some(head)
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Reads a body in chunks to its end.
fn skip_chunks(reader: &mut BufReader<TcpStream>) {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        reader.read_exact(&mut vec![0; size + 2]).unwrap();
        if size == 0 {
            return;
        }
    }
}

fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

fn serve(mut stream: TcpStream, lie: Lie) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(head) = head(&mut reader) {
        let (kind, number) = asked(path(&head));
        if kind == Kind::Upload {
            skip_chunks(&mut reader);
        }
        if kind == Kind::WebSocket {
            return websocket(
                stream,
                reader,
                &head,
                if number == WHICH { lie } else { Lie::None },
            );
        }
        let (lie, mut body) = told(lie, kind, number);
        match lie {
            Lie::Late => std::thread::sleep(LATE),
            Lie::Gone => return,
            Lie::Reset => return reset(&stream),
            Lie::Silence => loop {
                std::thread::park();
            },
            Lie::Nonsense => {
                stream.write_all(b"there is no such thing\r\n\r\n").unwrap();
                return;
            }
            _ => {}
        }
        let status = match lie {
            Lie::Status => "503 Away",
            _ => "200 OK",
        };
        let whole = body.len();
        let mut answer = format!("HTTP/1.1 {status}\r\nX-Instance: liar\r\n").into_bytes();
        match lie {
            Lie::CutChunks => {
                answer.extend(format!("Transfer-Encoding: chunked\r\n\r\n{whole:x}\r\n").bytes());
            }
            _ => answer.extend(format!("Content-Length: {whole}\r\n\r\n").bytes()),
        }
        let cut = matches!(lie, Lie::Cut | Lie::CutChunks);
        if cut {
            body.truncate(whole / 2);
        }
        answer.extend(body);
        stream.write_all(&answer).unwrap();
        if cut {
            return;
        }
    }
}

/// A client's short frame: its kind and payload.
fn frame(reader: &mut BufReader<TcpStream>) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    reader.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    reader.read_exact(&mut payload).ok()?;
    let mask = head[2..].iter().cycle();
    let payload = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
    Some((head[0] & 0x0f, payload.collect()))
}

/// Says that it is one now; the key comes back as it was.
fn switched(stream: &mut TcpStream, key: &str) {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).unwrap();
}

fn key(head: &str) -> &str {
    let mut lines = head.lines();
    let line = lines.find_map(|line| line.strip_prefix("sec-websocket-key: "));
    line.unwrap_or_else(|| panic!("{head}"))
}

fn websocket(mut stream: TcpStream, mut reader: BufReader<TcpStream>, head: &str, lie: Lie) {
    match lie {
        Lie::Gone => return,
        Lie::Reset => return reset(&stream),
        Lie::Silence => loop {
            std::thread::park();
        },
        Lie::Status => {
            let answer = b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n";
            return stream.write_all(answer).unwrap();
        }
        Lie::Others => switched(&mut stream, "another's"),
        _ => switched(&mut stream, key(head)),
    }
    while let Some((kind, mut said)) = frame(&mut reader) {
        if lie == Lie::OtherByte {
            said[0] = b'!';
        }
        // Its answer to our close is none.
        let kind = match (kind, lie) {
            (frames::CLOSE, Lie::OneLess) => frames::TEXT,
            (kind, _) => kind,
        };
        if stream.write_all(&frames::frame(kind, &said, None)).is_err() || kind == frames::CLOSE {
            return;
        }
        if lie == Lie::Cut {
            // Its own way alone, so that what still comes is no reason for a reset.
            stream.shutdown(Shutdown::Write).unwrap();
            reader.read_to_end(&mut Vec::new()).ok();
            return;
        }
    }
}

/// One that says a stream's first message again and then ends it so.
pub fn closing(end: &'static [u8]) -> SocketAddr {
    listening(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(head) = head(&mut reader) else {
            return;
        };
        if asked(path(&head)).0 != Kind::WebSocket {
            return;
        }
        switched(&mut stream, key(&head));
        let Some((kind, said)) = frame(&mut reader) else {
            return;
        };
        stream.write_all(&frames::frame(kind, &said, None)).ok();
        stream.write_all(end).ok();
        stream.shutdown(Shutdown::Write).ok();
        reader.read_to_end(&mut Vec::new()).ok();
    })
}

/// One that ends a stream of events with these words.
pub fn events(end: &'static str) -> SocketAddr {
    listening(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(head) = head(&mut reader) else {
            return;
        };
        let (_, number) = asked(path(&head));
        let event = format!("id: 0\ndata: {number}\n\n");
        let length = event.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{event}\r\n{end}"
        );
        stream.write_all(answer.as_bytes()).ok();
    })
}

/// How a stream of events ends over HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Whole,
    InsideAnEvent,
    Reset,
    Gone,
}

/// One that speaks HTTP/2 without TLS, and lies about one request.
pub fn server_h2(lie: Lie) -> SocketAddr {
    listening(move |stream| over_h2(stream, Says::Lie(lie)))
}

/// The same that ends each stream of events so.
pub fn events_h2(end: End) -> SocketAddr {
    listening(move |stream| over_h2(stream, Says::End(end)))
}

#[derive(Clone, Copy)]
enum Says {
    Lie(Lie),
    End(End),
}

/// Whether the connection lives on.
enum Next {
    Goes,
    Ends,
    Reproaches,
    /// It does, but this stream is reset once what was said on it has left.
    Resets(SendStream<Bytes>),
}

fn over_h2(stream: TcpStream, says: Says) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        // What stays open belongs to somebody.
        let mut open = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let (kind, number) = asked(request.uri().path());
            let next = match says {
                Says::Lie(lie) => answer(&mut respond, told(lie, kind, number)),
                Says::End(end) => one_event(&mut respond, number, end),
            };
            open.push(respond);
            match next {
                Next::Goes => continue,
                Next::Reproaches => connection.abrupt_shutdown(Reason::INTERNAL_ERROR),
                Next::Ends | Next::Resets(_) => {}
            }
            let written = poll_fn(|cx| connection.poll_closed(cx));
            tokio::time::timeout(MOMENT, written).await.ok();
            match next {
                Next::Resets(mut stream) => stream.send_reset(Reason::CANCEL),
                _ => return,
            }
        }
    });
}

fn answer(respond: &mut SendResponse<Bytes>, (lie, mut body): (Lie, Vec<u8>)) -> Next {
    match lie {
        Lie::Gone => return Next::Ends,
        Lie::Nonsense => return Next::Reproaches,
        Lie::Silence => return Next::Goes,
        Lie::Reset => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Next::Goes;
        }
        _ => {}
    }
    let status = if lie == Lie::Status { 503 } else { 200 };
    let head = Response::builder().status(status).body(()).unwrap();
    let mut sending = respond.send_response(head, false).unwrap();
    let cut = matches!(lie, Lie::Cut | Lie::CutChunks);
    if cut {
        body.truncate(body.len() / 2);
    }
    sending.send_data(body.into(), !cut).unwrap();
    match lie {
        Lie::Cut => Next::Ends,
        Lie::CutChunks => Next::Resets(sending),
        _ => Next::Goes,
    }
}

fn one_event(respond: &mut SendResponse<Bytes>, number: u64, end: End) -> Next {
    let mut sending = respond.send_response(Response::new(()), false).unwrap();
    let event = match end {
        End::InsideAnEvent => format!("id: 0\ndata: {number}\n"),
        _ => format!("id: 0\ndata: {number}\n\n"),
    };
    let whole = matches!(end, End::Whole | End::InsideAnEvent);
    sending.send_data(event.into(), whole).unwrap();
    match end {
        End::Gone => Next::Ends,
        End::Reset => Next::Resets(sending),
        End::Whole | End::InsideAnEvent => Next::Goes,
    }
}
