//! The edge's rows over HTTP/2, frame by frame: the exact status, reset or end, and what the app was asked.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::app::raw;
use crate::client::tls;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Heard, frame, preface, written,
};
use crate::rig::{Rig, World, route, target, until, within};
use crate::table::rows::{self, EdgeHttp2, has};
use crate::table::{expanded, witness, world};

/// More than any machine takes.
const PATIENCE: Duration = Duration::from_secs(40);
/// The stream of the request that follows every row.
const NEXT: u32 = 4_097;

/// What a row sends, and the stream it is about. `GET /` stands for the four fields of such a request.
pub fn sent(row: &EdgeHttp2) -> (Vec<u8>, u32) {
    let (mut bytes, mut about) = (preface(), 0);
    let next = ["HEADERS 4097 es eh", "GET /next"]
        .map(str::to_owned)
        .to_vec();
    for frame in row.frames.iter().chain([&next]) {
        let mut rest = Vec::new();
        for text in &frame[1..] {
            match text.split_once(' ') {
                Some((method @ ("GET" | "POST"), path)) if !path.contains(' ') => {
                    let fields = [
                        ":method",
                        method,
                        ":scheme",
                        "https",
                        ":authority",
                        "tasks.test",
                        ":path",
                        path,
                    ];
                    rest.extend(fields.map(expanded));
                }
                _ => rest.push(expanded(text)),
            }
        }
        let (frame, stream) = written(&frame[0], &rest);
        bytes.extend(frame);
        if stream != NEXT {
            about = about.max(stream);
        }
    }
    (bytes, about)
}

/// What is wrong with what was heard, if anything is.
fn wrong(row: &EdgeHttp2, heard: &Heard, about: u32, seen: &[String]) -> Option<String> {
    let told = heard.streams.get(&about);
    let answer = match (&heard.goaway, told) {
        (Some(reason), _) => format!("goaway {reason}"),
        (None, Some(told)) => told.answer.clone(),
        (None, None) => String::new(),
    };
    if answer != row.answer {
        return Some(format!("answered {answer:?}"));
    }
    let next = heard
        .streams
        .get(&NEXT)
        .map_or("", |told| told.answer.as_str());
    let lives = heard.goaway.is_none();
    if lives == heard.closed || row.goes_on != (next == "200") {
        return Some(format!("went on with {next:?}, closed: {}", heard.closed));
    }
    let served = usize::from(answer == "200") + usize::from(row.goes_on);
    if seen.len() != served || row.goes_on != seen.contains(&"GET /next HTTP/1.1".to_owned()) {
        return Some(format!("the app was asked {seen:?}"));
    }
    let said = told.map_or_else(String::new, |told| {
        String::from_utf8_lossy(&told.body).into_owned()
    });
    if !has(&said, &row.says) {
        return Some(format!("said {said}"));
    }
    let never = row.never.iter().find(|never| said.contains(never.as_str()));
    never.map(|never| format!("said {never:?}: {said}"))
}

/// Sends frames and hears what comes until these streams have ended, or the connection; `Err` if none of it comes.
async fn exchange(rig: &Rig, bytes: &[u8], until: &[u32]) -> Result<Heard, Heard> {
    let stream = tls(rig, "tasks.test", "h2").await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let mut heard = Heard::default();
    let hearing = async {
        let ended = |heard: &Heard, stream| heard.streams.get(stream).is_some_and(|t| t.ended);
        while !(heard.closed || until.iter().all(|stream| ended(&heard, stream))) {
            heard.read(&mut from).await;
        }
    };
    let sending = async {
        // What ends the connection may not be taken to its end.
        drop(to.write_all(bytes).await);
        drop(to.flush().await);
    };
    let limit = tokio::time::timeout(PATIENCE, hearing);
    match tokio::join!(limit, sending) {
        (Ok(()), ()) => Ok(heard),
        (Err(_), ()) => Err(heard),
    }
}

#[tokio::test]
async fn e3_every_row_over_http2_is_answered_exactly() {
    let (app, seen) = witness().await;
    let rig = Rig::start(world(&app, 0));
    let mut report = Vec::new();
    for row in rows::table().edge_http2 {
        seen.lock().unwrap().clear();
        let (bytes, about) = sent(&row);
        let until: &[u32] = if row.goes_on {
            &[about, NEXT]
        } else {
            &[about]
        };
        let told = match exchange(&rig, &bytes, until).await {
            Ok(heard) => wrong(&row, &heard, about, &seen.lock().unwrap()),
            Err(heard) => Some(format!("heard only {heard:?}")),
        };
        report.extend(told.map(|told| format!("{}: {told}", row.what)));
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

/// The saboteur: an answer that is another one, or after which the connection goes on in another way, is found.
#[test]
fn e3_a_row_over_http2_that_is_answered_in_another_way_is_found() {
    let row = |answer: &str, goes_on: bool| EdgeHttp2 {
        what: String::new(),
        frames: Vec::new(),
        answer: answer.to_owned(),
        says: String::new(),
        never: Vec::new(),
        goes_on,
        next: String::new(),
    };
    let heard = |answer: &str, next: &str, goaway: Option<&str>| {
        let mut heard = Heard {
            goaway: goaway.map(str::to_owned),
            closed: goaway.is_some(),
            ..Heard::default()
        };
        for (stream, answer) in [(1, answer), (NEXT, next)] {
            heard.streams.entry(stream).or_default().answer = answer.to_owned();
        }
        heard
    };
    let asked = ["GET /next HTTP/1.1".to_owned()];
    let reset = row("reset PROTOCOL_ERROR", true);
    let well = heard("reset PROTOCOL_ERROR", "200", None);
    assert_eq!(wrong(&reset, &well, 1, &asked), None);
    let ended = heard("", "", Some("PROTOCOL_ERROR"));
    assert_eq!(
        wrong(&row("goaway PROTOCOL_ERROR", false), &ended, 1, &[]),
        None
    );
    for (row, heard, seen) in [
        (&reset, heard("400", "200", None), &asked[..]),
        (&reset, heard("reset CANCEL", "200", None), &asked),
        (&reset, heard("reset PROTOCOL_ERROR", "", None), &[]),
        (&reset, heard("reset PROTOCOL_ERROR", "200", None), &[]),
        (&reset, heard("", "", Some("PROTOCOL_ERROR")), &[]),
    ] {
        assert!(wrong(row, &heard, 1, seen).is_some(), "{heard:?}");
    }
}

/// A request with a body and these trailers, whose head has put a field of 3,000 bytes into the table of known ones.
fn with_trailers(trailers: &[u8]) -> Vec<u8> {
    let fields = [
        &[0x83, 0x87, 0x84, 0x41, 10][..],
        b"tasks.test",
        // With its index, a name of one byte, 127 + 2,873.
        &[0x40, 1, b'x', 127, 0xb9, 0x16],
        &[b'a'; 3_000],
    ];
    let data = frame(DATA, 0, 1, b"hello");
    let mut end = Vec::new();
    let mut pieces = trailers.chunks(16_050).peekable();
    while let Some(piece) = pieces.next() {
        let (kind, first) = if end.is_empty() {
            (HEADERS, END_STREAM)
        } else {
            (CONTINUATION, 0)
        };
        let last = if pieces.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        end.extend(frame(kind, first | last, 1, piece));
    }
    let head = frame(HEADERS, END_HEADERS, 1, &fields.concat());
    [preface(), head, data, end].concat()
}

/// However it is written: by everybody's table, by the connection's own, behind changes of that one's size.
#[tokio::test]
async fn e3_a_pseudo_header_among_trailers_is_refused_in_every_spelling() {
    let (app, seen) = witness().await;
    let rig = Rig::start(world(&app, 0));
    // Of the table, `x` is the first and the request's authority the second.
    for (what, trailers) in [
        ("by everybody's table", &[0x84][..]),
        ("by the connection's own", &[0x80 | 63]),
        ("behind a size", &[0x3f, 0xe1, 0x1f, 0x84]),
        ("behind two sizes", &[0x20, 0x3f, 0xe1, 0x1f, 0x84]),
        ("of answers", &[0x88]),
        ("before a trailer", &[0x84, 0x80 | 62]),
        ("behind a trailer", &[0x80 | 62, 0x84]),
    ] {
        let heard = exchange(&rig, &with_trailers(trailers), &[1]).await;
        let heard = heard.unwrap_or_else(|heard| panic!("{what}: {heard:?}"));
        let told = &heard.streams[&1];
        assert_eq!(told.answer, "reset PROTOCOL_ERROR", "{what}: {heard:?}");
        assert_eq!(heard.goaway, None, "{what}");
    }
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|line| !line.contains("hello"))
    );
    for trailers in [&[0x3f, 0xe1, 0x1f, 0x80 | 62][..], &[0x3f, 0xe1, 0x1f]] {
        let heard = exchange(&rig, &with_trailers(trailers), &[1])
            .await
            .unwrap();
        assert_eq!(heard.streams[&1].answer, "200", "{trailers:?}: {heard:?}");
    }
}

/// What these are, themselves, and how long their values are: the field that is known, again and again, and one of
/// five-bit codes.
fn long_trailers() -> [(&'static str, Vec<u8>, usize); 4] {
    const KNOWN: u8 = 0x80 | 62;
    // 127 + 15,873 bytes, with the bit that says that they are in Huffman code.
    let mut coded = vec![0, 1, b'y', 0xff, 0x81, 0x7c];
    coded.extend([0x18, 0xc6, 0x31, 0x8c, 0x63].repeat(3_200));
    // 127 + 31,873 of them, for which h2 has no room whatever is asked of it here.
    let mut longer = [vec![KNOWN; 10], vec![0, 1, b'y', 0xff, 0x81, 0xf9, 1]].concat();
    longer.extend([0x18, 0xc6, 0x31, 0x8c, 0x63].repeat(6_400));
    let (known, few) = (vec![KNOWN; 40], vec![KNOWN; 5]);
    let (behind, before) = ([&*few, &*coded].concat(), [coded, few].concat());
    [
        ("known ones", known, 40 * 3_000),
        ("code behind known ones", behind, 5 * 3_000 + 25_600),
        ("known ones behind code", before, 5 * 3_000 + 25_600),
        ("long on the wire too", longer, 10 * 3_000 + 51_200),
    ]
}

#[tokio::test]
async fn e3_trailers_that_are_small_only_on_the_wire_are_refused_whole() {
    let (app, seen) = witness().await;
    let rig = Rig::start(world(&app, 0));
    let well = exchange(&rig, &with_trailers(&[0x80 | 62]), &[1])
        .await
        .unwrap();
    assert_eq!(well.streams[&1].answer, "200");
    let body = String::from_utf8_lossy(&well.streams[&1].body).into_owned();
    assert!(
        body.ends_with(&format!("hellox: {}\r\n", "a".repeat(3_000))),
        "{body}"
    );
    seen.lock().unwrap().clear();
    for (what, trailers, _) in &long_trailers()[..3] {
        let heard = exchange(&rig, &with_trailers(trailers), &[1]).await;
        assert_eq!(heard.unwrap().streams[&1].answer, "400", "{what}");
        assert_eq!(*seen.lock().unwrap(), [""; 0], "{what}");
    }
}

/// Of those that are long on the wire h2 may tell a part; by then the app has the body and waits for its end.
#[tokio::test]
async fn e3_trailers_that_are_long_on_the_wire_end_the_connection_and_no_part_of_them_passes() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let has_body = Arc::new(AtomicBool::new(false));
    let has_it = has_body.clone();
    let app = raw(move |mut stream, _| {
        let (tell, has_body) = (tell.clone(), has_it.clone());
        async move {
            let mut bytes = Vec::new();
            // An end by force is one, too.
            while let Ok(1..) = stream.read_buf(&mut bytes).await {
                if bytes.ends_with(b"\r\nhello\r\n") {
                    has_body.store(true, SeqCst);
                }
            }
            tell.send(bytes).unwrap();
        }
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let [.., (_, trailers, _)] = long_trailers();
    let bytes = with_trailers(&trailers);
    let (begun, end) = bytes.split_at(with_trailers(&[]).len());
    let stream = tls(&rig, "tasks.test", "h2").await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    to.write_all(begun).await.unwrap();
    to.flush().await.unwrap();
    until("the app has it", || has_body.load(SeqCst)).await;
    to.write_all(end).await.unwrap();
    to.flush().await.unwrap();
    let mut heard = Heard::default();
    while !heard.closed {
        within(PATIENCE, "the end", heard.read(&mut from)).await;
    }
    assert_eq!(heard.goaway.as_deref(), Some("ENHANCE_YOUR_CALM"));
    let read = within(PATIENCE, "what the app read", told.recv()).await;
    let read = String::from_utf8(read.unwrap()).unwrap();
    assert!(read.ends_with("\r\n\r\n5\r\nhello\r\n"), "{read}");
}

/// The saboteur: h2 itself tells a part of such trailers for all of them.
#[tokio::test]
async fn e3_without_the_edge_long_trailers_are_told_in_part() {
    for (what, trailers, length) in long_trailers() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (_from, mut to) = tokio::io::split(client);
        to.write_all(&with_trailers(&trailers)).await.unwrap();
        let mut builder = h2::server::Builder::new();
        let mut connection = builder
            .max_header_list_size(32 * 1024)
            .handshake::<_, bytes::Bytes>(server)
            .await
            .unwrap();
        let (request, _respond) = connection.accept().await.unwrap().unwrap();
        let mut body = request.into_body();
        let reading = async {
            body.data().await.unwrap().unwrap();
            body.trailers().await.unwrap().unwrap()
        };
        let told = tokio::select! {
            told = reading => told,
            _ = connection.accept() => panic!("{what}: the connection ended"),
        };
        let told: usize = told.values().map(|value| value.len()).sum();
        assert!(told < length, "{what}: {told}");
    }
}
