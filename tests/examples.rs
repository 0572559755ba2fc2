//! The examples other than `fetch`, run as programs.
#![cfg(feature = "tower")]
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::{Command, Stdio};

/// Returns the numbers in a line, in order.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

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
