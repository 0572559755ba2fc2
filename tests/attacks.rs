//! Attacks of servers and callers on the client. Each test is named by the id of its attack in a list of attacks
//! against HTTP clients. A test asserts the client's behaviour and a bound on bytes, memory or counts.
//!
//! Servers are scripted and listen on loopback. Where the exact bytes matter, a test calls the codec without a
//! connection. Each bound on memory counts the memory of the client's thread only: see `meter`. No bound is a time: a
//! test that hangs fails when its patience runs out.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "attacks/coded.rs"]
mod coded;
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
#[path = "attacks/tunnels.rs"]
mod tunnels;

use handclasp::codec::ProtocolError;
use handclasp::{Client, Error, ErrorKind, Phase, Response};

/// Fails unless the client has dialed `opened` connections and all of them are closed.
#[track_caller]
fn assert_gone(client: &Client, opened: u64) {
    let total = client.pool().stats().total;
    let left = (total.idle, total.active, total.dialing, total.waiting);
    assert_eq!((left, total.opened, total.closed_total()), ((0, 0, 0, 0), opened, opened), "{total}");
}

/// Fails unless `error` is the protocol error `expected` in the phase `phase`.
#[track_caller]
fn assert_protocol(error: &Error, expected: ProtocolError, phase: Phase) {
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Protocol, Some(phase)), "{error}");
    // The error of a limit also has the limit's value.
    let rest = error.message().strip_prefix(&*expected.to_string()).unwrap_or_else(|| panic!("{error}"));
    assert!(rest.is_empty() || rest.ends_with("raise it with codec_limits)"), "{error}");
}

/// Reads the response to its end and discards the content. Returns the length of the content, and the error that
/// ended the response, if there is one.
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

/// Each attack of the list has a test whose name begins with the id of the attack. The test is not ignored, and the
/// build does not leave it out.
#[test]
fn the_list_of_attacks_is_complete() {
    let sources = [
        include_str!("attacks/coded.rs"),
        include_str!("attacks/desync.rs"),
        include_str!("attacks/endless.rs"),
        include_str!("attacks/injection.rs"),
        include_str!("attacks/stalls.rs"),
        include_str!("attacks/tunnels.rs"),
    ];
    let tests: Vec<_> = sources.iter().flat_map(|source| tests_of(source)).collect();
    let ids = (1..=12).chain(15..=19).chain(21..=30).chain(56..=58).chain([68, 72, 73]);
    let is_missing = |id: &i32| !tests.iter().any(|test| test.starts_with(&format!("a_{id:02}_")));
    let missing: Vec<_> = ids.filter(is_missing).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
    // A function counts as a test because of its attribute, and not because of its name.
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

/// Returns the names of the tests in a file that `cargo test` runs.
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
