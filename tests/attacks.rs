//! The attacks on the codec and the exchange, each by its id in a list of attacks against HTTP clients: the expected
//! behaviour, and its bound in bytes, memory, or counts.
//!
//! Servers are scripted, on loopback. Where bytes decide, the codec is tested directly. Bounds on memory are bounds of
//! the client's thread, see `meter`. No bound is a time: a test that hangs fails after its patience.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "attacks/desync.rs"]
mod desync;
#[path = "attacks/endless.rs"]
mod endless;
#[path = "support/heap.rs"]
mod heap;
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

/// Fails unless no connection is left and this many were made.
#[track_caller]
fn assert_gone(client: &Client, opened: u64) {
    let total = client.pool().stats().total;
    let left = (total.idle, total.active, total.dialing, total.waiting);
    assert_eq!((left, total.opened, total.closed_total()), ((0, 0, 0, 0), opened, opened), "{total}");
}

/// Fails unless the error is this protocol error.
#[track_caller]
fn assert_protocol(error: &Error, expected: ProtocolError, phase: Phase) {
    assert_eq!(
        (error.kind(), error.phase(), error.to_string()),
        (ErrorKind::Protocol, Some(phase), expected.to_string())
    );
}

/// Reads to the end without keeping the content. Returns its length and the error that ended it.
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

/// Every id has a test whose name begins with the id, and which is neither ignored nor left out of the build.
#[test]
fn the_list_of_attacks_is_complete() {
    let sources = [
        include_str!("attacks/desync.rs"),
        include_str!("attacks/endless.rs"),
        include_str!("attacks/injection.rs"),
        include_str!("attacks/stalls.rs"),
    ];
    let tests: Vec<_> = sources.iter().flat_map(|source| tests_of(source)).collect();
    let ids = (1..=12).chain(15..=19).chain(21..=30).chain(56..=58).chain([68, 72, 73]);
    let is_missing = |id: &i32| !tests.iter().any(|test| test.starts_with(&format!("a_{id:02}_")));
    let missing: Vec<_> = ids.filter(is_missing).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
    // A function is not a test because of its name alone.
    for text in [
        "fn a_01_b() {}",
        "#[test] #[ignore] fn a_01_b() {}",
        "#[test] #[cfg(any())] fn a_01_b() {}",
        "/* #[test]\nfn a_01_b() {} */",
    ] {
        assert_eq!(tests_of(text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(tests_of("#[test] fn a_01_b() {}\n#[tokio::test] async fn a_02_c() {}"), ["a_01_b", "a_02_c"]);
}

/// Returns the names of the tests of a file that are run.
fn tests_of(text: &str) -> Vec<String> {
    let items = syn::parse_file(text).unwrap().items.into_iter();
    let functions = items.filter_map(|item| match item {
        syn::Item::Fn(function) => Some(function),
        _ => None,
    });
    let is_run = |function: &syn::ItemFn| {
        let last =
            |attribute: &syn::Attribute| attribute.path().segments.last().map(|part| part.ident.to_string());
        let attributes: Vec<_> = function.attrs.iter().filter_map(last).collect();
        let has = |name: &str| attributes.iter().any(|attribute| attribute == name);
        has("test") && !has("ignore") && !has("cfg")
    };
    functions.filter(is_run).map(|function| function.sig.ident.to_string()).collect()
}
