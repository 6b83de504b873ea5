//! What goes into the log unless it is asked otherwise, by the crate that says it.
//!
//! Of single connections nothing does: what libraries warn of there is the doing of strangers, a line for each frame or
//! connection that they send. The edge counts it, and the daemon tells the counts.

pub const DEFAULT: &str = "info,bollard=warn,h2=error,hyper=error,rustls=error";
