//! Tests of answers that come too soon on a reused connection. The connections are in memory, and the clock is paused, so that
//! each test decides when a byte comes. Each connection reports a round trip of 20 ms, so that the client doubts an answer that
//! comes in less than 10 ms.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use handclasp::{Client, ClientBuilder, DropReason, PoolEventKind, RequestBuilder, Response};
use tokio::task::JoinHandle;
use tokio::time::advance;

use crate::support::lines::{self, Line, Lines, Source, Step, send};
use crate::support::random::Rng;

const MS: Duration = Duration::from_millis(1);
const TRIP: Duration = Duration::from_millis(20);
const STRAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
const RIGHT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright";

/// A client, its connections, and its first connection, which has answered one request after one round trip.
struct Setting {
    client: Client,
    lines: Lines,
    line: Line,
}

impl Setting {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let lines = Lines::default();
        lines.round_trip(TRIP);
        let client = change(lines.builder()).build().unwrap();
        let line = first(&client, &lines, 0, TRIP).await;
        Self { client, lines, line }
    }

    fn closed(&self, reason: DropReason) -> u64 {
        self.client.pool().stats().total.closed(reason)
    }

    /// Checks that no connection is in use and that no request waits.
    fn assert_quiet(&self) {
        let total = self.client.pool().stats().total;
        assert_eq!((total.active, total.dialing, total.waiting), (0, 0, 0));
    }

    /// Sends a request on the first connection, waits until the request is written, and has the server send `bytes` after the
    /// time `after`.
    async fn answered(
        &self,
        request: RequestBuilder,
        after: Duration,
        bytes: &str,
    ) -> JoinHandle<handclasp::Result<Response>> {
        answer_after(&self.line, request, after, bytes).await
    }
}

/// Sends a request, waits until the request is written on `line`, and has the server send `bytes` after the time `after`.
async fn answer_after(
    line: &Line,
    request: RequestBuilder,
    after: Duration,
    bytes: &str,
) -> JoinHandle<handclasp::Result<Response>> {
    let before = line.len();
    let sent = send(request);
    lines::until("the request is written on the reused connection", || line.len() > before).await;
    advance(after).await;
    line.say(bytes);
    lines::settle().await;
    sent
}

/// Sends the first request on connection `number`, answers the request after the time `after`, and returns the connection.
async fn first(client: &Client, lines: &Lines, number: usize, after: Duration) -> Line {
    let sent = send(client.get("http://h/first"));
    let line = lines.written(number, "\r\n\r\n").await;
    advance(after).await;
    line.say(RIGHT);
    assert_eq!(text(sent).await, "right");
    lines::settle().await;
    line
}

async fn text(sent: JoinHandle<handclasp::Result<Response>>) -> String {
    match sent.await.unwrap() {
        Ok(response) => response.text().await.unwrap(),
        Err(error) => panic!("{}", error.chain()),
    }
}

/// Waits until the request is sent again on connection `number`, and answers the request after one round trip.
async fn answer_again(lines: &Lines, number: usize, end: &str) -> Line {
    let again = lines.written(number, end).await;
    advance(TRIP).await;
    again.say(RIGHT);
    lines::settle().await;
    again
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_answer_comes_too_soon_is_sent_again_on_a_new_connection() {
    let setting = Setting::new().await;
    let mut events = setting.client.pool().subscribe();
    let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, STRAY).await;
    assert!(!setting.line.is_gone(), "the doubted connection is kept until the request is answered");
    let again = setting.lines.written(1, "\r\n\r\n").await;
    assert!(again.text().starts_with("GET /a "));
    advance(11 * MS).await;
    // The answer to the request comes on the doubted connection.
    setting.line.say(RIGHT);
    advance(9 * MS).await;
    again.say(RIGHT);
    let response = sent.await.unwrap().unwrap();
    assert_eq!(response.connection().id(), 2);
    assert_eq!(response.text().await.unwrap(), "right");
    assert!(setting.line.is_gone());
    assert_eq!(setting.closed(DropReason::TooSoon), 1);
    setting.assert_quiet();
    let mut seen = Vec::new();
    while let Some(event) = events.try_recv() {
        if let PoolEventKind::TooSoon { id, after, believed_after, .. } = event.kind {
            seen.push((id, after, believed_after));
        }
    }
    assert_eq!(seen, [(1, 9 * MS, 10 * MS)]);
}

/// The client believes an answer that comes half a round trip after its request, or later.
#[tokio::test(start_paused = true)]
async fn an_answer_is_believed_from_half_of_the_round_trip_on() {
    let setting = Setting::new().await;
    for after in [10 * MS, 15 * MS, TRIP] {
        let sent = setting.answered(setting.client.get("http://h/a"), after, STRAY).await;
        assert_eq!(text(sent).await, "stray", "after {after:?}");
    }
    let sent =
        setting.answered(setting.client.get("http://h/a"), 10 * MS - Duration::from_micros(1), STRAY).await;
    answer_again(&setting.lines, 1, "\r\n\r\n").await;
    assert_eq!(text(sent).await, "right");
}

/// If the first answer on a connection comes sooner than the reported round trip, the known round trip becomes shorter.
#[tokio::test(start_paused = true)]
async fn first_answers_count_and_later_answers_do_not() {
    let lines = Lines::default();
    lines.round_trip(TRIP);
    let client = lines.client();
    let line = first(&client, &lines, 0, 16 * MS).await;
    // These later answers are not doubted, and do not make the round trip shorter.
    for after in [8, 8, 9] {
        let sent = answer_after(&line, client.get("http://h/a"), after * MS, RIGHT).await;
        assert_eq!(text(sent).await, "right");
    }
    let sent = answer_after(&line, client.get("http://h/a"), 7 * MS, STRAY).await;
    answer_again(&lines, 1, "\r\n\r\n").await;
    assert_eq!(text(sent).await, "right");
}

/// The first answer on a connection that was idle before does not count, because the server may have sent it before the
/// request.
#[tokio::test(start_paused = true)]
async fn a_first_answer_on_a_connection_that_was_dialed_ahead_does_not_count() {
    let lines = Lines::default();
    lines.round_trip(TRIP);
    let client = lines.client();
    client.warm("http://h/", 1).await.unwrap();
    let line = lines.line(0).await;
    let sent = answer_after(&line, client.get("http://h/a"), 12 * MS, STRAY).await;
    assert_eq!(text(sent).await, "stray");
    let sent = answer_after(&line, client.get("http://h/a"), 8 * MS, STRAY).await;
    answer_again(&lines, 1, "\r\n\r\n").await;
    assert_eq!(text(sent).await, "right");
}

#[tokio::test(start_paused = true)]
async fn a_round_trip_below_4_ms_or_unknown_or_a_switch_ends_the_doubts() {
    for (trip, is_on) in [(Some(Duration::from_micros(3_999)), true), (None, true), (Some(TRIP), false)] {
        let lines = Lines::default();
        if let Some(trip) = trip {
            lines.round_trip(trip);
        }
        let client = lines.builder().doubt_early_answers(is_on).build().unwrap();
        let line = first(&client, &lines, 0, TRIP).await;
        let sent = answer_after(&line, client.get("http://h/a"), Duration::ZERO, STRAY).await;
        assert_eq!(text(sent).await, "stray", "{trip:?}, {is_on}");
        assert_eq!(lines.count(), 1);
    }
}

/// A request that must not be sent twice gets the bytes that came as its answer. Its connection is closed, so that the next
/// request does not get the answer to the first request.
#[tokio::test(start_paused = true)]
async fn a_request_that_may_not_be_repeated_is_given_what_came() {
    let bodies: [fn(&Client) -> RequestBuilder; 2] = [
        |client| client.post("http://h/a").body("content"),
        |client| {
            let source = Source::new(&[Step::Data("content")]);
            client.put("http://h/a").body(handclasp::Body::from_stream(source))
        },
    ];
    for request in bodies {
        let setting = Setting::new().await;
        let sent = setting.answered(request(&setting.client), 9 * MS, STRAY).await;
        assert_eq!(text(sent).await, "stray");
        assert_eq!((setting.closed(DropReason::Unsolicited), setting.lines.count()), (1, 1));
        assert!(setting.line.is_gone());
        setting.assert_quiet();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_memory_is_sent_again() {
    let setting = Setting::new().await;
    let request = setting.client.put("http://h/a").body("content");
    let sent = setting.answered(request, 9 * MS, STRAY).await;
    let again = answer_again(&setting.lines, 1, "content").await;
    assert!(again.text().starts_with("PUT /a "));
    assert_eq!(text(sent).await, "right");
}

/// An answer comes too soon if its first byte comes too soon, even if the byte belongs to an interim response.
#[tokio::test(start_paused = true)]
async fn an_interim_response_that_comes_too_soon_is_doubted() {
    for interim in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "H", "\r\nH"] {
        let setting = Setting::new().await;
        let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, interim).await;
        answer_again(&setting.lines, 1, "\r\n\r\n").await;
        assert_eq!(text(sent).await, "right", "{interim:?}");
        setting.assert_quiet();
    }
}

/// Line ends between two responses have no meaning. The first byte after them counts.
#[tokio::test(start_paused = true)]
async fn line_ends_that_come_too_soon_are_not_doubted() {
    let setting = Setting::new().await;
    for request in [setting.client.get("http://h/a"), setting.client.post("http://h/a")] {
        let sent = setting.answered(request, MS, "\r\n").await;
        advance(TRIP).await;
        setting.line.say(RIGHT);
        let response = sent.await.unwrap().unwrap();
        assert_eq!(response.timings().wait, 21 * MS);
        assert_eq!(response.text().await.unwrap(), "right");
    }
    assert_eq!(setting.lines.count(), 1);
    let sent = setting.answered(setting.client.get("http://h/a"), MS, "\r\n").await;
    advance(8 * MS).await;
    setting.line.say(STRAY);
    answer_again(&setting.lines, 1, "\r\n\r\n").await;
    assert_eq!(text(sent).await, "right");
}

/// A 100 that comes too soon does not release the body, and the request is sent again with its expectation.
#[tokio::test(start_paused = true)]
async fn a_100_that_comes_too_soon_does_not_release_the_body() {
    let setting = Setting::new().await;
    let request = setting.client.put("http://h/a").header("expect", "100-continue").body("content");
    let sent = setting.answered(request, 9 * MS, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(!setting.line.text().ends_with("content"));
    let again = setting.lines.written(1, "\r\n\r\n").await;
    assert!(again.text().contains("expect: 100-continue"));
    advance(TRIP).await;
    again.say("HTTP/1.1 100 Continue\r\n\r\n");
    setting.lines.written(1, "content").await;
    again.say(RIGHT);
    assert_eq!(text(sent).await, "right");
}

/// A 101 that comes too soon makes no tunnel. A 101 that comes after a round trip makes a tunnel.
#[tokio::test(start_paused = true)]
async fn a_tunnel_is_not_made_by_an_answer_that_comes_too_soon() {
    let setting = Setting::new().await;
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    let request = setting.client.get("http://h/a").header("connection", "upgrade").header("upgrade", "chat");
    let sent = setting.answered(request, 9 * MS, switching).await;
    let again = setting.lines.written(1, "\r\n\r\n").await;
    advance(TRIP).await;
    again.say(switching);
    let response = sent.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), response.connection().id()), (101, 2));
    lines::settle().await;
    assert!(setting.line.is_gone());
}

/// If no more bytes come on the doubted connection, the doubt was wrong. After two wrong doubts, the client believes answers
/// that come as soon as the doubted answers.
#[tokio::test(start_paused = true)]
async fn after_two_wrong_doubts_the_round_trip_is_shorter() {
    let setting = Setting::new().await;
    let mut line = setting.line.clone();
    for number in 1..=2 {
        let sent = answer_after(&line, setting.client.get("http://h/a"), 8 * MS, RIGHT).await;
        let again = answer_again(&setting.lines, number, "\r\n\r\n").await;
        assert_eq!(text(sent).await, "right");
        assert!(line.is_gone());
        line = again;
    }
    for _ in 0..5 {
        let sent = answer_after(&line, setting.client.get("http://h/a"), 4 * MS, RIGHT).await;
        assert_eq!(text(sent).await, "right");
    }
    assert_eq!((setting.lines.count(), setting.closed(DropReason::TooSoon)), (3, 2));
    let sent = answer_after(&line, setting.client.get("http://h/a"), 3 * MS, STRAY).await;
    answer_again(&setting.lines, 3, "\r\n\r\n").await;
    assert_eq!(text(sent).await, "right");
}

/// Each right doubt cancels a wrong doubt.
#[tokio::test(start_paused = true)]
async fn a_right_doubt_takes_back_a_wrong_one() {
    let setting = Setting::with(|builder| builder.not_kept_after(None)).await;
    let mut line = setting.line.clone();
    for (number, is_right) in [false, true, false, true, false].into_iter().enumerate() {
        let sent = answer_after(&line, setting.client.get("http://h/a"), 8 * MS, STRAY).await;
        if is_right {
            line.say(RIGHT);
        }
        let again = answer_again(&setting.lines, number + 1, "\r\n\r\n").await;
        assert_eq!(text(sent).await, "right");
        line = again;
    }
    let sent = answer_after(&line, setting.client.get("http://h/a"), 8 * MS, STRAY).await;
    answer_again(&setting.lines, 6, "\r\n\r\n").await;
    assert_eq!(text(sent).await, "right", "one wrong doubt net does not make the round trip shorter");
}

/// If the server closes the doubted connection, the doubt counts neither as right nor as wrong.
#[tokio::test(start_paused = true)]
async fn a_doubted_connection_that_is_closed_settles_nothing() {
    let setting = Setting::with(|builder| builder.not_kept_after(None)).await;
    let mut line = setting.line.clone();
    for number in 1..=4 {
        let sent = answer_after(&line, setting.client.get("http://h/a"), 8 * MS, STRAY).await;
        line.eof();
        let again = answer_again(&setting.lines, number, "\r\n\r\n").await;
        assert_eq!(text(sent).await, "right");
        line = again;
    }
}

/// A server that takes longer than a doubted connection is kept says nothing about the doubt.
#[tokio::test(start_paused = true)]
async fn a_slow_server_settles_nothing() {
    let setting = Setting::with(|builder| builder.not_kept_after(None)).await;
    let mut line = setting.line.clone();
    for number in 1..=4 {
        let sent = answer_after(&line, setting.client.get("http://h/a"), 8 * MS, STRAY).await;
        let again = setting.lines.written(number, "\r\n\r\n").await;
        advance(Duration::from_secs(2)).await;
        lines::settle().await;
        assert!(line.is_gone());
        again.say(RIGHT);
        assert_eq!(text(sent).await, "right", "request {number}");
        line = again;
    }
}

/// If the request that is sent again fails, the silence of the doubted connection says nothing about the doubt.
#[tokio::test(start_paused = true)]
async fn a_request_that_fails_when_it_is_sent_again_settles_nothing() {
    let setting = Setting::with(|builder| builder.not_kept_after(None)).await;
    let mut line = setting.line.clone();
    for number in [1, 3, 5] {
        let sent = answer_after(&line, setting.client.get("http://h/a"), 8 * MS, STRAY).await;
        setting.lines.written(number, "\r\n\r\n").await.reset();
        sent.await.unwrap().unwrap_err();
        assert!(line.is_gone());
        line = first(&setting.client, &setting.lines, number + 1, TRIP).await;
    }
}

/// A server that has not got the whole request need not answer, so that its silence says nothing about the doubt.
#[tokio::test(start_paused = true)]
async fn a_request_that_was_written_in_part_settles_nothing() {
    let setting = Setting::with(|builder| builder.not_kept_after(None)).await;
    let mut line = setting.line.clone();
    for number in 1..=4 {
        line.block();
        line.take(100);
        let request = setting.client.put("http://h/a").body("content ".repeat(100));
        let sent = answer_after(&line, request, 8 * MS, STRAY).await;
        assert!(line.text().contains("content ") && !line.text().ends_with(&"content ".repeat(100)));
        let again = answer_again(&setting.lines, number, &"content ".repeat(100)).await;
        assert_eq!(text(sent).await, "right", "request {number}");
        line = again;
    }
}

/// At a limit, the doubted connection is closed at once, and the dial takes its slot.
#[tokio::test(start_paused = true)]
async fn at_a_limit_the_doubted_connection_makes_way() {
    for limit in [
        |builder: ClientBuilder| builder.max_connections_per_host(1),
        |builder: ClientBuilder| builder.max_connections(1),
    ] {
        let setting = Setting::with(limit).await;
        let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, STRAY).await;
        assert!(setting.line.is_gone());
        answer_again(&setting.lines, 1, "\r\n\r\n").await;
        assert_eq!(text(sent).await, "right");
        assert_eq!(setting.closed(DropReason::TooSoon), 1);
        setting.assert_quiet();
    }
}

/// A request that begins to wait at a limit gets the room of the doubted connection.
#[tokio::test(start_paused = true)]
async fn a_doubted_connection_makes_way_for_a_request_that_waits() {
    for limit in [
        |builder: ClientBuilder| builder.max_connections_per_host(2),
        |builder: ClientBuilder| builder.max_connections(2),
    ] {
        let setting = Setting::with(limit).await;
        let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, STRAY).await;
        let again = setting.lines.written(1, "\r\n\r\n").await;
        assert!(!setting.line.is_gone());
        let other = send(setting.client.get("http://h/b"));
        answer_again(&setting.lines, 2, "\r\n\r\n").await;
        assert!(setting.line.is_gone());
        assert_eq!(text(other).await, "right");
        again.say(RIGHT);
        assert_eq!(text(sent).await, "right");
        setting.assert_quiet();
    }
}

/// A server that serves one connection after the other answers the second one only when the first one is closed.
#[tokio::test(start_paused = true)]
async fn a_doubted_connection_is_closed_after_a_second() {
    let setting = Setting::new().await;
    let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, STRAY).await;
    let again = setting.lines.written(1, "\r\n\r\n").await;
    advance(Duration::from_millis(1_079)).await;
    lines::settle().await;
    assert!(!setting.line.is_gone());
    advance(2 * MS).await;
    lines::settle().await;
    assert!(setting.line.is_gone());
    again.say(RIGHT);
    assert_eq!(text(sent).await, "right");
    setting.assert_quiet();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_leaves_no_doubted_connection() {
    let setting = Setting::new().await;
    let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, STRAY).await;
    setting.lines.written(1, "\r\n\r\n").await;
    sent.abort();
    lines::settle().await;
    assert!(setting.line.is_gone());
    setting.assert_quiet();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_closes_a_doubted_connection() {
    let setting = Setting::new().await;
    let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, STRAY).await;
    setting.lines.written(1, "\r\n\r\n").await;
    setting.client.pool().shutdown(Duration::ZERO).await;
    assert!(setting.line.is_gone());
    sent.await.unwrap().unwrap_err();
    setting.assert_quiet();
}

/// If the request that is sent again fails, the caller gets the error, and the request is not sent a third time.
#[tokio::test(start_paused = true)]
async fn a_request_is_sent_again_only_once() {
    let setting = Setting::new().await;
    let sent = setting.answered(setting.client.get("http://h/a"), 9 * MS, STRAY).await;
    let again = setting.lines.written(1, "\r\n\r\n").await;
    // The client doubts no answer on a new connection.
    again.say(STRAY);
    assert_eq!(text(sent).await, "stray");
    assert_eq!(setting.lines.count(), 2);
}

/// If three answers of a host come too soon, the client keeps no connection to that host for a while.
#[tokio::test(start_paused = true)]
async fn a_host_whose_answers_come_too_soon_is_not_kept() {
    let setting = Setting::new().await;
    let mut line = setting.line.clone();
    for number in 1..=3 {
        let sent = answer_after(&line, setting.client.get("http://h/a"), MS, STRAY).await;
        line.say(RIGHT);
        line = answer_again(&setting.lines, number, "\r\n\r\n").await;
        assert_eq!(text(sent).await, "right");
        lines::settle().await;
    }
    assert!(line.is_gone(), "the connection of the third request that was sent again is not kept");
    assert_eq!(setting.closed(DropReason::NotKept), 1);
}

/// Each server answers each random request after one round trip, and sends a stray before some of the answers. No request that
/// may be repeated gets a stray that came in less than half of the round trip. No request gets the answer to an earlier request.
#[tokio::test(start_paused = true)]
async fn no_random_stray_that_comes_too_soon_is_taken_for_an_answer() {
    for seed in 1..=40 {
        let mut random = Rng::new(seed);
        let mut setting = Setting::with(|builder| builder.not_kept_after(None)).await;
        for number in 0..30 {
            let is_safe = random.below(4) > 0;
            let path = format!("http://h/{number}");
            let request = match is_safe {
                true => setting.client.get(path),
                false => setting.client.post(path),
            };
            let dialed = setting.lines.count();
            if setting.line.is_gone() {
                let sent = send(request);
                setting.line = answer_again(&setting.lines, dialed, "\r\n\r\n").await;
                assert_eq!(text(sent).await, "right");
                continue;
            }
            let after = Duration::from_micros(random.below(20_000));
            let is_early = after < 10 * MS;
            let has_stray = random.below(3) == 0 && (is_early || !is_safe);
            if !has_stray {
                let sent = setting.answered(request, TRIP, RIGHT).await;
                assert_eq!(text(sent).await, "right");
                continue;
            }
            let sent = setting.answered(request, after, STRAY).await;
            if is_early && is_safe {
                setting.line.say(RIGHT);
                setting.line = answer_again(&setting.lines, dialed, "\r\n\r\n").await;
                assert_eq!(text(sent).await, "right", "seed {seed}, request {number}");
            } else {
                assert_eq!(text(sent).await, "stray");
                setting.line.say(RIGHT);
                lines::settle().await;
                // The pool finds the late answer on the idle connection, or closed the connection after the early answer.
                let sent = send(setting.client.get("http://h/next"));
                setting.line = answer_again(&setting.lines, dialed, "\r\n\r\n").await;
                assert_eq!(text(sent).await, "right", "seed {seed}: the request after {number}");
            }
        }
    }
}
