//! The attacks that concern the codec and the exchange, each by its id in a list of attacks against HTTP clients: the
//! expected behaviour, and its bound in bytes, memory, or counts.
//!
//! Servers are scripted, on loopback; where bytes decide, the codec is asked itself. A bound on memory is one of the
//! client's thread, see `meter`. No bound is one of time: a test that hangs fails by its patience.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "attacks/desync.rs"]
mod desync;
#[path = "attacks/endless.rs"]
mod endless;
#[path = "attacks/injection.rs"]
mod injection;
#[path = "attacks/meter.rs"]
mod meter;
#[path = "attacks/stalls.rs"]
mod stalls;
#[path = "attacks/strict.rs"]
mod strict;
mod support;

use handclasp::codec::ProtocolError;
use handclasp::{Client, Error, ErrorKind, Phase, Response};

/// No connection is left, and so many were made.
#[track_caller]
fn assert_gone(client: &Client, opened: u64) {
    let total = client.pool().stats().total;
    let left = (total.idle, total.active, total.dialing, total.waiting);
    assert_eq!((left, total.opened, total.closed_total()), ((0, 0, 0, 0), opened, opened), "{total}");
}

/// The peer broke the protocol in just this way.
#[track_caller]
fn assert_protocol(error: &Error, expected: ProtocolError, phase: Phase) {
    assert_eq!(
        (error.kind(), error.phase(), error.to_string()),
        (ErrorKind::Protocol, Some(phase), expected.to_string())
    );
}

/// Reads to the end, keeping nothing: how much that was, and what ended it.
async fn read_away(response: &mut Response) -> (usize, Result<(), Error>) {
    let mut length = 0;
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => length += piece.len(),
            Ok(None) => return (length, Ok(())),
            Err(error) => return (length, Err(error)),
        }
    }
}

/// Every id has a test that begins with it.
#[test]
fn the_list_of_attacks_is_complete() {
    let sources = [
        include_str!("attacks/desync.rs"),
        include_str!("attacks/endless.rs"),
        include_str!("attacks/injection.rs"),
        include_str!("attacks/stalls.rs"),
    ];
    let ids = (1..=12).chain(15..=19).chain(21..=30).chain(56..=58).chain([68, 72, 73]);
    let missing: Vec<_> = ids
        .filter(|id| {
            !sources.iter().any(|source| {
                source.contains(&format!("\nasync fn a_{id:02}_"))
                    || source.contains(&format!("\nfn a_{id:02}_"))
            })
        })
        .collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}
