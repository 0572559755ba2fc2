//! Tests of the checker that watches the spans of all tests of this binary. The checker sees spans, and finds an
//! illegal order.

use std::collections::BTreeMap;

use crate::support::order::{Order, seen};
use crate::support::{Server, within};

#[tokio::test]
async fn the_spans_of_this_binary_are_checked() {
    let server = Server::echo();
    let before = seen();
    within(20, handclasp::get(server.url("/"))).await.unwrap().text().await.unwrap();
    // One attempt with four phases, and one dial with one attempt to connect.
    assert!(seen() >= before + 7, "{before} {}", seen());
}

/// A step of a play: a span that starts, a field that is set, or a span that closes. The number names the span.
#[derive(Clone, Copy)]
enum Step {
    Start(u64, &'static str, Option<u64>),
    Set(u64, &'static str, &'static str),
    Close(u64),
}

use Step::{Close, Set, Start};

/// Plays an attempt that is answered, without the steps for which `leaves_out` is true, and then the steps `more`.
fn play(leaves_out: impl Fn(usize) -> bool, more: &[Step]) -> Result<(), String> {
    let whole = [
        Start(1, "http.request", None),
        Start(2, "queue", Some(1)),
        Set(1, "handclasp.connection.id", "1"),
        Start(3, "send", Some(1)),
        Set(2, "elapsed_ns", "1"),
        Close(2),
        Start(4, "wait", Some(1)),
        Set(3, "elapsed_ns", "1"),
        Close(3),
        Set(1, "http.response.status_code", "200"),
        Start(5, "receive", Some(1)),
        Set(4, "elapsed_ns", "1"),
        Close(4),
        Set(5, "elapsed_ns", "1"),
        Close(5),
        Set(1, "elapsed_ns", "1"),
        Close(1),
    ];
    let mut order = Order::default();
    let kept = whole.iter().enumerate().filter(|(at, _)| !leaves_out(*at)).map(|(_, step)| step);
    for step in kept.chain(more) {
        match *step {
            Start(id, name, parent) => order.start(id, name, parent, BTreeMap::new())?,
            Set(id, name, value) => order.record(id, BTreeMap::from([(name, value.to_owned())]))?,
            Close(id) => order.close(id)?,
        }
    }
    Ok(())
}

/// Each step of an attempt is needed: without it, the checker finds a breach.
#[test]
fn an_attempt_without_one_of_its_steps_is_found() {
    play(|_| false, &[]).unwrap();
    for missing in 0..16 {
        assert!(play(|at| at == missing, &[]).is_err(), "without step {missing}");
    }
}

#[test]
fn spans_in_an_illegal_order_are_found() {
    let dial = || Start(9, "connection.setup", None);
    let whole = |_| false;
    let cancelled = |more: &[Step]| {
        let set = [Set(8, "handclasp.cancelled", "true"), Set(8, "elapsed_ns", "1")];
        [&[Start(8, "http.request", None)][..], more, &set, &[Close(8)]].concat()
    };
    for (steps, is_legal) in [
        (vec![Start(9, "connection.setup", Some(1))], false),
        (vec![dial(), Set(9, "elapsed_ns", "1"), Close(9)], true),
        (vec![dial(), Close(9)], false),
        (vec![dial(), Start(8, "tls", Some(9))], false),
        (vec![dial(), Start(8, "send", Some(9))], false),
        (vec![dial(), Start(8, "tcp", Some(9)), Set(8, "elapsed_ns", "1"), Close(8)], false),
        (vec![dial(), Set(9, "elapsed_ns", "1"), Start(8, "dns", Some(9))], false),
        (vec![dial(), Set(9, "elapsed_ns", "1"), Set(9, "elapsed_ns", "2")], false),
        (vec![dial(), Start(8, "dns", Some(9)), Set(9, "elapsed_ns", "1"), Close(9)], false),
        (vec![dial(), dial()], false),
        (vec![Start(8, "queue", Some(7))], false),
        (vec![Start(8, "http.request", None), Start(7, "send", Some(8))], false),
        (
            vec![
                Start(8, "http.request", None),
                Set(8, "error.type", "Timeout"),
                Set(8, "elapsed_ns", "1"),
                Close(8),
            ],
            false,
        ),
        (cancelled(&[]), true),
        (cancelled(&[Set(8, "error.type", "Timeout"), Set(8, "otel.status_code", "ERROR")]), false),
    ] {
        assert_eq!(play(whole, &steps).is_ok(), is_legal);
    }
    let unix = |more: &[Step]| {
        let mut steps = vec![dial(), Start(8, "unix", Some(9))];
        steps.extend_from_slice(more);
        steps
    };
    let end = [Set(8, "elapsed_ns", "1"), Close(8), Start(7, "tls", Some(9))];
    assert!(play(whole, &unix(&end)).is_ok(), "the handshake follows the connection over a unix socket");
    assert!(play(whole, &unix(&end[2..])).is_err(), "the handshake does not begin before the connection");
    let failed = [Set(8, "error.type", "Connect"), Set(8, "otel.status_code", "ERROR")];
    assert!(play(whole, &unix(&[&failed[..], &end[..2]].concat())).is_ok(), "a socket may refuse");
    assert!(play(whole, &unix(&[&failed[..1], &end[..2]].concat())).is_err(), "an error without its status");
    assert!(play(whole, &unix(&[&failed[..], &end].concat())).is_err(), "no handshake follows a failed one");
    let again = [Start(7, "unix", Some(9))];
    assert!(play(whole, &unix(&[&end[..2], &again].concat())).is_err(), "a socket that is connected wins");
    let won =
        |id| [Start(id, "tcp", Some(9)), Set(id, "outcome", "won"), Set(id, "elapsed_ns", "1"), Close(id)];
    let mut twice = vec![dial()];
    twice.extend(won(8));
    assert!(play(whole, &twice).is_ok());
    twice.extend(won(7));
    assert!(play(whole, &twice).is_err(), "one address wins");
}
