//! The data plane: takes connections, ends TLS, finds the route, claims a target, forwards both ways, counts.
//!
//! Serves from an immutable snapshot and knows sockets and routes; it knows no app, no engine, no database, and imports
//! only `base`. One current-thread runtime a core; no lock is taken on the way of a request.
//! What the snapshot holds is decided in `routing`; who listens is decided by the daemon.
mod abandoned;
mod answer;
mod attempt;
mod attempt_http1;
mod attempt_http2;
mod balance;
mod body;
mod budget;
mod chunk_guard;
mod claims;
mod client;
mod client_io;
mod compressor;
mod content_coding;
mod edge;
mod error;
mod error_page;
mod exchange;
mod extended_connect;
mod forward;
#[cfg(any(test, freehold_fuzz))]
mod framing;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod gate;
mod grammar;
mod grpc_status;
mod h2_frames;
mod h2_stream;
mod handshakes;
mod head_guard;
mod headers;
mod histogram;
mod hold;
mod host;
mod inlet;
mod limits;
mod listener;
mod local;
mod meter;
mod origin;
mod outliers;
pub mod policies;
mod proxies;
mod proxy_protocol;
mod refusal;
mod request_head;
mod request_id;
mod routes;
mod said;
mod serve;
mod serve_http1;
mod serve_http2;
mod shared;
mod site;
mod snapshot;
mod sources;
mod stand_in;
mod standing;
mod static_site;
mod sticky;
mod target;
mod tls;
mod tunnel;
mod tunnel_watch;
mod upstream;
mod vigil;
mod watch;
mod worker;
mod ws_frames;

pub use edge::{ConnectFailure, Edge, EdgeHandle, EdgeStats, LeftOut, Listeners};
pub use gate::Gate;
pub use histogram::Histogram;
pub use limits::Limits;
pub use meter::{Meter, Reading};
pub use policies::Policies;
pub use proxies::Proxies;
pub use refusal::{Refusal, Refusals};
pub use routes::{Route, RouteSpec, RouteTable, Upstream};
pub use snapshot::{Certificates, Snapshot};
pub use static_site::{StaticSite, Unserved};
pub use target::{Address, Protocol, Target, Traits};
