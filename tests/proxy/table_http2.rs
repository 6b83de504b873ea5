//! The edge's rows over HTTP/2, frame by frame: the exact status, reset or end, and what the app was asked.
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::client::tls;
use crate::frames::{Heard, preface, written};
use crate::rig::Rig;
use crate::table::rows::{self, EdgeHttp2, has};
use crate::table::{expanded, witness, world};

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

#[tokio::test]
async fn e3_every_row_over_http2_is_answered_exactly() {
    let (app, seen) = witness().await;
    let rig = Rig::start(world(&app, 0));
    let mut report = Vec::new();
    for row in rows::table().edge_http2 {
        seen.lock().unwrap().clear();
        let (bytes, about) = sent(&row);
        let stream = tls(&rig, "tasks.test", "h2").await.unwrap();
        let (mut from, mut to) = tokio::io::split(stream);
        let mut heard = Heard::default();
        let hearing = async {
            let done =
                |heard: &Heard, stream| heard.streams.get(&stream).is_some_and(|told| told.ended);
            while !(heard.closed || done(&heard, about) && (!row.goes_on || done(&heard, NEXT))) {
                heard.read(&mut from).await;
            }
        };
        let sending = async {
            // What ends the connection may not be taken to its end.
            drop(to.write_all(&bytes).await);
            drop(to.flush().await);
        };
        let limit = tokio::time::timeout(Duration::from_secs(10), hearing);
        let (ended, ()) = tokio::join!(limit, sending);
        let told = match ended {
            Ok(()) => wrong(&row, &heard, about, &seen.lock().unwrap()),
            Err(_) => Some(format!("heard only {heard:?}")),
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
