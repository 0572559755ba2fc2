//! Proxies: their settings, the choice of a proxy for a request, and the dialog that opens a connection through a proxy.
//!
//! `settings.rs` has the settings and the choice, with `environment.rs`, `system.rs` and `no_proxy.rs`. `server.rs`
//! reads the URL of a proxy. `socks.rs` and `connect.rs` write and read the bytes of the dialogs, without I/O.
//! `refusal.rs` lists the reasons why a proxy opens no connection. `tunnel.rs` runs a dialog over a stream. Invariant:
//! the credentials of a proxy are sent to that proxy only, and are never printed.

mod connect;
mod environment;
mod no_proxy;
mod refusal;
mod server;
mod settings;
mod socks;
#[cfg(feature = "system-proxy")]
mod system;
mod tunnel;

pub use self::no_proxy::NoProxy;
pub(crate) use self::server::{Kind, ProxyServer};
pub use self::settings::Proxy;
pub(crate) use self::settings::{Proxies, Wanted};
pub(crate) use self::socks::Asked;
pub(crate) use self::tunnel::{NotOpened, through};
