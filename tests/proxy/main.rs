//! The data plane with real sockets: an edge on free ports, apps that behave and apps that do not, clients that check.
mod app;
mod client;
mod frames;
mod rig;

mod abuse;
mod bodies;
mod compress;
mod drain;
mod hold;
mod names;
mod origin;
mod retry;
mod static_site;
mod strict;
mod table;
mod table_http2;
mod websocket;
