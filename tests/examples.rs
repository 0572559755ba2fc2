//! The examples other than `fetch`, run as programs, and the code that only examples share.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../examples/phases/chart.rs"]
mod chart;
#[path = "../examples/phases/exchange.rs"]
mod exchange;
#[path = "../examples/support/packet.rs"]
mod packet;
#[path = "../examples/phases/picture.rs"]
mod picture;
mod support;
#[path = "../examples/support/svg.rs"]
mod svg;
#[path = "../examples/support/terminal.rs"]
mod terminal;

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs an example and returns what it prints.
fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    narrow(output.stdout)
}

/// Checks that all lines fit into 80 columns and end without spaces, and that nothing is coloured.
#[track_caller]
fn narrow(text: Vec<u8>) -> String {
    let text = String::from_utf8(text).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= 80 && line == line.trim_end() && !line.contains('\x1b'), "{line:?}");
    }
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
    let folder = own_folder("pooling");
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
        (&["-n", "0"], "above 0"),
        (&["--body", "1x"], "give a size"),
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
    let program = support::example::build("handshake_on_the_wire");
    // On a busy machine a request may come so late that the kernel sends the acknowledgment of the handshake alone. One run
    // in which every request carries the acknowledgment is enough.
    let saves_packets = (0..5).any(|_| {
        let output =
            Command::new(&program).args(["-n", "4", "--rtt", "6"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.code() == Some(1) && said.contains("this example needs") {
            println!("skipped: {said}");
            return true;
        }
        assert!(output.status.success() && said.is_empty(), "{said}");
        let [new, on_ack] = packets_on_the_wire(&narrow(output.stdout));
        on_ack < new
    });
    assert!(saves_packets, "the acknowledgment and the request are one packet");
}

/// Checks what the example printed. Returns the numbers of packets of the requests on new connections, and of the requests
/// that carry the acknowledgment.
fn packets_on_the_wire(text: &str) -> [u64; 2] {
    let parts: Vec<&str> = text.split("\nchecked: ").collect();
    let count = |part: &str, flags: &str| {
        let packets = part.lines().filter(|line| line.contains(['▶', '◀']));
        packets.filter(|line| line.split_whitespace().any(|word| word == flags)).count()
    };
    // An acknowledgment may come alone, so that only these packets have a number that is known.
    for (part, handshakes) in [(parts[0], 4), (parts[1], 1), (parts[2], 4)] {
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
    let on_ack = summary("request on ACK ");
    assert_eq!(
        (on_ack[0], on_ack[2], on_ack[3]),
        (4, 8, 8),
        "connections, packets with content, round trips"
    );
    [new[1], on_ack[1]]
}

/// The example draws a row for each request, and writes the same requests into its files.
#[test]
fn the_example_of_phases_draws_each_request() {
    let program = support::example::build("phases");
    let folder = own_folder("phases");
    let [svg, har] = ["rows.svg", "rows.har"].map(|name| folder.join(name));
    let mut arguments = vec!["--svg", svg.to_str().unwrap()];
    if cfg!(feature = "har") {
        arguments.extend(["--har", har.to_str().unwrap()]);
    }
    let text = run(&program, &arguments);
    let picture = std::fs::read_to_string(svg).unwrap();
    let archive = std::fs::read(har);
    std::fs::remove_dir_all(folder).unwrap();
    let requests = if cfg!(feature = "rustls") { 8 } else { 6 };
    let rows = text.lines().filter(|line| line.contains(" GET /") && line.contains(" 200 ")).count();
    assert_eq!(rows, requests, "{text}");
    assert!(text.contains("connection 1 to http://") && text.contains("connection 2 to http://"), "{text}");
    // A row of the table begins with the number of its request.
    let table = text.split("receive\n").last().unwrap();
    assert_eq!(
        table.lines().filter(|line| line.trim_start().starts_with(char::is_numeric)).count(),
        requests
    );
    assert!(text.contains("the server says: sleep ") && text.contains("= server works"), "{text}");
    assert!(!text.contains('\x1b'), "colours need a terminal: {text}");
    assert!(picture.contains(&format!("{requests} responses, ")) && picture.contains("the server's sleep: "));
    if cfg!(feature = "har") {
        let archive: serde_json::Value = serde_json::from_slice(&archive.unwrap()).unwrap();
        assert_eq!(archive["log"]["entries"].as_array().unwrap().len(), requests);
    }
}

/// A request that fails has a row too, and the program says so.
#[test]
fn the_example_of_phases_says_what_failed() {
    let program = support::example::build("phases");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ask = |arguments: &[&str]| {
        let output = Command::new(&program).args(arguments).stdin(Stdio::null()).output().unwrap();
        let [text, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), text, said)
    };
    let (code, text, said) = ask(&[&format!("http://user:hunter2@{closed}/")]);
    assert_eq!(code, Some(1), "{text}{said}");
    assert!(text.contains("\n  1 GET /") && text.contains("in the phase TCP"), "{text}");
    assert!(text.contains(&format!("no connection to http://{closed}\n")), "{text}");
    assert!(said.contains("the client could not connect") && !format!("{text}{said}").contains("hunter2"));
    let (code, _, said) = ask(&["--nonsense"]);
    assert!(code == Some(2) && said.contains("nonsense"), "{said}");
    let (code, _, said) = ask(&["-n", "2"]);
    assert!(code == Some(2) && said.contains("-n needs a URL"), "{said}");
    let (code, text, said) = ask(&["no-url"]);
    assert!(
        code == Some(1) && text == "No request was sent.\n" && said.contains("no scheme"),
        "{text}{said}"
    );
    if !cfg!(feature = "har") {
        let (code, _, said) = ask(&["--har", "unused.har"]);
        assert!(code == Some(2) && said.contains("--har needs the feature har"), "{said}");
    }
}

/// Each example says what it does, refuses a wrong command line in one line, and ends without a panic if nobody reads
/// its output.
#[test]
fn each_example_has_help_and_survives_a_closed_pipe() {
    let mut names =
        vec!["fetch", "handshake_on_the_wire", "phases", "pooled_vs_fresh", "resolver", "sans_io", "upload"];
    if cfg!(all(feature = "otel", feature = "url")) {
        names.push("otel");
    }
    if cfg!(feature = "tower") {
        names.push("tower");
    }
    for name in names {
        let program = support::example::build(name);
        let help = run(&program, &["--help"]);
        assert!(help.contains(name) && help.lines().count() > 3, "{help}");

        let output = Command::new(&program).arg("--nonsense").stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{name}: {said}");
        assert_eq!(said, format!("{name}: invalid option '--nonsense'\nTry --help.\n"));

        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if said.contains("this example needs") {
            println!("skipped: {said}");
            continue;
        }
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}

/// Makes a folder that no other test and no other run uses.
fn own_folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("handclasp-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The server gets a `traceparent` with each attempt: one trace, and the span of the attempt.
#[cfg(all(feature = "otel", feature = "url"))]
#[test]
fn the_example_of_otel_sends_the_context_of_each_attempt() {
    let text = run(&support::example::build("otel"), &[]);

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
    // Each attempt is linked to the dial of its connection, also the last attempt, whose connection was kept.
    let spans_of = |start: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim_start).filter(|line| line.starts_with(start));
        lines.map(|line| line.split_once("span ").unwrap().1[..16].to_owned()).collect()
    };
    let (linked, dials) = (spans_of("linked to span "), spans_of("connection.setup "));
    assert_eq!(linked, [&*dials[0], &*dials[1], &*dials[1]], "{text}");
    assert_eq!(dials.len(), 2, "{text}");
    assert_eq!(text.matches(" (connection.setup)\n").count(), 3, "{text}");
    for line in [
        "   1              state=idle",
        "   3  sum ",
        "   1              resend.cause=redirect",
        "   1              close.reason=NotReusable",
        "dns.lookup.duration in s\n   1  sum ",
        "http.client.connection.duration in s\n   1  sum ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
