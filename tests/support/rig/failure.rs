//! What an error of a connection means for the request that met it. Pure.

use std::error::Error;
use std::io::{self, ErrorKind};

use super::ledger::Outcome;

/// A request that never became part of a connection.
pub fn connecting(error: &io::Error) -> Outcome {
    Outcome::Refused(words(error))
}

/// Whether the connection had ended for requests when this one came to it.
pub fn was_never_written(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || was_told_to_go(error)
}

/// GOAWAY without an error: the other side takes no request that meets it, so that whoever sent it may send it again
/// (RFC 9113, 6.8), and a browser does.
fn was_told_to_go(error: &hyper::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(this) = next {
        if let Some(error) = this.downcast_ref::<h2::Error>() {
            return error.is_go_away()
                && error.is_remote()
                && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        next = this.source();
    }
    false
}

/// An error before the answer's head.
pub fn sending(error: &hyper::Error) -> Outcome {
    if error.is_incomplete_message() {
        return Outcome::Eof;
    }
    if was_never_written(error) {
        return Outcome::Refused(words(error));
    }
    deeper(error)
}

/// An error inside the answer's body, of which `got` bytes had come.
pub fn reading(error: &hyper::Error, got: u64) -> Outcome {
    match deeper(error) {
        Outcome::Eof => Outcome::Short(got),
        _ if error.is_incomplete_message() => Outcome::Short(got),
        other => other,
    }
}

fn deeper(error: &hyper::Error) -> Outcome {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(this) = next {
        if let Some(error) = this.downcast_ref::<io::Error>() {
            let outcome = met(error);
            if !matches!(outcome, Outcome::Broken(_)) {
                return outcome;
            }
        }
        if let Some(error) = this.downcast_ref::<h2::Error>() {
            if let Some(error) = error.get_io() {
                return met(error);
            }
            if error.is_go_away() {
                return Outcome::Refused(words(error));
            }
            if error.is_reset() {
                return Outcome::Reset(words(error));
            }
        }
        next = this.source();
    }
    Outcome::Broken(words(error))
}

/// What a connection came to.
fn met(error: &io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::UnexpectedEof => Outcome::Eof,
        // Nobody's but h2's own, of a connection that had ended.
        ErrorKind::BrokenPipe if error.raw_os_error().is_none() => Outcome::Eof,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            Outcome::Reset(words(error))
        }
        _ => Outcome::Broken(words(error)),
    }
}

/// An error and all its causes.
pub fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
