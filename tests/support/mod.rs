//! What the integration tests share: scripted servers, and wire transcripts.
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
pub mod endings;
pub mod layer;
pub mod lines;
pub mod pipe;
pub mod plain;
pub mod random;
pub mod recorder;
pub mod scripted;
pub mod server;
pub mod transcript;

use std::time::Duration;

pub use self::random::Rng;
pub use self::server::{Peer, Request, Seen, Server, Signal, Split, Tape};

/// No test waits longer for anything: a hang becomes a failure that says where.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// `work`, which must end within `seconds`.
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

/// The same in paused time, which stands still meanwhile: the runtime is never idle, while other threads and the kernel do
/// what they do.
#[track_caller]
pub fn until_now(what: &'static str, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{place}: waited in vain until {what}");
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until `is_so` answers yes, asking again and again.
#[track_caller]
pub fn until(what: &'static str, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{place}: waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
