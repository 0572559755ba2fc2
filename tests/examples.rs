//! The examples other than `fetch`, run as programs.
#![cfg(any(all(feature = "otel", feature = "url"), feature = "tower"))]
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::{Command, Stdio};

/// Returns the numbers in a line, in order.
#[cfg(feature = "tower")]
fn numbers(line: &str) -> Vec<u64> {
    line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(feature = "tower")]
#[test]
fn the_example_of_tower_answers_all_requests_and_says_how() {
    let program = support::example::build("tower");
    let output = Command::new(program).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    let endpoints: Vec<_> =
        text.lines().filter(|line| line.starts_with("  endpoint ")).map(numbers).collect();
    assert_eq!(endpoints.len(), 3, "{text}");
    let sent: u64 = endpoints.iter().map(|endpoint| endpoint[2]).sum();
    for endpoint in &endpoints {
        let (requests, connections) = (endpoint[2], endpoint[3]);
        assert!((1..=requests).contains(&connections), "{text}");
    }
    // Each endpoint refuses every twentieth request, and no request is lost.
    let refused: u64 = endpoints.iter().map(|endpoint| endpoint[2] / 20).sum();
    assert!(refused > 0 && sent == 300 + refused, "{text}");
    assert!(text.contains(&format!("{refused} answers were 503")), "{text}");
    assert!(text.ends_with("fails: request timed out.\n"), "{text}");
}

/// The server gets a `traceparent` with each attempt: one trace, and the span of the attempt.
#[cfg(all(feature = "otel", feature = "url"))]
#[test]
fn the_example_of_otel_sends_the_context_of_each_attempt() {
    let program = support::example::build("otel");
    let output = Command::new(program).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    let attempts: Vec<_> = text.lines().filter(|line| line.starts_with("GET /")).collect();
    let contexts: Vec<Vec<_>> =
        attempts.iter().map(|line| line.rsplit(' ').next().unwrap().split('-').collect()).collect();
    assert_eq!(contexts.len(), 3, "{text}");
    let mut spans = std::collections::BTreeSet::new();
    for context in &contexts {
        let [_, trace, span, _] = context[..] else { panic!("{text}") };
        assert_eq!(trace, contexts[0][1], "one trace: {text}");
        assert!(spans.insert(span), "a span of its own: {text}");
        assert!(text.contains(&format!("client   span {span}")), "the span is exported: {text}");
    }
    assert!(text.contains(&format!("trace {}\n  order ", contexts[0][1])), "{text}");
    // Each attempt that dialed is linked to its dial.
    assert_eq!(text.matches("linked to span").count(), 2, "{text}");
    assert_eq!(text.matches("connection.setup").count(), 2, "{text}");
    for line in [
        "   1              state=idle",
        "   3  sum ",
        "   1              resend.cause=Redirect",
        "   1              close.reason=NotReusable",
        "dns.lookup.duration in s\n   1  sum ",
        "http.client.connection.duration in s\n   1  sum ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
