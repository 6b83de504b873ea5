//! Fuzz targets of what an app brings along and what it and the engine say: `.dockerignore`, a log, a build's progress, and
//! what comes out of a container.

use bollard::container::LogOutput;
use futures_util::{FutureExt, StreamExt, stream};

use super::Ignore;
use super::hijack;
use super::logs;
use super::progress;

/// The first line is a path, the rest are the rules: they are decided, and in time.
pub fn dockerignore(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, rules) = text.split_once('\n').unwrap_or((text, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let ignore = Ignore::parse(rules);
    let out = ignore.leaves_out(&parts);
    assert!(!out || !rules.is_empty());
}

/// The first byte cuts what the engine hands over into pieces, each with its time. Lines hold all that was said, in bounded
/// pieces, and each has a time.
pub fn log_lines(data: &[u8]) {
    const LONGEST: usize = 64 << 10;
    let [cut, text @ ..] = data else { return };
    let pieces: Vec<_> = text
        .chunks(usize::from(*cut).max(1))
        .flat_map(|piece| piece.split_inclusive(|byte| *byte == b'\n'))
        .map(|piece| {
            let message = [b"2026-11-21T07:00:00.123456789Z ", piece].concat().into();
            Ok(LogOutput::StdOut { message })
        })
        .collect();
    let lines = logs::lines(stream::iter(pieces)).collect::<Vec<_>>();
    let lines = lines.now_or_never().unwrap_or_default();
    let lines: Vec<_> = lines.into_iter().flatten().collect();
    for line in &lines {
        assert!(line.at_ms == 1_795_244_400_123 && !line.is_error);
        assert!(!line.text.contains('\n') && line.text.len() <= 3 * (LONGEST + 256));
    }
    let said = lines.iter().map(|line| line.text.as_str());
    let whole = String::from_utf8_lossy(text);
    let expected = whole.split('\n').map(|line| line.trim_end_matches('\r'));
    // The last line end begins no line.
    let expected: Vec<_> = expected.collect();
    let expected = match whole.ends_with('\n') || whole.is_empty() {
        true => &expected[..expected.len() - 1],
        false => &expected[..],
    };
    assert_eq!(said.collect::<Vec<_>>(), expected);
}

/// The first byte says how it is read, the second cuts it. What comes out, and whether it ends well, does not depend on how
/// it arrives; nothing is told that did not come.
pub fn engine_stream(data: &[u8]) {
    let [kind, cut, bytes @ ..] = data else {
        return;
    };
    let whole = hijack::fuzz::read(*kind, bytes, bytes.len().max(1));
    let pieces = hijack::fuzz::read(*kind, bytes, usize::from(*cut).max(1));
    assert_eq!(whole, pieces);
    assert!(whole.out.len() + whole.error.len() <= bytes.len());
}

/// Each line is a report: `s` begins a step, `e` ends it, and everything else is what it prints. Of one step all that is
/// printed is told, and in bounded lines.
pub fn build_progress(data: &[u8]) {
    let said: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let lines = progress::fuzz::lines(&said);
    assert!(lines.iter().all(|line| line.len() <= 3 * (8 << 10) + 64));
}
