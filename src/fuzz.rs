//! What the fuzzer drives: everything of ours that reads what strangers send. Compiled only under `--cfg freehold_fuzz`.
//!
//! A target panics when a reading breaks its promise, not only when it would crash. `tests/fuzz` runs them and keeps
//! their corpus.

/// A target: it takes any bytes and returns, or has found a defect.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("answer", crate::proxy::fuzz::answer),
    ("app_file", crate::deploy::fuzz::app_file),
    ("archive_list", crate::backup::fuzz::archive_list),
    ("config", crate::config::fuzz::config),
    ("dns", crate::certs::fuzz::dns),
    ("dockerignore", crate::docker::fuzz::dockerignore),
    ("forwarded", crate::proxy::fuzz::forwarded),
    ("git", crate::git::fuzz::names),
    ("h2_frames", crate::proxy::fuzz::h2_frames),
    ("head_guard", crate::proxy::fuzz::head_guard),
    ("host", crate::proxy::fuzz::host),
    ("proxy_protocol", crate::proxy::fuzz::proxy_protocol),
    ("upload", crate::deploy::fuzz::upload),
    ("webhook", crate::deploy::fuzz::webhook),
    ("websocket", crate::proxy::fuzz::websocket),
];
