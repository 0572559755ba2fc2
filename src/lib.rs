#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod buffer;
mod call;
mod client;
pub mod codec;
mod config;
mod connect;
mod error;
mod exchange;
mod pool;
mod request;
mod resolver;
mod response;
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod test_util;
mod time;
mod timings;
mod trace;
mod upgraded;

pub use self::body::Body;
pub use self::call::RequestTarget;
pub use self::client::{Client, get};
pub use self::config::ClientBuilder;
#[cfg(feature = "rustls")]
pub use self::connect::Certificate;
pub use self::connect::{Destination, Look, Transport};
pub use self::error::{BoxError, Error, ErrorKind, Phase, Result, Written};
pub use self::exchange::UploadProgress;
pub use self::pool::{
    ConnectionInfo, DropReason, HostStats, IdleConnection, Pool, PoolEvent, PoolEventKind, PoolEvents,
    PoolStats, Refusal,
};
pub use self::request::{IntoUrl, RequestBuilder};
#[cfg(feature = "hickory")]
pub use self::resolver::HickoryResolver;
pub use self::resolver::{Answer, Family, Resolve, SystemResolver};
pub use self::response::{Collected, Response};
pub use self::timings::Timings;
pub use self::upgraded::Upgraded;

/// The long pages: what the defaults are and why, when connections are reused, what cancelling does.
pub mod manual {
    #[doc = include_str!("manual/cancel.md")]
    pub mod cancel {}
    #[doc = include_str!("manual/defaults.md")]
    pub mod defaults {}
    #[doc = include_str!("manual/internals.md")]
    pub mod internals {}
    #[doc = include_str!("manual/phases.md")]
    pub mod phases {}
    #[doc = include_str!("manual/requirements.md")]
    pub mod requirements {}
    #[doc = include_str!("manual/reuse.md")]
    pub mod reuse {}
    #[doc = include_str!("manual/uploads.md")]
    pub mod uploads {}
    #[doc = include_str!("../CHANGELOG.md")]
    pub mod changelog {}
}
