//! Every integration test that needs no process of its own, with one module per theme. The modules form one binary, so that
//! the tests are linked only once.
//!
//! The tests of this binary run at the same time in one process. A test therefore belongs here unless it
//!
//! - sets something that the whole process shares: a global allocator, a panic hook, a limit of the process, a `tracing`
//!   subscriber;
//! - counts something that the whole process shares: open files, sockets, allocations;
//! - needs the machine for itself, because it lasts long, starts other programs, or opens tens of thousands of
//!   connections.
//!
//! Such a test is a file of its own in `tests/`.

#[path = "../support/mod.rs"]
mod support;

mod age;
mod api;
#[cfg(feature = "url")]
mod base_url;
mod broken;
mod burst;
mod cancel;
mod charset;
mod conformance;
mod control;
mod conversions;
#[cfg(feature = "cookies")]
mod cookies;
#[cfg(all(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd", feature = "rustls"))]
mod decompression;
mod dials;
mod docs;
mod duplex;
mod errors;
mod expect;
mod filter;
mod final_dot;
mod form;
#[cfg(all(
    feature = "brotli",
    feature = "charset",
    feature = "cookies",
    feature = "deflate",
    feature = "form",
    feature = "gzip",
    feature = "hickory-dns",
    feature = "json",
    feature = "proxy",
    feature = "query",
    feature = "rustls",
    feature = "tower",
    feature = "url",
    feature = "zstd"
))]
mod from_reqwest;
#[cfg(feature = "har")]
mod har;
mod hazards;
mod hooks;
#[cfg(feature = "proxy")]
mod hostile_proxies;
mod json;
mod kept;
mod last_client;
mod ledger;
mod lenient;
mod liveness;
mod manual;
mod meeting;
#[cfg(feature = "otel")]
mod metrics;
mod moved;
#[cfg(all(feature = "hickory-dns", feature = "test-util"))]
mod names;
mod one_parser;
mod parked;
mod pool;
#[cfg(feature = "proxy")]
mod proxied_requests;
#[cfg(feature = "proxy")]
mod proxies;
#[cfg(feature = "proxy")]
mod proxy_faults;
#[cfg(feature = "proxy")]
mod proxy_filter;
#[cfg(feature = "url")]
mod redirect;
#[cfg(feature = "url")]
mod redirect_errors;
#[cfg(feature = "url")]
mod redirect_faults;
#[cfg(feature = "url")]
mod redirect_hops;
#[cfg(feature = "url")]
mod redirect_secrets;
mod requests;
mod requirements;
mod reserved;
mod reserved_faults;
mod retry;
mod retry_after;
mod retry_table;
mod reuse;
mod runtimes;
mod secrets;
mod secured;
mod settings;
mod settled;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(feature = "proxy")]
mod socks_addresses;
mod spans;
mod spread;
mod status_error;
mod step_timeouts;
mod surplus;
mod timeouts;
mod tls;
mod too_soon;
#[cfg(all(feature = "tower", feature = "url"))]
mod tower;
mod transcripts;
#[cfg(unix)]
mod unix;
mod upgrade;
mod uploads;
mod widths;
