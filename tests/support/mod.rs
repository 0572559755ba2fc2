//! Test kit of the integration tests: servers, connections in memory, wire transcripts, and helpers that wait.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used
)]

pub mod arrival;
pub mod conformance;
pub mod dials;
pub mod dns;
pub mod endings;
pub mod example;
pub mod gate;
pub mod layer;
pub mod lines;
#[cfg(feature = "otel")]
pub mod metrics;
pub mod order;
pub mod pipe;
pub mod plain;
pub mod random;
pub mod recorder;
pub mod scripted;
pub mod server;
#[cfg(unix)]
pub mod sockets;
pub mod tls;
pub mod transcript;

use std::time::Duration;

pub use self::random::Rng;
pub use self::server::{Peer, Request, Seen, Server, Signal, Split, Tape};

/// Switches off the fields that the features of the crate add to a request, for tests that compare whole requests.
pub trait Uncoded {
    /// Asks for no content coding, and decodes none.
    #[must_use]
    fn uncoded(self) -> Self;
}

impl Uncoded for handclasp::ClientBuilder {
    fn uncoded(self) -> Self {
        self.no_gzip().no_deflate().no_brotli().no_zstd()
    }
}

/// Longest time that a test waits for one condition. A longer wait fails the test with the line of the wait.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work`, and panics with the caller's line if it does not end within `seconds`.
#[track_caller]
pub fn within<T>(seconds: u64, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(seconds), work).await {
            Ok(done) => done,
            Err(_) => panic!("{place}: not done within {seconds} s"),
        }
    }
}

/// Waits until `is_so` is true, in tests with a paused clock. The clock does not advance during the wait, because the
/// runtime is never idle. Other threads and the kernel continue to run.
#[track_caller]
pub fn until_now(what: &'static str, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{place}: timed out waiting until {what}");
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until `is_so` is true, and calls it every millisecond.
#[track_caller]
pub fn until(what: &'static str, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{place}: timed out waiting until {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
