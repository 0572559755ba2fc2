// The README links to the files of the manual. In rustdoc these link definitions take precedence, so that the links lead
// to the pages of the manual, and to pictures that are not a part of the documentation.
//! [performance]: manual::performance
//! [phases]: manual::phases
//! [cancel]: manual::cancel
//! [defaults]: manual::defaults
//! [reuse]: manual::reuse
//! [uploads]: manual::uploads
//! [where_to_look]: manual::where_to_look
//! [from_reqwest]: manual::from_reqwest
//! [timeline]: https://raw.githubusercontent.com/handclasp/handclasp/HEAD/examples/pooled_vs_fresh.svg
//! [round_trips]: https://raw.githubusercontent.com/handclasp/handclasp/HEAD/benches/pooled_vs_fresh.svg
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod basic;
mod body;
mod buffer;
mod call;
mod client;
pub mod codec;
mod config;
mod connect;
#[cfg(feature = "cookies")]
pub mod cookie;
mod error;
mod exchange;
#[cfg(feature = "har")]
pub mod har;
#[cfg(feature = "otel")]
mod metrics;
mod pool;
#[cfg(test)]
mod random;
mod record;
mod redact;
#[cfg(feature = "url")]
pub mod redirect;
#[cfg(not(feature = "url"))]
#[path = "no_redirect.rs"]
mod redirect;
mod request;
mod resolver;
mod response;
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod test_util;
mod time;
mod timer;
mod timings;
#[cfg(feature = "tower")]
mod tower;
mod trace;
mod upgraded;
mod url;

pub use self::body::Body;
pub use self::call::{RequestTarget, UrlTemplate};
pub use self::client::{Client, Reserved, get};
pub use self::config::ClientBuilder;
#[cfg(feature = "rustls")]
pub use self::connect::rustls_0_23;
pub use self::connect::{AddressFilter, Candidate, Destination, Look, Transport};
#[cfg(feature = "proxy")]
pub use self::connect::{NoProxy, Proxy};
pub use self::error::{BoxError, EarlierAttempt, Error, ErrorKind, Phase, ResendCause, Result, Written};
pub use self::exchange::UploadProgress;
#[cfg(feature = "otel")]
pub use self::metrics::{Metrics, opentelemetry_0_33};
pub use self::pool::{
    ConnectionInfo, DropReason, HostStats, IdleConnection, Pool, PoolEvent, PoolEventKind, PoolEvents,
    PoolStats, Refusal,
};
pub use self::record::{ExchangeOutcome, ExchangeRecord, ServerTiming};
pub use self::request::RequestBuilder;
#[cfg(feature = "hickory-dns")]
pub use self::resolver::HickoryResolver;
pub use self::resolver::{Answer, Family, Resolve, SystemResolver};
pub use self::response::{Collected, Response};
pub use self::timings::Timings;
#[cfg(feature = "rustls")]
pub use self::tls::{Certificate, Identity};
#[cfg(feature = "tower")]
pub use self::tower::ResponseFuture;
pub use self::upgraded::Upgraded;
pub use self::url::IntoUrl;
#[cfg(feature = "url")]
#[doc(no_inline)]
pub use ::url::Url;
pub use bytes::Bytes;
#[doc(no_inline)]
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
#[doc(no_inline)]
pub use {bytes, http};

/// Types of TLS: settings for a [`ClientBuilder`], and the parameters of a handshake.
pub mod tls {
    #[cfg(feature = "rustls")]
    pub use crate::connect::{Backend, Certificate, CertificateRevocationList, Identity};
    pub use crate::connect::{TlsInfo, Version};
}

/// The manual: pages for users, and pages for those who read or change the code.
///
/// For users: [`from_reqwest`](manual::from_reqwest), [`defaults`](manual::defaults), [`limits`](manual::limits),
/// [`reuse`](manual::reuse), [`uploads`](manual::uploads), [`cancel`](manual::cancel), [`phases`](manual::phases),
/// [`testing`](manual::testing), [`performance`](manual::performance) and [`changelog`](manual::changelog).
///
/// For those who read or change the code: [`where_to_look`](manual::where_to_look), [`internals`](manual::internals),
/// [`pool_rules`](manual::pool_rules), [`attacks`](manual::attacks) and [`requirements`](manual::requirements).
pub mod manual {
    #[doc = include_str!("manual/attacks.md")]
    pub mod attacks {}
    #[doc = include_str!("manual/cancel.md")]
    pub mod cancel {}
    #[doc = include_str!("manual/defaults.md")]
    pub mod defaults {}
    #[doc = include_str!("manual/from_reqwest.md")]
    #[cfg_attr(
        not(all(feature = "cookies", feature = "proxy", feature = "url")),
        allow(rustdoc::broken_intra_doc_links, reason = "the page names methods of features")
    )]
    pub mod from_reqwest {}
    #[doc = include_str!("manual/internals.md")]
    pub mod internals {}
    #[doc = include_str!("manual/limits.md")]
    pub mod limits {}
    #[doc = include_str!("manual/performance.md")]
    pub mod performance {}
    #[doc = include_str!("manual/phases.md")]
    pub mod phases {}
    #[doc = include_str!("manual/pool_rules.md")]
    pub mod pool_rules {}
    #[doc = include_str!("manual/requirements.md")]
    pub mod requirements {}
    #[doc = include_str!("manual/reuse.md")]
    pub mod reuse {}
    #[doc = include_str!("manual/testing.md")]
    pub mod testing {}
    #[doc = include_str!("manual/uploads.md")]
    pub mod uploads {}
    #[doc = include_str!("manual/where_to_look.md")]
    pub mod where_to_look {}
    #[doc = include_str!("../CHANGELOG.md")]
    pub mod changelog {}
}
