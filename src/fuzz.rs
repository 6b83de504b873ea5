//! What the fuzzer drives: everything of ours that reads what strangers send. Compiled only under `--cfg freehold_fuzz`.
//!
//! A target panics when a reading breaks its promise, not only when it would crash. `tests/fuzz` runs them and keeps
//! their corpus.

/// A target: it takes any bytes and returns, or has found a defect.
pub type Target = fn(&[u8]);

/// Every target with a state or a depth to it, by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("answer", crate::proxy::fuzz::answer),
    ("app_file", crate::deploy::fuzz::app_file),
    ("build_progress", crate::docker::fuzz::build_progress),
    ("chunk_guard", crate::proxy::fuzz::chunk_guard),
    ("config", crate::config::fuzz::config),
    ("dockerfile", crate::deploy::fuzz::dockerfile),
    ("doubtful_path", crate::proxy::fuzz::doubtful_path),
    ("engine_stream", crate::docker::fuzz::engine_stream),
    ("h2_frames", crate::proxy::fuzz::h2_frames),
    ("h2_trailers", crate::proxy::fuzz::h2_trailers),
    ("h2c_frames", crate::proxy::fuzz::h2c_frames),
    ("head_guard", crate::proxy::fuzz::head_guard),
    ("health_answer", crate::supervise::fuzz::health_answer),
    ("multipart", crate::web::fuzz::multipart),
    ("policies", crate::apps::fuzz::policies),
    ("proxy_protocol", crate::proxy::fuzz::proxy_protocol),
    ("request", crate::proxy::fuzz::request),
    ("request_http2", crate::proxy::fuzz::request_http2),
    ("stream_end", crate::proxy::fuzz::stream_end),
    ("upload", crate::deploy::fuzz::upload),
    ("webhook", crate::deploy::fuzz::webhook),
    ("websocket", crate::proxy::fuzz::websocket),
];

/// Those that read a line or a field: a third of the time finds what there is.
pub const SHORT: &[(&str, Target)] = &[
    ("accept_encoding", crate::proxy::fuzz::accept_encoding),
    ("acme_refusal", crate::certs::fuzz::acme_refusal),
    ("answer_fields", crate::proxy::fuzz::answer_fields),
    ("archive_list", crate::backup::fuzz::archive_list),
    ("basic_auth", crate::proxy::fuzz::basic_auth),
    ("certificate", crate::certs::fuzz::certificate),
    ("compressed", crate::proxy::fuzz::compressed),
    ("credentials", crate::web::fuzz::credentials),
    ("cursor", crate::web::fuzz::cursor),
    ("dns", crate::certs::fuzz::dns),
    ("dockerignore", crate::docker::fuzz::dockerignore),
    ("env_file", crate::apps::fuzz::env_file),
    ("file_conditions", crate::proxy::fuzz::file_conditions),
    ("file_path", crate::proxy::fuzz::file_path),
    ("form_token", crate::web::fuzz::form_token),
    ("forwarded", crate::proxy::fuzz::forwarded),
    ("git", crate::git::fuzz::names),
    ("git_said", crate::git::fuzz::said),
    ("host", crate::proxy::fuzz::host),
    ("idempotency_key", crate::web::fuzz::idempotency_key),
    ("image_name", crate::deploy::fuzz::image_name),
    ("log_lines", crate::docker::fuzz::log_lines),
    ("postgres_said", crate::postgres::fuzz::said),
    ("rate_key", crate::proxy::fuzz::rate_key),
    ("rewritten_path", crate::proxy::fuzz::rewritten_path),
    ("sticky", crate::proxy::fuzz::sticky),
    ("store_refusal", crate::objects::fuzz::store_refusal),
    ("trace", crate::proxy::fuzz::trace),
];
