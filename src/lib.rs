//! handclasp
#![forbid(unsafe_code)]

mod body;
mod buffer;
mod client;
pub mod codec;
mod config;
mod connect;
mod error;
mod exchange;
mod layer;
mod pool;
mod request;
mod resolver;
mod response;
mod time;
mod trace;
mod upload;

pub use self::body::Body;
pub use self::client::{Client, get};
pub use self::config::ClientBuilder;
#[cfg(feature = "rustls")]
pub use self::connect::Certificate;
pub use self::connect::{Destination, Look, Transport};
pub use self::error::{BoxError, Error, ErrorKind, Phase, Result, Written};
pub use self::pool::{ConnectionInfo, DropReason, HostStats, Pool, PoolStats};
pub use self::request::{IntoUrl, RequestBuilder};
#[cfg(feature = "hickory")]
pub use self::resolver::HickoryResolver;
pub use self::resolver::{Answer, Family, Resolve, SystemResolver};
pub use self::response::{Collected, Response};
pub use self::trace::Timings;
