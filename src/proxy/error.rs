//! Error: why the edge itself answers instead of a target, in one list.
//!
//! Each has a side (whose fault), a status, and words for a person: what happened and what to do next.
use std::time::Duration;

use http::{HeaderValue, StatusCode};

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
    Us,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EdgeError {
    BadRequest(&'static str),
    UnknownHost,
    NoRoute,
    Misdirected,
    MethodRefused,
    /// A CONNECT over HTTP/2 for a protocol other than WebSocket.
    ProtocolRefused,
    /// A transfer coding that we do not know.
    CodingRefused,
    VersionRefused,
    TooManyFields(usize),
    UriTooLong(usize),
    HeadTooLarge(usize),
    BodyTooLarge(u64),
    BodyStalled,
    BodyBroken,
    /// Other readings of the path lead to another route, and access to one of them is limited.
    PathDoubtful,
    /// A policy of the route does not serve the client's address.
    AddressRefused,
    /// With the challenge to be told.
    Unauthorized(HeaderValue),
    /// One more than the route's policy takes; seconds until the next.
    TooManyRequests(u32),
    /// Its source has as many streams to apps that speak HTTP/2 as it may.
    TooManyStreams,
    /// Behind a proxy that serves others too: most of its client's requests were reset before they were answered.
    TooManyAbandoned,
    /// The name is known, its certificate is not there yet.
    CertificatePending,
    /// Too many requests wait already.
    HeldFull,
    HeldTooLong {
        paused: bool,
        waited: Duration,
    },
    /// The target cannot change the protocol.
    UpgradeUnserved,
    /// A folder of files speaks no WebSocket.
    UpgradeOfFiles,
    /// No target had a place for so long.
    Busy(Duration),
    UpstreamClosed,
    UpstreamSilent(Duration),
    UpstreamMalformed(&'static str),
    /// A folder of files has none of this name.
    NoFile,
    /// A folder of files is only read.
    ReadOnly,
    FileUnreadable,
    Panicked,
}

impl EdgeError {
    pub(super) fn side(&self) -> Side {
        use EdgeError::*;
        match self {
            BadRequest(_) | UnknownHost | NoRoute | Misdirected | MethodRefused
            | ProtocolRefused | CodingRefused | VersionRefused | TooManyFields(_)
            | UriTooLong(_) | HeadTooLarge(_) | BodyTooLarge(_) | BodyStalled | BodyBroken
            | UpgradeUnserved | UpgradeOfFiles | PathDoubtful | AddressRefused
            | Unauthorized(_) | TooManyRequests(_) | TooManyStreams | TooManyAbandoned | NoFile
            | ReadOnly => Side::Client,
            HeldFull
            | HeldTooLong { .. }
            | Busy(_)
            | UpstreamClosed
            | UpstreamSilent(_)
            | UpstreamMalformed(_) => Side::Upstream,
            CertificatePending | FileUnreadable | Panicked => Side::Us,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        use EdgeError::*;
        match self {
            BadRequest(_) | BodyBroken | PathDoubtful => StatusCode::BAD_REQUEST,
            Unauthorized(_) => StatusCode::UNAUTHORIZED,
            AddressRefused => StatusCode::FORBIDDEN,
            TooManyRequests(_) | TooManyStreams | TooManyAbandoned => StatusCode::TOO_MANY_REQUESTS,
            UnknownHost | NoRoute | NoFile => StatusCode::NOT_FOUND,
            Misdirected => StatusCode::MISDIRECTED_REQUEST,
            MethodRefused | ReadOnly => StatusCode::METHOD_NOT_ALLOWED,
            CodingRefused | ProtocolRefused | UpgradeUnserved | UpgradeOfFiles => {
                StatusCode::NOT_IMPLEMENTED
            }
            VersionRefused => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            UriTooLong(_) => StatusCode::URI_TOO_LONG,
            HeadTooLarge(_) | TooManyFields(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyStalled => StatusCode::REQUEST_TIMEOUT,
            CertificatePending | HeldFull | HeldTooLong { .. } | Busy(_) | FileUnreadable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            UpstreamClosed | UpstreamMalformed(_) => StatusCode::BAD_GATEWAY,
            UpstreamSilent(_) => StatusCode::GATEWAY_TIMEOUT,
            Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which another try makes sense.
    pub(super) fn retry_after(&self) -> Option<u32> {
        match self {
            EdgeError::TooManyRequests(seconds) => Some(*seconds),
            EdgeError::HeldFull | EdgeError::Busy(_) | EdgeError::FileUnreadable => Some(5),
            EdgeError::HeldTooLong { .. }
            | EdgeError::CertificatePending
            | EdgeError::TooManyStreams => Some(10),
            EdgeError::TooManyAbandoned => Some(60),
            _ => None,
        }
    }

    /// Whether the connection must end with this answer, because where the request ends is not certain, or our own state.
    pub(super) fn closes(&self) -> bool {
        matches!(
            self,
            EdgeError::BadRequest(_)
                // What follows a CONNECT may be meant for its tunnel.
                | EdgeError::MethodRefused
                | EdgeError::CodingRefused
                | EdgeError::BodyTooLarge(_)
                | EdgeError::BodyStalled
                | EdgeError::BodyBroken
                | EdgeError::Panicked
        )
    }

    pub(super) fn title(&self) -> &'static str {
        use EdgeError::*;
        match self {
            BadRequest(_) | BodyBroken => "This request cannot be understood",
            UnknownHost => "Nothing is served under this name",
            NoRoute => "Nothing is served at this path",
            Misdirected => "This connection is for another name",
            NoFile => "There is no such page",
            MethodRefused | ReadOnly => "This method is not served",
            ProtocolRefused => "This protocol is not served",
            CodingRefused => "This transfer coding is not served",
            VersionRefused => "This version of HTTP is not served",
            UpgradeUnserved | UpgradeOfFiles => "No WebSocket is served here",
            TooManyFields(_) => "There are too many headers",
            UriTooLong(_) => "This address is too long",
            HeadTooLarge(_) => "The headers are too large",
            BodyTooLarge(_) => "This upload is too large",
            BodyStalled => "The upload stopped",
            PathDoubtful => "This address can be read in two ways",
            AddressRefused => "This is not served to you",
            Unauthorized(_) => "Sign in to see this",
            TooManyRequests(_) | TooManyStreams | TooManyAbandoned => "That was too much at once",
            CertificatePending => "Almost ready",
            HeldFull | HeldTooLong { .. } | Busy(_) | FileUnreadable => "Not available right now",
            UpstreamClosed | UpstreamMalformed(_) => "The app did not answer properly",
            UpstreamSilent(_) => "The app took too long",
            Panicked => "Something went wrong here",
        }
    }

    /// What happened and what to do, in a sentence or two. Says nothing of addresses or insides.
    pub(super) fn sentence(&self) -> String {
        use EdgeError::*;
        match self {
            BadRequest(what) => format!("The request is not valid HTTP: {what}."),
            BodyBroken => "The request's body broke off or is malformed. Send it again.".into(),
            UnknownHost => "This server does not know the name you asked for. Check the address, or add the domain to an app.".into(),
            NoRoute => "The name is known here, but no app answers at this path. Check the address.".into(),
            Misdirected => "The connection was opened for another name. A new connection will work.".into(),
            MethodRefused => "This server is not an open proxy; CONNECT and TRACE are refused.".into(),
            ProtocolRefused => "Over HTTP/2 a CONNECT may ask for a WebSocket, and for no other protocol.".into(),
            CodingRefused => "Of the transfer codings only chunked is understood here. Send the body without another one; a Content-Encoding may stay.".into(),
            VersionRefused => "HTTP/1.1, HTTP/1.0 and, over https, HTTP/2 are served here.".into(),
            UpgradeUnserved => "The app at this address is spoken to over HTTP/2 (h2c), where the protocol cannot be changed. Give the app a process that speaks HTTP/1.1 for its WebSockets.".into(),
            UpgradeOfFiles => "This is a folder of files: they can be fetched with GET, and no WebSocket can be opened to them. Ask for it at the address of an app.".into(),
            TooManyFields(limit) => format!("A request may have up to {limit} headers."),
            UriTooLong(limit) => format!("Addresses may have up to {} KB. Send the data in the request's body instead.", limit / 1024),
            HeadTooLarge(limit) => format!("Headers may have up to {} KB together. Clearing this site's cookies often helps.", limit / 1024),
            BodyTooLarge(limit) => format!("Up to {} are accepted here.", size(*limit)),
            BodyStalled => "No more of the request's body arrived for a while. Send it again.".into(),
            PathDoubtful => "Its path, decoded, leads to another place than it does as it is written, and one of the two is not for everybody. Write it in lower case, without dots, double slashes, backslashes, semicolons and encoded slashes.".into(),
            AddressRefused => "Your network address is not among those served here. Whoever runs this site can add it.".into(),
            Unauthorized(_) => "A name and a password are asked for here, and none or the wrong ones were given. Try again, or ask whoever runs this site.".into(),
            TooManyRequests(1) => "You asked more often than is served here. Try again in a second.".into(),
            TooManyRequests(seconds) => format!("You asked more often than is served here. Try again in {seconds} seconds."),
            TooManyStreams => "As many requests and calls of your network address are open here as may be. Try again when some of them have ended.".into(),
            TooManyAbandoned => "Most of your requests of the last minute were given up before they were answered. Try again in a minute.".into(),
            CertificatePending => "This name has no certificate yet, and nothing is sent unprotected meanwhile. Try again in a minute; whoever runs the box reads on its dashboard what is being done.".into(),
            HeldFull => "Too many requests are already waiting for this app. Try again in a few seconds.".into(),
            HeldTooLong { paused: true, waited } => {
                format!("The app is being worked on and did not come back within {} seconds. Try again shortly.", waited.as_secs())
            }
            HeldTooLong { paused: false, waited } => {
                format!("No instance of the app could be reached for {} seconds. Try again shortly.", waited.as_secs())
            }
            Busy(waited) => format!("The app has had as many requests as it takes at once for {} seconds. Try again in a few seconds.", waited.as_secs()),
            UpstreamClosed => "The app closed the connection before it answered. Its logs may say why.".into(),
            UpstreamSilent(limit) => format!("The app did not answer within {} seconds. Its logs may say why.", limit.as_secs()),
            UpstreamMalformed(_) => "The app sent an answer that cannot be passed on safely.".into(),
            NoFile => "The site is here, but it has no page at this address. Check the address, or begin at the front page.".into(),
            ReadOnly => "This is a folder of files: they can be fetched with GET, and nothing can be sent to them.".into(),
            FileUnreadable => "The file is there, but this server could not read it just now. Try again in a few seconds.".into(),
            Panicked => "This is our mistake, and it was written down. Trying again may work.".into(),
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KB", bytes / 1024),
        _ => format!("{} MB", bytes / (1024 * 1024)),
    }
}
