//! The examples other than `fetch`, run as programs, and the code that only examples share.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../examples/support/packet.rs"]
mod packet;
mod support;
#[path = "../examples/support/svg.rs"]
mod svg;

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs an example and returns what it prints. All lines fit into 80 columns.
fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    text
}

/// Returns the numbers in a line, in order.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(feature = "tower")]
#[test]
fn the_example_of_tower_answers_all_requests_and_says_how() {
    let text = run(&support::example::build("tower"), &[]);

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

/// The example says from which request on a kept connection is faster, and draws a bar for each handshake.
#[test]
fn the_example_of_pooling_counts_connections_and_draws_them() {
    let program = support::example::build("pooled_vs_fresh");
    let folder = own_folder();
    let file = folder.join("phases.svg");
    let text = run(&program, &["-n", "7", "--body", "2k", "--svg", file.to_str().unwrap()]);
    let schemes = if cfg!(feature = "rustls") { 2 } else { 1 };
    for (connections, opened) in [(" kept ", 1), (" new ", 7)] {
        let rows = text.lines().filter(|line| line.starts_with("http") && line.contains(connections));
        let counts: Vec<u64> = rows.map(|row| *numbers(row).last().unwrap()).collect();
        assert_eq!(counts, vec![opened; schemes], "{text}");
    }
    assert_eq!(text.matches("Break-even: ").count(), schemes, "{text}");
    let svg = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    // A handshake that is short beside its request is not drawn, but most of them are.
    let drawn = svg.matches(", TCP: ").count();
    assert!((1..=8 * schemes).contains(&drawn), "{drawn} handshakes are drawn: {svg}");
}

/// The command line refuses what would be ignored.
#[test]
fn the_example_of_pooling_refuses_options_that_do_not_fit() {
    let program = support::example::build("pooled_vs_fresh");
    for (arguments, reason) in [
        (&["http://127.0.0.1:9/", "--body", "1k"][..], "--body and --rtt"),
        (&["-n", "0"], "at least 1"),
        (&["--body", "1x"], "is no size"),
        (&["--nonsense"], "nonsense"),
    ] {
        let output = Command::new(&program).args(arguments).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason), "{arguments:?}: {said}");
    }
}

/// New connections have a handshake each, and a kept connection has one. The example itself checks that ack is seq + 1.
#[test]
fn the_example_on_the_wire_counts_handshakes() {
    let text = run(&support::example::build("handshake_on_the_wire"), &["-n", "4", "--rtt", "6"]);
    if text.contains("This example needs") {
        println!("skipped: {text}");
        return;
    }
    let parts: Vec<&str> = text.split("\nchecked: ").collect();
    let count = |part: &str, flags: &str| {
        part.lines().filter(|line| line.split_whitespace().any(|word| word == flags)).count()
    };
    // An acknowledgment may come alone, so that only these packets have a number that is known.
    for (part, handshakes) in [(parts[0], 4), (parts[1], 1)] {
        assert_eq!([count(part, "SYN"), count(part, "SYN,ACK")], [handshakes; 2], "{text}");
        let carrying = |start: &str| part.lines().filter(|line| line.contains(start)).count();
        assert_eq!([carrying("  GET /hello"), carrying("  HTTP/1.1 200")], [4; 2], "{text}");
    }
    assert!(text.contains("checked: 4 connections, opened by SYN, SYN,ACK and ACK"), "{text}");
    let summary = |name: &str| numbers(text.lines().find(|line| line.starts_with(name)).unwrap());
    let (new, kept) = (summary("new connections "), summary("one kept connection "));
    assert_eq!((new[0], new[2], new[3]), (4, 8, 8), "connections, packets with content, round trips");
    assert_eq!((kept[0], kept[2], kept[3]), (1, 8, 5), "connections, packets with content, round trips");
    assert!(kept[1] < new[1], "a kept connection needs fewer packets");
}

/// Makes a folder that no other run of this test uses.
fn own_folder() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("handclasp-examples-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
