//! The data plane with real sockets: an edge on free ports, apps that behave and apps that do not, clients that check.
mod app;
mod client;
mod frames;
mod rig;

mod abuse;
mod bodies;
mod drain;
mod hold;
mod log;
mod names;
mod origin;
mod retry;
mod strict;
mod table;
mod table_http2;
mod websocket;
