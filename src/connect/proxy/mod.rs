//! Proxies: their settings, the choice of a proxy for a request, and the dialog that opens a connection through a proxy.
//!
//! `server.rs` reads the URL of a proxy. `socks.rs` and `connect.rs` are the dialogs as bytes, without I/O, and
//! `refusal.rs` has the reasons for which a proxy opens no connection. Invariant: the credentials of a proxy are sent to
//! that proxy only, and are never printed.

#![cfg_attr(not(test), allow(dead_code, reason = "the settings of proxies follow"))]

mod connect;
mod refusal;
mod server;
mod socks;
